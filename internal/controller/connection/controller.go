// Package connection publishes IntegrationConnections into the databases whose subscriptions use them.
//
// It watches IntegrationConnections, the subscriptions that name them, and the metadata of Secrets, and hears from the
// databases' actors. It reads the credential, seals it with the namespace's keyset and declares the row; it never talks
// to the provider.
package connection

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	ac "github.com/syncline-dev/syncline/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/apply"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/controller/refer"
)

const (
	// indexSecret finds IntegrationConnections by the Secret of their credential.
	indexSecret = "spec.http.auth.secretRef.name"
	// IndexConnection finds IntegrationSubscriptions by their connection; package subscription makes the index.
	IndexConnection = "spec.connectionRef.name"
	// homelessRetry is how soon a connection looks again for the database of a subscription whose pool is about to be
	// bound to one.
	homelessRetry = 2 * time.Second
)

// +kubebuilder:rbac:groups=syncline.dev,resources=integrationconnections,verbs=get;list;watch
// +kubebuilder:rbac:groups=syncline.dev,resources=integrationconnections/status,verbs=patch
// +kubebuilder:rbac:groups=syncline.dev,resources=integrationsubscriptions,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler publishes and observes IntegrationConnections.
type Reconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// API reads from the API server: Secrets, which no cache holds.
	API       client.Reader
	Databases *database.Registry
	Events    events.EventRecorder
	// Cluster is the id of the cluster, part of every row's id and owner.
	Cluster string
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

// SetupWithManager registers the controller and its index.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if r.Now == nil {
		r.Now = time.Now
	}
	err := refer.Index(ctx, mgr, indexSecret, func(c *v1alpha1.IntegrationConnection) []string {
		if name := secretName(&c.Spec); name != "" {
			return []string{name}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("integrationconnection").
		For(&v1alpha1.IntegrationConnection{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.IntegrationSubscription{}, handler.EnqueueRequestsFromMapFunc(ofSubscription),
			builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, condition.Changed()))).
		WatchesMetadata(&corev1.Secret{}, refer.ToSecret(r.Client, indexSecret, func() client.ObjectList { return &v1alpha1.IntegrationConnectionList{} })).
		WatchesRawSource(r.Databases.Source(database.KindConnection)).
		Complete(r)
}

func ofSubscription(_ context.Context, o client.Object) []reconcile.Request {
	sub := o.(*v1alpha1.IntegrationSubscription)
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: sub.Namespace, Name: sub.Spec.ConnectionRef.Name}}}
}

// Reconcile brings one connection closer to its spec. It never waits for PostgreSQL.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var c v1alpha1.IntegrationConnection
	if err := r.Client.Get(ctx, req.NamespacedName, &c); err != nil {
		if apierrors.IsNotFound(err) {
			r.Databases.ForgetConnection(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !c.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // somebody else's finalizer holds it; its row goes when it does
	}
	s, err := r.gather(ctx, &c)
	if err != nil {
		return ctrl.Result{}, err
	}
	status := s.status(r.Now())
	if err := r.writeStatus(ctx, s, status); err != nil {
		return ctrl.Result{}, err
	}
	transitions(c.Status, status).Record(r.Events, &c)
	return ctrl.Result{RequeueAfter: s.recheck()}, nil
}

// recheck is when to look again although nothing tells: what a database says before it has been read reaches only those
// that have a row there.
func (s *scope) recheck() time.Duration {
	if s.homeless || s.credentials.Reason == v1alpha1.ReasonPending || s.credentials.Reason == v1alpha1.ReasonSealingKeyLost ||
		s.credentials.Reason == v1alpha1.ReasonProgressing {
		return homelessRetry
	}
	return 0
}

func (r *Reconciler) writeStatus(ctx context.Context, s *scope, status v1alpha1.IntegrationConnectionStatus) error {
	return apply.Status(ctx, r.Client, s.connection.Status, status, func(c *ac.IntegrationConnectionStatusApplyConfiguration) runtime.ApplyConfiguration {
		return ac.IntegrationConnection(s.name.Name, s.name.Namespace).WithStatus(c)
	})
}

// transitions lists the Events of one reconcile: what became otherwise, never what stays.
func transitions(before, after v1alpha1.IntegrationConnectionStatus) (all condition.Announcements) {
	stalled := condition.Find(after.Conditions, v1alpha1.ConditionStalled)
	for _, reason := range []string{v1alpha1.ReasonSealingKeyLost, v1alpha1.ReasonNameTaken} {
		all.Add(condition.BecameFor(before.Conditions, after.Conditions, v1alpha1.ConditionStalled, "True", reason),
			corev1.EventTypeWarning, reason, "Publish", stalled.Message)
	}
	return all
}
