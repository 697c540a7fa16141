package manager_test

import (
	"cmp"
	"context"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/internal/controller/jobpool"
	"github.com/syncline-dev/syncline/internal/controller/manager"
	"github.com/syncline-dev/syncline/internal/kubetest"
	"github.com/syncline-dev/syncline/internal/pgtest"
)

const (
	// startTimeout covers a cold cache, in which kube-apiserver and etcd are built first.
	startTimeout = 15 * time.Minute
	// recovery is how soon a condition must follow what it waits for: ten seconds are promised, the rest is for a machine
	// that does ten other things.
	recovery = 20 * time.Second
	// pause is how often a state that must come is looked for.
	pause = 100 * time.Millisecond
	// clusterID is the id under which the suite's manager owns rows.
	clusterID = "suite"
	// operator is the identity the manager runs as: it has the generated role and nothing else.
	operator = "system:serviceaccount:syncline-system:syncline-manager"
)

var (
	cluster *kubetest.Simulated
	server  *pgtest.Instance
	api     client.Client
)

func TestManager(t *testing.T) {
	RegisterFailHandler(Fail)
	ctrl.SetLogger(GinkgoLogr)
	SetDefaultEventuallyTimeout(recovery)
	SetDefaultEventuallyPollingInterval(pause)
	RunSpecs(t, "Manager")
}

var _ = BeforeSuite(func(ctx context.Context) {
	var err error
	cluster, err = kubetest.Simulate(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return cluster.Stop() })
	server, err = pgtest.New(context.Background())
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return server.Close() })
	scheme, err := manager.NewScheme()
	Expect(err).NotTo(HaveOccurred())
	api, err = client.New(cluster.Config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	api = client.WithFieldValidation(client.WithFieldOwner(api, "a-user"), metav1.FieldValidationStrict)
	grant(ctx)
	stopOperator = launch(manager.Options{}, hurried)
	DeferCleanup(func() { stopOperator() })
}, NodeTimeout(startTimeout))

// grant binds the generated role to the identity that the manager runs as, and nothing else.
func grant(ctx context.Context) {
	GinkgoHelper()
	var role rbacv1.ClusterRole
	readRole("role.yaml", &role)
	bindRole(ctx, &role, operatorUser)
}

// hurried is the pace of most specs.
var hurried = manager.Pace{Poll: 300 * time.Millisecond, Housekeeping: 2 * time.Second, Rest: 500 * time.Millisecond, Patience: 6 * time.Second}

// stopOperator ends the manager that all specs share.
var stopOperator func()

// startOperator starts it again, with nothing in memory; a spec that gave it another pace gives the usual one back.
func startOperator(pace manager.Pace) {
	GinkgoHelper()
	stopOperator = launch(manager.Options{}, pace)
}

// startManager runs one more manager until the spec ends, and gives the function that ends it sooner.
func startManager(o manager.Options) (stop func()) {
	GinkgoHelper()
	stop = launch(o, hurried)
	DeferCleanup(stop)
	return stop
}

// launch runs a manager until the function that it gives is called.
func launch(o manager.Options, pace manager.Pace) (stop func()) {
	GinkgoHelper()
	o.Cluster, o.SkipNameValidation = clusterID, true
	o.MetricsAddress, o.HealthAddress = cmp.Or(o.MetricsAddress, "0"), cmp.Or(o.HealthAddress, "0")
	o.MaxConcurrentReconciles, o.Pace = 4, pace
	o.Workers = jobpool.Options{Image: "localhost/syncline:test", PullPolicy: corev1.PullNever}
	ctx, cancel := context.WithCancel(context.Background())
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate.UserName = operator
	mgr, err := manager.New(ctx, config, o)
	Expect(err).NotTo(HaveOccurred())
	var wait sync.WaitGroup
	wait.Go(func() {
		defer GinkgoRecover()
		Expect(mgr.Start(ctx)).To(Succeed())
	})
	return sync.OnceFunc(func() { cancel(); wait.Wait() })
}
