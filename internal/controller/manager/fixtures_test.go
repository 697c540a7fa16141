package manager_test

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// world is one spec's namespace and database.
type world struct {
	ns string
	db *pgtest.DB
}

// newWorld makes a namespace and an empty database for one spec.
func newWorld(ctx context.Context) *world {
	GinkgoHelper()
	return newWorldOn(ctx, server)
}

func newWorldOn(ctx context.Context, server *pgtest.Instance) *world {
	GinkgoHelper()
	db, err := server.CreateDatabase(ctx)
	Expect(err).NotTo(HaveOccurred())
	w := &world{ns: newNamespace(ctx), db: db}
	DeferCleanup(func(ctx context.Context) {
		w.clear(ctx)
		Expect(db.Drop(ctx)).To(Succeed())
	})
	return w
}

func newNamespace(ctx context.Context) string {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "team-"}}
	Expect(api.Create(ctx, ns)).To(Succeed())
	return ns.Name
}

// clear removes what a spec has left, so that no actor goes on with a database that is dropped.
func (w *world) clear(ctx context.Context) {
	GinkgoHelper()
	for _, o := range []client.Object{&v1alpha1.IntegrationSubscription{}, &v1alpha1.IntegrationConnection{}, &v1alpha1.JobPool{}} {
		Expect(api.DeleteAllOf(ctx, o, client.InNamespace(w.ns))).To(Succeed())
	}
	Eventually(func(g Gomega) {
		var subs v1alpha1.IntegrationSubscriptionList
		g.Expect(api.List(ctx, &subs, client.InNamespace(w.ns))).To(Succeed())
		g.Expect(subs.Items).To(BeEmpty())
	}).WithTimeout(2 * recovery).Should(Succeed())
}

func (w *world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.ns, Name: name}
}

func (w *world) secret(name, key, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: w.meta(name), StringData: map[string]string{key: value}}
}

func (w *world) databaseSecret() *corev1.Secret { return w.secret("orders-app", "uri", w.db.URI) }

func (w *world) tokenSecret() *corev1.Secret { return w.secret("crm-token", "token", "first") }

// pool wants no workers: nothing runs pods here, and a pool without workers can be ready.
func (w *world) pool() *v1alpha1.JobPool {
	return &v1alpha1.JobPool{ObjectMeta: w.meta("batch"), Spec: v1alpha1.JobPoolSpec{
		Database: v1alpha1.Database{SecretRef: v1alpha1.DatabaseSecretRef{Name: "orders-app"}},
		Replicas: new(int32(0)),
	}}
}

func (w *world) connection() *v1alpha1.IntegrationConnection {
	return &v1alpha1.IntegrationConnection{ObjectMeta: w.meta("crm"), Spec: v1alpha1.IntegrationConnectionSpec{
		Provider: "crm",
		HTTP: &v1alpha1.HTTPConnection{
			BaseURL: "https://crm.example.com/api",
			Auth:    &v1alpha1.HTTPAuth{Bearer: &v1alpha1.BearerAuth{SecretRef: v1alpha1.TokenSecretRef{Name: "crm-token"}}},
		},
	}}
}

// subscription has no schedule: no run is started unless one is asked for.
func (w *world) subscription() *v1alpha1.IntegrationSubscription {
	return &v1alpha1.IntegrationSubscription{ObjectMeta: w.meta("contacts"), Spec: v1alpha1.IntegrationSubscriptionSpec{
		PoolRef:       v1alpha1.PoolReference{Name: "batch"},
		ConnectionRef: v1alpha1.ConnectionReference{Name: "crm"},
		Entity:        "contact",
		Source: v1alpha1.Source{HTTP: &v1alpha1.HTTPSource{
			Request: v1alpha1.HTTPRequest{Path: "/contacts"}, Records: "items", ID: "string(record.id)",
		}},
		Mapping: []v1alpha1.FieldMapping{
			{Field: "name", From: "name", Type: v1alpha1.FieldTypeText},
			{Field: "employees", Expr: "record.employees", Type: v1alpha1.FieldTypeBigint},
		},
		Sink: v1alpha1.Sink{Table: "contacts"},
	}}
}

