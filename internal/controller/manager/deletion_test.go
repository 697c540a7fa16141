package manager_test

import (
	"context"

	"github.com/jackc/pgx/v5"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/pgtest"
)

// superuser runs statements as the server's administrator.
func (w *world) superuser(ctx context.Context, statements ...string) {
	GinkgoHelper()
	conn, err := pgx.Connect(ctx, w.db.SuperuserURI())
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = conn.Close(ctx) }()
	for _, s := range statements {
		_, err := conn.Exec(ctx, s)
		Expect(err).NotTo(HaveOccurred(), s)
	}
}

// workingWith is working, with a subscription of the given policy that has been run once.
func (w *world) workingWith(ctx context.Context, policy v1alpha1.DeletionPolicy) *v1alpha1.IntegrationSubscription {
	GinkgoHelper()
	sub := w.subscription()
	sub.Spec.DeletionPolicy = policy
	create(ctx, w.databaseSecret(), w.tokenSecret(), w.pool(), w.connection(), sub)
	w.eventuallyAllReady(ctx)
	done, err := w.db.Pool.Exec(ctx, `
WITH r AS (
	INSERT INTO syncline.sync_run (subscription_id, run_id, token, attempt, action, generation, full_walk, outcome, found, created)
	VALUES ($1, 1, 1, 1, 'manual', 1, true, 'succeeded', 7, 7)
	RETURNING id
), i AS (
	INSERT INTO syncline.sync_item (sync_run_id, subscription_id, chunk, external_id, local_id, operation, version, changed_fields)
	SELECT id, $1, 1, 'e', gen_random_uuid(), 'created', 1, '{}' FROM r
)
UPDATE syncline.subscription SET last_sync_run = r.id, cursor = '{"kind": "token", "value": "c7"}', last_success_at = clock_timestamp()
FROM r WHERE subscription.id = $1`, w.subscriptionID())
	Expect(err).NotTo(HaveOccurred())
	Expect(done.RowsAffected()).To(BeEquivalentTo(1), "a subscription that is Ready has a row")
	Eventually(func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(sub), sub)).To(Succeed())
		g.Expect(sub.Status.Cursor).To(Equal("c7"), "%+v", sub.Status)
		g.Expect(*sub.Status.LastRun.Created).To(BeEquivalentTo(7))
	}).Should(Succeed())
	return sub
}

const auditRows = "SELECT (SELECT count(*) FROM syncline.sync_run WHERE subscription_id = $1) + " +
	"(SELECT count(*) FROM syncline.sync_item WHERE subscription_id = $1)"

var _ = Describe("Deleting a subscription", func() {
	It("keeps cursor and audit with Retain, and goes on from there when it is created again", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.workingWith(ctx, v1alpha1.DeletionPolicyRetain)
		Expect(sub.Finalizers).To(BeEmpty(), "Retain needs no database to delete")
		remove(ctx, sub)
		w.eventuallyCount(ctx, 1,
			"SELECT count(*) FROM syncline.subscription WHERE id = $1 AND retired_at IS NOT NULL AND cursor->>'value' = 'c7'", w.subscriptionID())
		Expect(w.count(ctx, auditRows, w.subscriptionID())).To(Equal(2))

		create(ctx, w.subscription())
		w.eventuallyCount(ctx, 1, "SELECT count(*) FROM syncline.subscription WHERE id = $1 AND retired_at IS NULL AND cursor->>'value' = 'c7'", w.subscriptionID())
		eventually(ctx, w.subscription(), v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("removes cursor and audit with Delete", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.workingWith(ctx, v1alpha1.DeletionPolicyDelete)
		remove(ctx, sub)
		Expect(w.count(ctx, "SELECT count(*) FROM syncline.subscription")).To(BeZero(), "the resource went before its row")
		w.eventuallyCount(ctx, 0, auditRows, w.subscriptionID())
	})

	It("follows a policy that changed its mind", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.workingWith(ctx, v1alpha1.DeletionPolicyDelete)
		Expect(api.Patch(ctx, sub, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"deletionPolicy":"Retain"}}`)))).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(sub), sub)).To(Succeed())
			g.Expect(sub.Finalizers).To(BeEmpty())
		}).Should(Succeed())
		remove(ctx, sub)
		w.eventuallyCount(ctx, 1, "SELECT count(*) FROM syncline.subscription WHERE retired_at IS NOT NULL")
	})

	for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionPolicyRetain, v1alpha1.DeletionPolicyDelete} {
		It("does not hang with "+string(policy)+" when its pool was deleted first", func(ctx context.Context) {
			w := newWorld(ctx)
			sub := w.workingWith(ctx, policy)
			remove(ctx, w.pool())
			remove(ctx, sub)
			w.eventuallyCount(ctx, 0, "SELECT count(*) FROM syncline.subscription WHERE retired_at IS NULL")
		})

		It("does not hang with "+string(policy)+" when its connection was deleted first", func(ctx context.Context) {
			w := newWorld(ctx)
			sub := w.workingWith(ctx, policy)
			remove(ctx, w.connection())
			remove(ctx, sub)
			w.eventuallyCount(ctx, 0, "SELECT count(*) FROM syncline.subscription WHERE retired_at IS NULL")
		})

		It("does not hang with "+string(policy)+" when everything goes at once", func(ctx context.Context) {
			w := newWorld(ctx)
			sub := w.workingWith(ctx, policy)
			for _, o := range []client.Object{w.databaseSecret(), w.tokenSecret(), w.pool(), w.connection(), w.subscription()} {
				Expect(api.Delete(ctx, o)).To(Succeed())
			}
			eventuallyGone(ctx, sub)
			eventuallyGone(ctx, w.pool())
			eventuallyGone(ctx, w.connection())
		})

		It("does not hang with "+string(policy)+" when the database is down, and catches up when it is back", func(ctx context.Context) {
			own, err := pgtest.New(ctx)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(func() error { return own.Close() })
			w := newWorldOn(ctx, own)
			sub := w.workingWith(ctx, policy)
			Expect(own.Stop()).To(Succeed())
			eventually(ctx, w.pool(), v1alpha1.ConditionDatabaseReachable, metav1.ConditionFalse, v1alpha1.ReasonDatabaseUnreachable)
			remove(ctx, sub)
			if policy == v1alpha1.DeletionPolicyDelete {
				eventuallyEvent(ctx, sub, v1alpha1.EventDatabaseReleased)
			}
			Expect(own.Start(ctx)).To(Succeed())
			w.db.Pool.Reset()
			w.eventuallyCount(ctx, 0, "SELECT count(*) FROM syncline.subscription WHERE retired_at IS NULL")
		})
	}

	It("does not hang in a namespace that is terminating, with the database gone before", func(ctx context.Context) {
		own, err := pgtest.New(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() error { return own.Close() })
		w := newWorldOn(ctx, own)
		w.workingWith(ctx, v1alpha1.DeletionPolicyDelete)
		Expect(own.Stop()).To(Succeed())
		w.terminate(ctx)
	})

	It("does not hang in a namespace that is terminating, with the database alive", func(ctx context.Context) {
		w := newWorld(ctx)
		w.workingWith(ctx, v1alpha1.DeletionPolicyDelete)
		w.terminate(ctx)
	})
})

var _ = Describe("Deleting a connection", func() {
	It("takes its credential out of the database at once, even while subscriptions are kept", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.workingWith(ctx, v1alpha1.DeletionPolicyRetain)
		remove(ctx, sub)
		remove(ctx, w.connection())
		w.eventuallyCount(ctx, 0, "SELECT count(*) FROM syncline.connection WHERE credential IS NOT NULL")
	})
})
