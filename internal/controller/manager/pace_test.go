package manager_test

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/manager"
	"github.com/syncline-dev/syncline/internal/pgtest"
)

// promise is how soon a condition follows what it waits for, in the operator's usual pace.
const promise = 10 * time.Second

const contactsTable = `CREATE TABLE contacts (
	id uuid PRIMARY KEY, connection_id uuid NOT NULL, external_id text NOT NULL, name text, employees integer,
	version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, deleted_at timestamptz,
	UNIQUE (connection_id, external_id))`

// appears waits until the condition names what is missing, lets it appear, and measures how long everything takes to be
// ready.
func (w *world) appears(ctx context.Context, what string, lacking client.Object, conditionType, reason string, appear func()) {
	GinkgoHelper()
	eventually(ctx, lacking, conditionType, metav1.ConditionFalse, reason)
	appear()
	start := time.Now()
	Eventually(func(g Gomega) {
		for _, o := range []client.Object{w.pool(), w.connection(), w.subscription()} {
			list, err := conditionsOf(ctx, o)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(condition.Find(list, v1alpha1.ConditionReady).Status).To(Equal(metav1.ConditionTrue), "%T: %+v", o, list)
		}
	}).WithTimeout(promise).Should(Succeed())
	AddReportEntry(fmt.Sprintf("%s appeared: all ready after %v", what, time.Since(start).Round(pause)), ReportEntryVisibilityAlways)
}

var _ = Describe("In its usual pace, the operator has everything ready within ten seconds of the appearing of", Ordered, func() {
	BeforeAll(func() { stopOperator(); startOperator(manager.Pace{}) })
	AfterAll(func() { stopOperator(); startOperator(hurried) })

	It("the database's secret", func(ctx context.Context) {
		w := newWorld(ctx)
		create(ctx, w.objects()[1:]...)
		w.appears(ctx, "secret", w.pool(), v1alpha1.ConditionDatabaseReachable, v1alpha1.ReasonSecretMissing, func() { create(ctx, w.databaseSecret()) })
	})

	It("the key in the database's secret", func(ctx context.Context) {
		w := newWorld(ctx)
		secret := w.secret("orders-app", "other", "value")
		create(ctx, append([]client.Object{secret}, w.objects()[1:]...)...)
		w.appears(ctx, "key", w.pool(), v1alpha1.ConditionDatabaseReachable, v1alpha1.ReasonSecretKeyMissing, func() {
			secret.StringData = map[string]string{"uri": w.db.URI}
			Expect(api.Update(ctx, secret)).To(Succeed())
		})
	})

	It("the credential's secret and key", func(ctx context.Context) {
		w := newWorld(ctx)
		create(ctx, w.databaseSecret(), w.pool(), w.connection(), w.subscription())
		w.appears(ctx, "credential", w.connection(), v1alpha1.ConditionCredentialsReady, v1alpha1.ReasonSecretMissing, func() { create(ctx, w.tokenSecret()) })
	})

	It("the pool", func(ctx context.Context) {
		w := newWorld(ctx)
		create(ctx, w.databaseSecret(), w.tokenSecret(), w.connection(), w.subscription())
		w.appears(ctx, "pool", w.subscription(), v1alpha1.ConditionPoolReady, v1alpha1.ReasonPoolMissing, func() { create(ctx, w.pool()) })
	})

	It("the database", func(ctx context.Context) {
		own, err := pgtest.New(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() error { return own.Close() })
		w := newWorldOn(ctx, own)
		Expect(own.Stop()).To(Succeed())
		create(ctx, w.objects()...)
		w.appears(ctx, "database", w.pool(), v1alpha1.ConditionDatabaseReachable, v1alpha1.ReasonDatabaseUnreachable, func() {
			// Until the pauses between two attempts are as long as they become.
			Consistently(func() string {
				list, err := conditionsOf(ctx, w.pool())
				Expect(err).NotTo(HaveOccurred())
				return condition.Find(list, v1alpha1.ConditionDatabaseReachable).Reason
			}, promise, time.Second).Should(Equal(v1alpha1.ReasonDatabaseUnreachable))
			Expect(own.Start(ctx)).To(Succeed())
		})
	})

	It("a column of the right type", func(ctx context.Context) {
		w := newWorld(ctx)
		_, err := w.db.Pool.Exec(ctx, contactsTable)
		Expect(err).NotTo(HaveOccurred())
		create(ctx, w.objects()...)
		w.appears(ctx, "column type", w.subscription(), v1alpha1.ConditionSinkReady, v1alpha1.ReasonColumnMismatch, func() {
			_, err := w.db.Pool.Exec(ctx, "ALTER TABLE contacts ALTER COLUMN employees TYPE bigint")
			Expect(err).NotTo(HaveOccurred())
		})
	})
})
