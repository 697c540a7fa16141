package manager_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
)

// leaveFor has a subscription that was run once point at the pool "far" on the other database, while the operator is
// down and the pool on its own database goes. Nothing but its status knows of that database then.
func (w *world) leaveFor(ctx context.Context, other *world, policy v1alpha1.DeletionPolicy) *v1alpha1.IntegrationSubscription {
	GinkgoHelper()
	sub := w.workingWith(ctx, policy)
	Expect(sub.Status.DatabaseID).To(MatchRegexp("^[0-9a-f]{64}$"))
	far := w.pool()
	far.Name, far.Spec.Database.SecretRef.Name = "far", "far-app"
	create(ctx, w.secret("far-app", "uri", other.db.URI), far)
	eventually(ctx, far, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	stopOperator()
	remove(ctx, w.pool())
	remove(ctx, w.databaseSecret())
	w.point(ctx, "far")
	startOperator(hurried)
	return sub
}

const refusal = "point spec.poolRef back"

// eventuallyRefused waits until the newest spec is refused.
func (w *world) eventuallyRefused(ctx context.Context) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		sub := w.subscription()
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(sub), sub)).To(Succeed())
		g.Expect(*sub.Status.ObservedGeneration).To(Equal(sub.Generation))
	}).Should(Succeed())
	message := eventually(ctx, w.subscription(), v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonPoolOnOtherDatabase)
	Expect(message).To(And(ContainSubstring(refusal), ContainSubstring("create another"), ContainSubstring("delete this")))
}

var _ = Describe("A subscription whose pool is on another database", func() {
	It("is refused for good, although nothing but its status knows its own database any more", func(ctx context.Context) {
		w, other := newWorld(ctx), newWorld(ctx)
		before := w.leaveFor(ctx, other, v1alpha1.DeletionPolicyRetain)
		w.eventuallyRefused(ctx)

		stopOperator()
		startOperator(hurried)
		w.eventuallyRefused(ctx)
		Consistently(func() string {
			sub := w.subscription()
			Expect(api.Get(ctx, client.ObjectKeyFromObject(sub), sub)).To(Succeed())
			Expect(sub.Status.DatabaseID).To(Equal(before.Status.DatabaseID))
			for _, c := range sub.Status.Conditions {
				if c.Type == v1alpha1.ConditionPoolReady {
					return c.Reason
				}
			}
			return ""
		}, 3*time.Second).Should(Equal(v1alpha1.ReasonPoolOnOtherDatabase), "the refusal must outlast several looks at the database")
		Expect(other.count(ctx, "SELECT count(*) FROM syncline.subscription")).To(BeZero(), "the subscription has started over")

		create(ctx, w.databaseSecret(), w.pool())
		w.point(ctx, "batch")
		eventually(ctx, w.subscription(), v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(w.count(ctx, "SELECT count(*) FROM syncline.subscription WHERE cursor->>'value' = 'c7' AND retired_at IS NULL")).To(Equal(1))
	})

	It("goes on there when its rows were moved along", func(ctx context.Context) {
		w, other := newWorld(ctx), newWorld(ctx)
		before := w.leaveFor(ctx, other, v1alpha1.DeletionPolicyRetain)
		w.eventuallyRefused(ctx)
		w.copyTo(ctx, other)
		Eventually(func(g Gomega) {
			sub := w.subscription()
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(sub), sub)).To(Succeed())
			g.Expect(sub.Status.DatabaseID).NotTo(Or(BeEmpty(), Equal(before.Status.DatabaseID)))
			g.Expect(sub.Status.Cursor).To(Equal("c7"))
		}).Should(Succeed())
		eventually(ctx, w.subscription(), v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("may be deleted, and says what it left behind", func(ctx context.Context) {
		w, other := newWorld(ctx), newWorld(ctx)
		sub := w.leaveFor(ctx, other, v1alpha1.DeletionPolicyDelete)
		w.eventuallyRefused(ctx)
		remove(ctx, w.subscription())
		eventuallyEvent(ctx, sub, v1alpha1.EventDatabaseReleased)
		create(ctx, w.databaseSecret(), w.pool())
		w.eventuallyCount(ctx, 0, "SELECT count(*) FROM syncline.subscription")
	})
})

// copyTo does what a dump and a restore do with the subscription and its connection.
func (w *world) copyTo(ctx context.Context, other *world) {
	GinkgoHelper()
	for _, table := range []string{"connection", "subscription"} {
		var rows string
		Expect(w.db.Pool.QueryRow(ctx, "SELECT coalesce(json_agg(t), '[]')::text FROM syncline."+table+" AS t").Scan(&rows)).To(Succeed())
		_, err := other.db.Pool.Exec(ctx, "INSERT INTO syncline."+table+" SELECT * FROM json_populate_recordset(NULL::syncline."+table+", $1::json) "+
			"ON CONFLICT DO NOTHING", rows)
		Expect(err).NotTo(HaveOccurred())
	}
}
