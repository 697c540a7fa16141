package manager_test

import (
	"context"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/subscription"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

var _ = Describe("Applying", func() {
	for _, order := range [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 4, 0, 3, 1}, {3, 1, 4, 2, 0}} {
		It("converges in any order", func(ctx context.Context) {
			w := newWorld(ctx)
			objects := w.objects()
			for _, i := range order {
				create(ctx, objects[i])
			}
			w.eventuallyAllReady(ctx)
			Expect(w.count(ctx, "SELECT count(*) FROM syncline.pool WHERE name = 'batch' AND owner_namespace = $1", w.ns)).To(Equal(1))
			Expect(w.count(ctx, "SELECT count(*) FROM syncline.connection WHERE id = $1 AND credential IS NOT NULL", w.connectionID())).To(Equal(1))
			Expect(w.count(ctx, "SELECT count(*) FROM syncline.subscription WHERE id = $1 AND pool = 'batch'", w.subscriptionID())).To(Equal(1))
		})
	}

	It("changes nothing any more once it has converged", func(ctx context.Context) {
		w := newWorld(ctx)
		w.working(ctx)
		versions := func() []string {
			var all []string
			for _, o := range []client.Object{w.pool(), w.connection(), w.subscription()} {
				Expect(api.Get(ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
				all = append(all, o.GetResourceVersion())
			}
			return all
		}
		var settled []string
		Eventually(func() bool {
			before := settled
			settled = versions()
			return slices.Equal(before, settled)
		}).WithPolling(gaugeWait).WithTimeout(6 * gaugeWait).Should(BeTrue())
		// Several snapshots and one period of counts go by.
		Consistently(versions, 2*gaugeWait, pause*5).Should(Equal(settled), "a resource was written although nothing had changed")
	})

	It("lets GitOps tools apply the same again without a conflict", func(ctx context.Context) {
		w := newWorld(ctx)
		create(ctx, w.databaseSecret(), w.tokenSecret())
		declared := func() []client.Object {
			sub := w.subscription()
			sub.Spec.DeletionPolicy = v1alpha1.DeletionPolicyDelete
			return []client.Object{w.pool(), w.connection(), sub}
		}
		for range 3 {
			for _, o := range declared() {
				Expect(applyAs(ctx, o, "gitops")).To(Succeed())
			}
			w.eventuallyAllReady(ctx)
		}
		sub := w.subscription()
		Expect(api.Get(ctx, client.ObjectKeyFromObject(sub), sub)).To(Succeed())
		Expect(sub.Finalizers).To(ConsistOf(subscription.Finalizer))
		Expect(sub.Generation).To(BeEquivalentTo(1), "the operator or a repeated apply has changed the spec")
	})
})

var _ = Describe("A JobPool", func() {
	It("tells running workers of a new tuning through its row", func(ctx context.Context) {
		w := newWorld(ctx)
		w.working(ctx)
		pool := w.pool()
		Eventually(func() error {
			if err := api.Get(ctx, client.ObjectKeyFromObject(pool), pool); err != nil {
				return err
			}
			pool.Spec.Concurrency, pool.Spec.StopPolicy = 3, v1alpha1.StopPolicyHold
			return api.Update(ctx, pool)
		}).Should(Succeed())
		w.eventuallyCount(ctx, 1, "SELECT count(*) FROM syncline.pool WHERE tuning_generation = 2 AND (tuning->>'concurrency')::int = 3 AND (tuning->>'hold')::bool")
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pool), pool)).To(Succeed())
			g.Expect(pool.Status.Tuning).NotTo(BeNil())
			g.Expect(*pool.Status.Tuning.Generation).To(BeEquivalentTo(2))
			g.Expect(*pool.Status.Tuning.ObservedGeneration).To(Equal(pool.Generation))
		}).Should(Succeed())
		eventually(ctx, pool, v1alpha1.ConditionClaimsHealthy, metav1.ConditionFalse, v1alpha1.ReasonHeld)
		eventually(ctx, pool, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("shows which of its workers run the newest tuning", func(ctx context.Context) {
		w := newWorld(ctx)
		w.working(ctx)
		_, err := w.db.Pool.Exec(ctx, `INSERT INTO syncline.worker (pool, types, lease_millis, heartbeat_millis, expires_at, started_at, tuning_generation)
			SELECT 'batch', '{}', 600000, 20000, clock_timestamp() + interval '10 minutes', clock_timestamp(), g FROM generate_series(0, 1) AS g`)
		Expect(err).NotTo(HaveOccurred())
		pool := w.pool()
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pool), pool)).To(Succeed())
			g.Expect(*pool.Status.Claims.Workers).To(BeEquivalentTo(2))
			g.Expect(*pool.Status.Tuning.WorkersCurrent).To(BeEquivalentTo(1))
		}).Should(Succeed())
	})

	It("does not share its name in one database, and takes it when it is free", func(ctx context.Context) {
		w := newWorld(ctx)
		w.working(ctx)
		other := &world{ns: newNamespace(ctx), db: w.db}
		DeferCleanup(other.clear)
		second := other.pool()
		second.Spec.Replicas = new(int32(2))
		create(ctx, other.databaseSecret(), second)
		message := eventually(ctx, second, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNameTaken)
		Expect(message).To(ContainSubstring(w.ns))
		eventuallyEvent(ctx, second, v1alpha1.EventNameTaken)
		Expect(deploymentOf(ctx, second)).To(BeNil(), "workers of a pool whose name is taken would take the other's runs")

		remove(ctx, w.pool())
		eventually(ctx, second, v1alpha1.ConditionStalled, metav1.ConditionFalse, v1alpha1.ReasonNotStalled)
		w.eventuallyCount(ctx, 1, "SELECT count(*) FROM syncline.pool WHERE owner_namespace = $1", other.ns)
		Eventually(func() any { return deploymentOf(ctx, second) }).ShouldNot(BeNil())
	})
})

