// Package jobpool makes a JobPool's workers and shows how they are.
//
// It watches JobPools, the Deployments it owns and the metadata of Secrets, and hears from the database's actor. From a
// JobPool it makes a ServiceAccount without a token, a Deployment (once the pool has its row, so that workers never take
// another pool's runs), and the pool's row, through the actor. It decides nothing about runs; what workers do they read
// from the row.
package jobpool

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	ac "github.com/syncline-dev/syncline/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/apply"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/controller/refer"
)

// indexSecret finds JobPools by the Secrets that they name: that of their database and those of their handlers.
const indexSecret = "secretRefs"

// +kubebuilder:rbac:groups=syncline.dev,resources=jobpools,verbs=get;list;watch
// +kubebuilder:rbac:groups=syncline.dev,resources=jobpools/status,verbs=patch
// +kubebuilder:rbac:groups=syncline.dev,resources=jobpools/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=create;patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler makes and observes JobPools.
type Reconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// API reads from the API server: Secrets, which no cache holds.
	API       client.Reader
	Databases *database.Registry
	Events    events.EventRecorder
	// Cluster is the id of the cluster, part of every row's owner.
	Cluster string
	Options Options
	// Now is the clock; nil is the machine's.
	Now func() time.Time

	mu      sync.Mutex
	applied map[types.UID]rendering
}

// SetupWithManager registers the controller and its index.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if r.Now == nil {
		r.Now = time.Now
	}
	r.applied = make(map[types.UID]rendering)
	if err := refer.Index(ctx, mgr, indexSecret, func(p *v1alpha1.JobPool) []string { return secretNames(&p.Spec) }); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("jobpool").
		For(&v1alpha1.JobPool{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&appsv1.Deployment{}).
		WatchesMetadata(&corev1.Secret{}, refer.ToSecret(r.Client, indexSecret, func() client.ObjectList { return &v1alpha1.JobPoolList{} })).
		WatchesRawSource(r.Databases.Source(database.KindPool)).
		Complete(r)
}

// secretNames are the Secrets that a pool reads.
func secretNames(s *v1alpha1.JobPoolSpec) []string {
	names := []string{s.Database.SecretRef.Name}
	for _, h := range s.Handlers {
		names = append(names, h.SigningSecretRef.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Reconcile brings one pool closer to its spec. It never waits for PostgreSQL.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var pool v1alpha1.JobPool
	if err := r.Client.Get(ctx, req.NamespacedName, &pool); err != nil {
		if apierrors.IsNotFound(err) {
			r.Databases.ForgetPool(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !pool.DeletionTimestamp.IsZero() {
		// Deleted in the foreground: its Deployment goes first, and drains. Nothing may bring it back meanwhile.
		r.forgetRendering(pool.UID)
		return ctrl.Result{}, nil
	}
	s, err := r.gather(ctx, &pool)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.makeWorkers(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	now := r.Now()
	status := s.status(now)
	if err := r.writeStatus(ctx, s, status); err != nil {
		return ctrl.Result{}, err
	}
	transitions(s, status).Record(r.Events, &pool)
	return ctrl.Result{RequeueAfter: s.recheck(now)}, nil
}

func (r *Reconciler) writeStatus(ctx context.Context, s *scope, status v1alpha1.JobPoolStatus) error {
	return apply.Status(ctx, r.Client, s.pool.Status, status, func(c *ac.JobPoolStatusApplyConfiguration) runtime.ApplyConfiguration {
		return ac.JobPool(s.name.Name, s.name.Namespace).WithStatus(c)
	})
}

// transitions lists the Events of one reconcile: what became otherwise, never what stays.
func transitions(s *scope, after v1alpha1.JobPoolStatus) (all condition.Announcements) {
	before := s.pool.Status
	reachable := condition.Find(after.Conditions, v1alpha1.ConditionDatabaseReachable)
	all.Add(condition.BecameFor(before.Conditions, after.Conditions, v1alpha1.ConditionDatabaseReachable, "False", v1alpha1.ReasonDatabaseUnreachable),
		corev1.EventTypeWarning, v1alpha1.EventDatabaseUnreachable, "Connect", reachable.Message)
	all.Add(condition.Find(before.Conditions, v1alpha1.ConditionDatabaseReachable).Reason == v1alpha1.ReasonDatabaseUnreachable && reachable.Status == "True",
		corev1.EventTypeNormal, v1alpha1.EventDatabaseRecovered, "Connect", "the database answers again")
	all.Add(s.rotated, corev1.EventTypeNormal, v1alpha1.EventSecretRotated, "Connect", "the database is reached by the secret's new value")
	stalled := condition.Find(after.Conditions, v1alpha1.ConditionStalled)
	for _, reason := range []string{v1alpha1.ReasonNameTaken, v1alpha1.ReasonInvalidTemplate} {
		all.Add(condition.BecameFor(before.Conditions, after.Conditions, v1alpha1.ConditionStalled, "True", reason),
			corev1.EventTypeWarning, reason, "Reconcile", stalled.Message)
	}
	if recovered := leasesRecovered(after) - leasesRecovered(before); before.Claims != nil {
		all.Add(recovered > 0, corev1.EventTypeNormal, v1alpha1.EventLeasesRecovered, "Sweep",
			fmt.Sprintf("%d runs of workers that lost their lease were put back", recovered))
	}
	return all
}

func leasesRecovered(s v1alpha1.JobPoolStatus) int64 {
	if s.Claims == nil || s.Claims.LeasesRecovered == nil {
		return 0
	}
	return *s.Claims.LeasesRecovered
}
