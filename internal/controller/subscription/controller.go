// Package subscription publishes IntegrationSubscriptions into the databases of their pools and shows how their runs go.
//
// It watches IntegrationSubscriptions, the JobPools and IntegrationConnections they name, and hears from the databases'
// actors. It compiles the spec, so that a mistake is a condition before it is a failed run, and declares the row; it
// never starts a run and never talks to a provider. A finalizer stands on a subscription only while its deletion must
// remove rows.
package subscription

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	ac "github.com/syncline-dev/syncline/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/apply"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/connection"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/controller/refer"
)

const (
	// indexPool finds IntegrationSubscriptions by their pool.
	indexPool = "spec.poolRef.name"
	// undecidedRetry is how soon a subscription looks again for its database, which tells only those that have a row
	// there.
	undecidedRetry = 2 * time.Second
)

// +kubebuilder:rbac:groups=syncline.dev,resources=integrationsubscriptions,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=syncline.dev,resources=integrationsubscriptions/status,verbs=patch
// +kubebuilder:rbac:groups=syncline.dev,resources=jobpools,verbs=get;list;watch
// +kubebuilder:rbac:groups=syncline.dev,resources=integrationconnections,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler publishes and observes IntegrationSubscriptions.
type Reconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// API reads from the API server.
	API       client.Reader
	Databases *database.Registry
	Events    events.EventRecorder
	// Cluster is the id of the cluster, part of every row's id and owner.
	Cluster string
	// Patience is how long a deletion waits for a database that does not answer; zero is 30 s. In a namespace that is
	// being deleted, where the rest waits too, it is a sixth of that.
	Patience time.Duration
	// Now is the clock; nil is the machine's.
	Now func() time.Time

	compilations compilations
}

// SetupWithManager registers the controller and its indexes.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Patience == 0 {
		r.Patience = patience
	}
	err := errors.Join(
		refer.Index(ctx, mgr, indexPool, func(s *v1alpha1.IntegrationSubscription) []string { return []string{s.Spec.PoolRef.Name} }),
		refer.Index(ctx, mgr, connection.IndexConnection, func(s *v1alpha1.IntegrationSubscription) []string { return []string{s.Spec.ConnectionRef.Name} }),
	)
	if err != nil {
		return err
	}
	news := builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, condition.Changed()))
	return ctrl.NewControllerManagedBy(mgr).
		Named("integrationsubscription").
		For(&v1alpha1.IntegrationSubscription{}, builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, runRequested()))).
		Watches(&v1alpha1.JobPool{}, r.by(indexPool), news).
		Watches(&v1alpha1.IntegrationConnection{}, r.by(connection.IndexConnection), news).
		WatchesRawSource(r.Databases.Source(database.KindSubscription)).
		Complete(r)
}

// runRequested lets an update through that asks for a run.
func runRequested() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetAnnotations()[v1alpha1.RunRequestedAnnotation] != e.ObjectNew.GetAnnotations()[v1alpha1.RunRequestedAnnotation]
	}}
}

// by maps a resource to the subscriptions that name it.
func (r *Reconciler) by(field string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return refer.List(ctx, r.Client, &v1alpha1.IntegrationSubscriptionList{},
			client.InNamespace(o.GetNamespace()), client.MatchingFields{field: o.GetName()})
	})
}

// Reconcile brings one subscription closer to its spec. It never waits for PostgreSQL.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var sub v1alpha1.IntegrationSubscription
	if err := r.Client.Get(ctx, req.NamespacedName, &sub); err != nil {
		if apierrors.IsNotFound(err) {
			r.Databases.ForgetSubscription(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !sub.DeletionTimestamp.IsZero() {
		return r.release(ctx, &sub)
	}
	if err := r.ensureFinalizer(ctx, &sub); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s, err := r.gather(ctx, &sub)
	if err != nil {
		return ctrl.Result{}, err
	}
	status := s.status(r.Now())
	if err := r.writeStatus(ctx, s, status); err != nil {
		return ctrl.Result{}, err
	}
	transitions(sub.Status, status).Record(r.Events, &sub)
	return ctrl.Result{RequeueAfter: s.recheck()}, nil
}

// recheck is when to look again although nothing tells.
func (s *scope) recheck() time.Duration {
	if s.pool != nil && s.home != homeHere {
		return undecidedRetry
	}
	return 0
}

func (r *Reconciler) writeStatus(ctx context.Context, s *scope, status v1alpha1.IntegrationSubscriptionStatus) error {
	return apply.Status(ctx, r.Client, s.sub.Status, status, func(c *ac.IntegrationSubscriptionStatusApplyConfiguration) runtime.ApplyConfiguration {
		return ac.IntegrationSubscription(s.name.Name, s.name.Namespace).WithStatus(c)
	})
}