// objects is everything a working subscription needs.
func (w *world) objects() []client.Object {
	return []client.Object{w.databaseSecret(), w.tokenSecret(), w.pool(), w.connection(), w.subscription()}
}

// create creates objects in the order given.
func create(ctx context.Context, objects ...client.Object) {
	GinkgoHelper()
	for _, o := range objects {
		Expect(api.Create(ctx, o)).To(Succeed())
	}
}

// working creates everything and waits until it is ready.
func (w *world) working(ctx context.Context) {
	GinkgoHelper()
	create(ctx, w.objects()...)
	w.eventuallyAllReady(ctx)
}

func (w *world) eventuallyAllReady(ctx context.Context) {
	GinkgoHelper()
	for _, o := range []client.Object{w.pool(), w.connection(), w.subscription()} {
		eventually(ctx, o, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	}
}

// conditionsOf reads an object and gives its conditions.
func conditionsOf(ctx context.Context, o client.Object) ([]metav1.Condition, error) {
	if err := api.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		return nil, err
	}
	switch o := o.(type) {
	case *v1alpha1.JobPool:
		return o.Status.Conditions, nil
	case *v1alpha1.IntegrationConnection:
		return o.Status.Conditions, nil
	case *v1alpha1.IntegrationSubscription:
		return o.Status.Conditions, nil
	}
	return nil, fmt.Errorf("%T has no conditions", o)
}

// eventually waits for a condition and gives its message.
func eventually(ctx context.Context, o client.Object, conditionType string, status metav1.ConditionStatus, reason string) string {
	GinkgoHelper()
	var message string
	Eventually(func(g Gomega) {
		list, err := conditionsOf(ctx, o)
		g.Expect(err).NotTo(HaveOccurred())
		c := condition.Find(list, conditionType)
		g.Expect(c.Status).To(Equal(status), "%s %s is %+v; all: %+v", o.GetName(), conditionType, c, list)
		g.Expect(c.Reason).To(Equal(reason), "%s %s is %+v", o.GetName(), conditionType, c)
		message = c.Message
	}).Should(Succeed())
	return message
}

// remove deletes an object and waits until it is gone.
func remove(ctx context.Context, o client.Object) {
	GinkgoHelper()
	Expect(client.IgnoreNotFound(api.Delete(ctx, o))).To(Succeed())
	eventuallyGone(ctx, o)
}

func eventuallyGone(ctx context.Context, o client.Object) {
	GinkgoHelper()
	Eventually(func() bool {
		return apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(o), o))
	}).WithTimeout(3*recovery).Should(BeTrue(), "%T %s must go", o, o.GetName())
}

// count gives the one number that a query answers.
func (w *world) count(ctx context.Context, query string, args ...any) int {
	GinkgoHelper()
	var n int
	Expect(w.db.Pool.QueryRow(ctx, query, args...).Scan(&n)).To(Succeed())
	return n
}

func (w *world) eventuallyCount(ctx context.Context, want int, query string, args ...any) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		var n int
		g.Expect(w.db.Pool.QueryRow(ctx, query, args...).Scan(&n)).To(Succeed())
		g.Expect(n).To(Equal(want), query)
	}).Should(Succeed())
}

func (w *world) subscriptionID() uuid.UUID {
	return spec.ID(clusterID, v1alpha1.KindIntegrationSubscription, w.ns, "contacts")
}

func (w *world) connectionID() uuid.UUID {
	return spec.ID(clusterID, v1alpha1.KindIntegrationConnection, w.ns, "crm")
}

// eventuallyEvent waits for an Event about an object.
func eventuallyEvent(ctx context.Context, o client.Object, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		var list corev1.EventList
		g.Expect(api.List(ctx, &list, client.InNamespace(o.GetNamespace()))).To(Succeed())
		var reasons []string
		for _, e := range list.Items {
			if e.InvolvedObject.UID == o.GetUID() {
				reasons = append(reasons, e.Reason)
			}
		}
		g.Expect(reasons).To(ContainElement(reason))
	}).Should(Succeed())
}
