// Package manager puts the operator together: one process with the three controllers, the databases' actors, leader
// election, metrics and health. The command cmd/manager and the suites that run the whole operator call it.
package manager

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/connection"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/controller/jobpool"
	"github.com/syncline-dev/syncline/internal/controller/subscription"
)

// LeaderElectionID is the name of the Lease that two managers of one installation compete for.
const LeaderElectionID = "syncline-manager"

// drainTimeout is how long reconciles and actors may take to end when the process is told to stop.
const drainTimeout = 20 * time.Second

// Options is what a manager is started with.
type Options struct {
	// Cluster is the cluster's id, part of the owner and the id of every row; empty is the uid of the namespace
	// kube-system.
	Cluster string
	// Namespaces are the namespaces watched; none is all.
	Namespaces []string
	// LeaderElection has only one of several processes work. LeaderElectionNamespace is where the Lease stands, empty the
	// process's own namespace.
	LeaderElection          bool
	LeaderElectionNamespace string
	// MetricsAddress serves metrics over HTTPS to whom the API server allows it; "0" serves none.
	MetricsAddress string
	// HealthAddress serves /healthz and /readyz; "0" serves none.
	HealthAddress string
	// Workers is what is added to every pool.
	Workers jobpool.Options
	// MaxConcurrentReconciles is how many resources of one kind are reconciled at the same time, at least 1.
	MaxConcurrentReconciles int
	// Pace is how often databases are looked at and how long deletions wait; suites are in more of a hurry than people.
	Pace Pace
	// SkipNameValidation lets one process start several managers, as suites do.
	SkipNameValidation bool
}

// Pace overrides periods; a zero one keeps its default.
type Pace struct {
	// Poll is the time between two snapshots of a database, 2 s.
	Poll time.Duration
	// Housekeeping is the time between two looks for rows whose resource is gone, 30 s.
	Housekeeping time.Duration
	// Rest is how long counts in a status that move all the time stay as they are, 10 s.
	Rest time.Duration
	// Patience is how long a deletion waits for a database that does not answer, 30 s.
	Patience time.Duration
}

// NewScheme knows the kinds that the operator reads and writes.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("build the scheme: %w", err)
	}
	return scheme, nil
}

// New puts a manager together; the caller starts it.
func New(ctx context.Context, cfg *rest.Config, o Options) (ctrl.Manager, error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cfg, o.manager(scheme))
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	if o.Cluster == "" {
		if o.Cluster, err = clusterID(ctx, mgr.GetAPIReader()); err != nil {
			return nil, err
		}
	}
	if err := o.addControllers(ctx, mgr); err != nil {
		return nil, err
	}
	return mgr, addChecks(mgr)
}

func (o Options) manager(scheme *runtime.Scheme) ctrl.Options {
	return ctrl.Options{
		Scheme:                        scheme,
		Cache:                         o.cache(),
		Client:                        client.Options{Cache: o.clientCache()},
		LeaderElection:                o.LeaderElection,
		LeaderElectionID:              LeaderElectionID,
		LeaderElectionNamespace:       o.LeaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true,
		HealthProbeBindAddress:        o.HealthAddress,
		GracefulShutdownTimeout:       new(drainTimeout),
		Metrics: metricsserver.Options{
			BindAddress:    o.MetricsAddress,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
			// HTTP/2 has had its share of denial of service, and nobody scrapes with it.
			TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
		},
		Controller: config.Controller{
			MaxConcurrentReconciles: max(o.MaxConcurrentReconciles, 1),
			EnableWarmup:            new(true),
			ReconciliationTimeout:   time.Minute,
			SkipNameValidation:      &o.SkipNameValidation,
		},
	}
}

// cache holds the custom resources, the Deployments of pools, and of Secrets the metadata alone.
func (o Options) cache() cache.Options {
	c := cache.Options{
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            cache.TransformStripManagedFields(),
		ByObject:                    map[client.Object]cache.ByObject{&appsv1.Deployment{}: {Label: jobpool.Managed()}},
	}
	if len(o.Namespaces) > 0 {
		c.DefaultNamespaces = make(map[string]cache.Config, len(o.Namespaces))
		for _, ns := range o.Namespaces {
			c.DefaultNamespaces[ns] = cache.Config{}
		}
	}
	return c
}

// clientCache has a reconcile see its own writes, which does not work with several namespaces of one kind.
func (o Options) clientCache() *client.CacheOptions {
	return &client.CacheOptions{
		DisableFor:                      []client.Object{&corev1.Secret{}, &corev1.Namespace{}},
		EnableReadYourWritesConsistency: new(len(o.Namespaces) <= 1),
	}
}

// clusterID is the uid of the namespace that every cluster has exactly one of.
func clusterID(ctx context.Context, api client.Reader) (string, error) {
	var ns corev1.Namespace
	if err := api.Get(ctx, types.NamespacedName{Name: metav1.NamespaceSystem}, &ns); err != nil {
		return "", fmt.Errorf("read the cluster's id, the uid of namespace %s (or set --cluster-id): %w", metav1.NamespaceSystem, err)
	}
	return string(ns.UID), nil
}

func (o Options) addControllers(ctx context.Context, mgr ctrl.Manager) error {
	databases := database.New(database.Config{
		Cluster: o.Cluster, Exists: exists(mgr.GetAPIReader()), Log: mgr.GetLogger(),
		Poll: o.Pace.Poll, Housekeeping: o.Pace.Housekeeping, Rest: o.Pace.Rest,
	})
	if err := mgr.Add(databases); err != nil {
		return fmt.Errorf("add the databases: %w", err)
	}
	recorder := mgr.GetEventRecorder("syncline-manager")
	pools := &jobpool.Reconciler{
		Client: mgr.GetClient(), API: mgr.GetAPIReader(), Databases: databases, Events: recorder,
		Cluster: o.Cluster, Options: o.Workers,
	}
	connections := &connection.Reconciler{
		Client: mgr.GetClient(), API: mgr.GetAPIReader(), Databases: databases, Events: recorder, Cluster: o.Cluster,
	}
	subscriptions := &subscription.Reconciler{
		Client: mgr.GetClient(), API: mgr.GetAPIReader(), Databases: databases, Events: recorder, Cluster: o.Cluster,
		Patience: o.Pace.Patience,
	}
	for _, c := range []interface {
		SetupWithManager(context.Context, ctrl.Manager) error
	}{pools, connections, subscriptions} {
		if err := c.SetupWithManager(ctx, mgr); err != nil {
			return fmt.Errorf("set up a controller: %w", err)
		}
	}
	return nil
}

// exists asks the API server whether a custom resource with this uid stands. One in a namespace that this process may
// not read counts as standing.
func exists(api client.Reader) func(context.Context, database.Kind, types.NamespacedName, string) (bool, error) {
	return func(ctx context.Context, kind database.Kind, name types.NamespacedName, uid string) (bool, error) {
		var o metav1.PartialObjectMetadata
		o.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(string(kind)))
		switch err := api.Get(ctx, name, &o); {
		case apierrors.IsNotFound(err):
			return false, nil
		case apierrors.IsForbidden(err):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("read %s %s: %w", kind, name, err)
		}
		return string(o.UID) == uid, nil
	}
}

// addChecks says that the process lives while it answers, and is ready when its caches are filled.
func addChecks(mgr ctrl.Manager) error {
	alive := func(*http.Request) error { return nil }
	ready := func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
	return errors.Join(mgr.AddHealthzCheck("alive", alive), mgr.AddReadyzCheck("caches", ready))
}