var _ = Describe("An IntegrationConnection", func() {
	It("seals a rotated secret anew", func(ctx context.Context) {
		w := newWorld(ctx)
		w.working(ctx)
		Expect(w.opened(ctx)).To(Equal("first"))
		secret := w.tokenSecret()
		Expect(api.Get(ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
		secret.StringData = map[string]string{"token": "second"}
		Expect(api.Update(ctx, secret)).To(Succeed())
		Eventually(func() string { return w.opened(ctx) }).Should(Equal("second"))
	})

	It("says that the sealing key is lost rather than make another one, and recovers when it is back", func(ctx context.Context) {
		w := newWorld(ctx)
		w.working(ctx)
		key := w.secret("syncline-sealing", "", "")
		Expect(api.Get(ctx, client.ObjectKeyFromObject(key), key)).To(Succeed())
		Expect(api.Delete(ctx, key)).To(Succeed())
		eventually(ctx, w.connection(), v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSealingKeyLost)
		back := w.secret("syncline-sealing", "", "")
		back.StringData, back.Data = nil, key.Data
		create(ctx, back)
		eventually(ctx, w.connection(), v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(w.opened(ctx)).To(Equal("first"))
	})
})

// opened is the token in the connection's row, as a worker opens it.
func (w *world) opened(ctx context.Context) string {
	GinkgoHelper()
	secret := w.secret("syncline-sealing", "", "")
	Expect(api.Get(ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
	keyset, err := sealing.Parse(secret.Data["keyset.json"])
	Expect(err).NotTo(HaveOccurred())
	var sealed []byte
	Expect(w.db.Pool.QueryRow(ctx, "SELECT credential FROM syncline.connection WHERE id = $1", w.connectionID()).Scan(&sealed)).To(Succeed())
	plain, err := keyset.Open(sealed, w.connectionID(), spec.CredentialColumn)
	Expect(err).NotTo(HaveOccurred())
	return tokenOf(plain)
}

var _ = Describe("An IntegrationSubscription", func() {
	It("runs on request and mirrors the request", func(ctx context.Context) {
		w := newWorld(ctx)
		w.working(ctx)
		sub := w.subscription()
		Expect(api.Patch(ctx, sub, client.RawPatch("application/merge-patch+json",
			[]byte(`{"metadata":{"annotations":{"syncline.dev/run-requested-at":"now-1"}}}`)))).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(sub), sub)).To(Succeed())
			g.Expect(sub.Status.LastHandledRunRequest).To(Equal("now-1"))
		}).Should(Succeed())
		eventuallyEvent(ctx, sub, v1alpha1.EventRunRequested)
		Expect(w.count(ctx, "SELECT count(*) FROM syncline.run WHERE pool = 'batch'")).To(Equal(1),
			"a pool without workers still gets its runs")
	})

	It("does not move to a pool on another database", func(ctx context.Context) {
		w, other := newWorld(ctx), newWorld(ctx)
		w.working(ctx)
		far := w.pool()
		far.Name, far.Spec.Database.SecretRef.Name = "far", "far-app"
		create(ctx, w.secret("far-app", "uri", other.db.URI), far)
		eventually(ctx, far, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		w.point(ctx, "far")
		message := eventually(ctx, w.subscription(), v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonPoolOnOtherDatabase)
		Expect(message).To(ContainSubstring("spec.poolRef"))
		Expect(other.count(ctx, "SELECT count(*) FROM syncline.subscription")).To(BeZero())
		w.point(ctx, "batch")
		eventually(ctx, w.subscription(), v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("moves to another pool on the same database", func(ctx context.Context) {
		w := newWorld(ctx)
		w.working(ctx)
		near := w.pool()
		near.Name = "near"
		create(ctx, near)
		w.point(ctx, "near")
		w.eventuallyCount(ctx, 1, "SELECT count(*) FROM syncline.subscription WHERE pool = 'near'")
		eventually(ctx, w.subscription(), v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})
})

// point makes the subscription name another pool.
func (w *world) point(ctx context.Context, pool string) {
	GinkgoHelper()
	Expect(api.Patch(ctx, w.subscription(), client.RawPatch("application/merge-patch+json",
		[]byte(`{"spec":{"poolRef":{"name":"`+pool+`"}}}`)))).To(Succeed())
}
