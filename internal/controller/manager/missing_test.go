package manager_test

import (
	"context"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/pgtest"
)

var _ = Describe("What is missing is named, and its appearing is noticed:", func() {
	It("the database's secret", func(ctx context.Context) {
		w := newWorld(ctx)
		create(ctx, w.objects()[1:]...)
		message := eventually(ctx, w.pool(), v1alpha1.ConditionDatabaseReachable, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing)
		Expect(message).To(ContainSubstring(`"orders-app"`))
		eventually(ctx, w.pool(), v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonWaiting)
		eventually(ctx, w.subscription(), v1alpha1.ConditionPoolReady, metav1.ConditionFalse, v1alpha1.ReasonPoolNotReady)
		create(ctx, w.databaseSecret())
		w.eventuallyAllReady(ctx)
	})

	It("the key in the database's secret", func(ctx context.Context) {
		w := newWorld(ctx)
		secret := w.secret("orders-app", "other", "value")
		create(ctx, append([]client.Object{secret}, w.objects()[1:]...)...)
		message := eventually(ctx, w.pool(), v1alpha1.ConditionDatabaseReachable, metav1.ConditionFalse, v1alpha1.ReasonSecretKeyMissing)
		Expect(message).To(ContainSubstring(`"uri"`))
		secret.StringData = map[string]string{"uri": w.db.URI + "\n"}
		Expect(api.Update(ctx, secret)).To(Succeed())
		w.eventuallyAllReady(ctx)
	})

	It("a value that is a URI", func(ctx context.Context) {
		w := newWorld(ctx)
		secret := w.secret("orders-app", "uri", "postgres://app:swordfish@[broken")
		create(ctx, append([]client.Object{secret}, w.objects()[1:]...)...)
		message := eventually(ctx, w.pool(), v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidURI)
		Expect(message).NotTo(ContainSubstring("swordfish"))
		secret.StringData = map[string]string{"uri": w.db.URI}
		Expect(api.Update(ctx, secret)).To(Succeed())
		w.eventuallyAllReady(ctx)
	})

	It("the credential's secret", func(ctx context.Context) {
		w := newWorld(ctx)
		create(ctx, w.databaseSecret(), w.pool(), w.connection(), w.subscription())
		message := eventually(ctx, w.connection(), v1alpha1.ConditionCredentialsReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing)
		Expect(message).To(ContainSubstring(`"crm-token"`))
		eventually(ctx, w.subscription(), v1alpha1.ConditionConnectionReady, metav1.ConditionFalse, v1alpha1.ReasonConnectionNotReady)
		create(ctx, w.tokenSecret())
		w.eventuallyAllReady(ctx)
	})

	It("the key in the credential's secret", func(ctx context.Context) {
		w := newWorld(ctx)
		secret := w.secret("crm-token", "other", "value")
		create(ctx, w.databaseSecret(), secret, w.pool(), w.connection(), w.subscription())
		message := eventually(ctx, w.connection(), v1alpha1.ConditionCredentialsReady, metav1.ConditionFalse, v1alpha1.ReasonSecretKeyMissing)
		Expect(message).To(ContainSubstring(`"token"`))
		secret.StringData = map[string]string{"token": "first"}
		Expect(api.Update(ctx, secret)).To(Succeed())
		w.eventuallyAllReady(ctx)
	})

	It("the pool", func(ctx context.Context) {
		w := newWorld(ctx)
		create(ctx, w.databaseSecret(), w.tokenSecret(), w.connection(), w.subscription())
		sub := w.subscription()
		message := eventually(ctx, sub, v1alpha1.ConditionPoolReady, metav1.ConditionFalse, v1alpha1.ReasonPoolMissing)
		Expect(message).To(ContainSubstring(`"batch"`))
		eventuallyEvent(ctx, sub, v1alpha1.EventPoolMissing)
		create(ctx, w.pool())
		w.eventuallyAllReady(ctx)
	})

	It("the connection", func(ctx context.Context) {
		w := newWorld(ctx)
		create(ctx, w.databaseSecret(), w.tokenSecret(), w.pool(), w.subscription())
		message := eventually(ctx, w.subscription(), v1alpha1.ConditionConnectionReady, metav1.ConditionFalse, v1alpha1.ReasonConnectionMissing)
		Expect(message).To(ContainSubstring(`"crm"`))
		create(ctx, w.connection())
		w.eventuallyAllReady(ctx)
	})

	It("an expression that compiles", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription()
		sub.Spec.Mapping[1].Expr = "record.employees +"
		create(ctx, w.databaseSecret(), w.tokenSecret(), w.pool(), w.connection(), sub)
		message := eventually(ctx, sub, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCompileFailed)
		Expect(message).To(And(ContainSubstring("spec.mapping[1].expr"), ContainSubstring("line 1, column")))
		sub.Spec.Mapping[1].Expr = "record.employees"
		Expect(api.Patch(ctx, sub, client.RawPatch("application/merge-patch+json",
			[]byte(`{"spec":{"mapping":[{"field":"name","from":"name","type":"text"}]}}`)))).To(Succeed())
		w.eventuallyAllReady(ctx)
	})

	It("a schedule that fires", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription()
		sub.Spec.Schedule = &v1alpha1.Schedule{Cron: "0 3 31 2 *"}
		create(ctx, w.databaseSecret(), w.tokenSecret(), w.pool(), w.connection(), sub)
		eventually(ctx, sub, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidSchedule)
	})

	It("a column of the right type", func(ctx context.Context) {
		w := newWorld(ctx)
		_, err := w.db.Pool.Exec(ctx, `CREATE TABLE contacts (
			id uuid PRIMARY KEY, connection_id uuid NOT NULL, external_id text NOT NULL, name text, employees integer,
			version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, deleted_at timestamptz,
			UNIQUE (connection_id, external_id))`)
		Expect(err).NotTo(HaveOccurred())
		create(ctx, w.objects()...)
		message := eventually(ctx, w.subscription(), v1alpha1.ConditionSinkReady, metav1.ConditionFalse, v1alpha1.ReasonColumnMismatch)
		Expect(message).To(And(ContainSubstring("employees"), ContainSubstring("integer"), ContainSubstring("bigint")))
		_, err = w.db.Pool.Exec(ctx, "ALTER TABLE contacts ALTER COLUMN employees TYPE bigint")
		Expect(err).NotTo(HaveOccurred())
		w.eventuallyAllReady(ctx)
	})

	It("a table that the user makes", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription()
		sub.Spec.Sink.Management = v1alpha1.SinkExisting
		sub.Spec.Mapping = sub.Spec.Mapping[:1]
		create(ctx, w.databaseSecret(), w.tokenSecret(), w.pool(), w.connection(), sub)
		eventually(ctx, sub, v1alpha1.ConditionSinkReady, metav1.ConditionFalse, v1alpha1.ReasonTableMissing)
		_, err := w.db.Pool.Exec(ctx, `CREATE TABLE contacts (
			id uuid PRIMARY KEY, connection_id uuid NOT NULL, external_id text NOT NULL, name text,
			version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, deleted_at timestamptz,
			UNIQUE (connection_id, external_id))`)
		Expect(err).NotTo(HaveOccurred())
		w.eventuallyAllReady(ctx)
	})

	It("a database that answers", func(ctx context.Context) {
		own, err := pgtest.New(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() error { return own.Close() })
		w := newWorldOn(ctx, own)
		w.working(ctx)
		Expect(own.Stop()).To(Succeed())
		pool := w.pool()
		Eventually(func() string {
			return eventually(ctx, pool, v1alpha1.ConditionDatabaseReachable, metav1.ConditionFalse, v1alpha1.ReasonDatabaseUnreachable)
		}).Should(ContainSubstring("connection refused"))
		eventuallyEvent(ctx, pool, v1alpha1.EventDatabaseUnreachable)
		eventually(ctx, w.subscription(), v1alpha1.ConditionPoolReady, metav1.ConditionFalse, v1alpha1.ReasonPoolNotReady)

		// Meanwhile nobody else waits for it.
		other := newWorld(ctx)
		other.working(ctx)

		Expect(own.Start(ctx)).To(Succeed())
		w.eventuallyAllReady(ctx)
		eventuallyEvent(ctx, pool, v1alpha1.EventDatabaseRecovered)
	})

	It("the right to make the schema", func(ctx context.Context) {
		w := newWorld(ctx)
		guest := "guest_" + w.db.Name
		w.superuser(ctx, "CREATE ROLE "+guest+" LOGIN", "REVOKE CREATE ON DATABASE "+w.db.Name+" FROM PUBLIC")
		DeferCleanup(func(ctx context.Context) {
			w.superuser(ctx, "DROP OWNED BY "+guest+" CASCADE", "DROP ROLE "+guest)
		})
		uri, err := url.Parse(w.db.URI)
		Expect(err).NotTo(HaveOccurred())
		uri.User = url.User(guest)
		create(ctx, w.secret("orders-app", "uri", uri.String()), w.pool())
		message := eventually(ctx, w.pool(), v1alpha1.ConditionSchemaCurrent, metav1.ConditionFalse, v1alpha1.ReasonMissingGrant)
		Expect(message).To(And(ContainSubstring("GRANT CREATE ON DATABASE"), ContainSubstring("manager migrate --print")))
		w.superuser(ctx, "GRANT CREATE ON DATABASE "+w.db.Name+" TO "+guest)
		eventually(ctx, w.pool(), v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})
})
