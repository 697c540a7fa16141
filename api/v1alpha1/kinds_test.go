package v1alpha1_test

import (
	"context"
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	ac "github.com/syncline-dev/syncline/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

var _ = Describe("defaults", func() {
	DescribeTable("fill what a user leaves out", func(ctx context.Context, given, want string) {
		o := object(given)
		Expect(api.Create(ctx, o, client.DryRunAll)).To(Succeed())
		var spec any
		Expect(yaml.Unmarshal([]byte(want), &spec)).To(Succeed())
		wanted, err := json.Marshal(spec)
		Expect(err).NotTo(HaveOccurred())
		got, err := json.Marshal(o.Object["spec"])
		Expect(err).NotTo(HaveOccurred())
		Expect(got).To(MatchJSON(wanted))
	},
		Entry("JobPool", `
apiVersion: syncline.dev/v1alpha1
kind: JobPool
metadata: {name: batch}
spec: {database: {secretRef: {name: db}}}
`, `
database: {secretRef: {name: db, key: uri}, schema: syncline}
replicas: 1
concurrency: 10
fairness: None
retention: {completedSeconds: 604800, failedSeconds: 2592000}
claim: {pollPeriodSeconds: 1, wakeMode: Notify}
lease: {staleThresholdSeconds: 60, sweepPeriodSeconds: 15}
drainTimeoutSeconds: 30
stopPolicy: None
`),
		Entry("IntegrationConnection", `
apiVersion: syncline.dev/v1alpha1
kind: IntegrationConnection
metadata: {name: helpdesk}
spec:
  provider: pocketbase
  http: {baseURL: "https://a", auth: {basic: {secretRef: {name: api}}}, rateLimit: {requestsPerSecond: "0.5"}}
`, `
provider: pocketbase
http:
  baseURL: https://a
  auth: {basic: {secretRef: {name: api, usernameKey: username, passwordKey: password}}}
  rateLimit: {requestsPerSecond: "0.5", burst: 1}
  requestTimeoutSeconds: 30
`),
		Entry("IntegrationSubscription", `
apiVersion: syncline.dev/v1alpha1
kind: IntegrationSubscription
metadata: {name: tickets}
spec:
  poolRef: {name: batch}
  connectionRef: {name: helpdesk}
  entity: ticket
  source: {http: {request: {path: /tickets}, id: record.id}}
  mapping: [{field: title, from: title, type: text}]
  sink: {table: tickets}
`, `
poolRef: {name: batch}
connectionRef: {name: helpdesk}
entity: ticket
source:
  http:
    request: {path: /tickets}
    id: record.id
    order: None
    limits: {maxPages: 10000, maxPageBytes: 67108864, maxRunBytes: 10737418240}
mapping: [{field: title, from: title, type: text, history: Values}]
sink: {schema: public, table: tickets, management: Managed, delete: Soft}
emitChanges: false
onRecordError: {quarantineAfter: 1, stopRatio: "0.2"}
audit: {retentionSeconds: 7776000}
suspend: false
deletionPolicy: Retain
`))
})

var _ = Describe("JobPool", func() {
	It("is scaled through /scale, which also gives autoscalers the selector", func(ctx context.Context) {
		pool := newPool(ctx)
		status := ac.JobPool(pool.Name, pool.Namespace).
			WithStatus(ac.JobPoolStatus().WithReplicas(1).WithSelector("syncline.dev/pool=batch"))
		Expect(api.Status().Apply(ctx, status, client.FieldOwner("test"))).To(Succeed())

		scale := &autoscalingv1.Scale{}
		Expect(api.SubResource("scale").Get(ctx, pool, scale)).To(Succeed())
		Expect(scale.Spec.Replicas).To(Equal(int32(1)), "the default")
		Expect(scale.Status.Replicas).To(Equal(int32(1)))
		Expect(scale.Status.Selector).To(Equal("syncline.dev/pool=batch"))

		scale.Spec.Replicas = 7
		Expect(api.SubResource("scale").Update(ctx, pool, client.WithSubResourceBody(scale))).To(Succeed())
		Expect(api.Get(ctx, client.ObjectKeyFromObject(pool), pool)).To(Succeed())
		Expect(pool.Spec.Replicas).To(HaveValue(Equal(int32(7))))
	})

	It("keeps its status out of reach of those who write the spec", func(ctx context.Context) {
		pool := newPool(ctx)
		pool.Status.Selector = "a=b"
		Expect(api.Update(ctx, pool)).To(Succeed())
		Expect(api.Get(ctx, client.ObjectKeyFromObject(pool), pool)).To(Succeed())
		Expect(pool.Status.Selector).To(BeEmpty())
	})

	It("takes a whole pod template, also one without containers", func(ctx context.Context) {
		template := corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"note": "b"}},
			Spec: corev1.PodSpec{
				NodeSelector: map[string]string{"disk": "ssd"},
				Tolerations:  []corev1.Toleration{{Key: "batch", Operator: corev1.TolerationOpExists}},
			},
		}
		pool := newPool(ctx, func(p *v1alpha1.JobPool) { p.Spec.Template = template })
		Expect(api.Get(ctx, client.ObjectKeyFromObject(pool), pool)).To(Succeed())
		Expect(pool.Spec.Template).To(Equal(template))
	})

	It("refuses a misspelt field of the template", func(ctx context.Context) {
		err := create(ctx, jobPool, []change{{"spec.template.spec.nodeSelectors", map[string]any{"disk": "ssd"}}})
		Expect(err).To(MatchError(ContainSubstring(`unknown field "spec.template.spec.nodeSelectors"`)))
	})

	It("applies the same status again without a new version", func(ctx context.Context) {
		pool := newPool(ctx)
		status := ac.JobPool(pool.Name, pool.Namespace).WithStatus(ac.JobPoolStatus().
			WithTuning(ac.TuningStatus().WithGeneration(1).WithWorkersCurrent(0)).
			WithClaims(ac.ClaimsStatus().WithPendingRuns(0)))
		versions := map[string]bool{}
		for range 3 {
			Expect(api.Status().Apply(ctx, status, client.FieldOwner("test"))).To(Succeed())
			Expect(api.Get(ctx, client.ObjectKeyFromObject(pool), pool)).To(Succeed())
			versions[pool.ResourceVersion] = true
		}
		Expect(versions).To(HaveLen(1))
		Expect(pool.Status.Claims.PendingRuns).To(HaveValue(BeZero()), "a zero is shown, not left out")
	})
})

var _ = Describe("names", func() {
	It("are short, and one category lists all kinds", func(ctx context.Context) {
		client, err := discovery.NewDiscoveryClientForConfig(cluster.Config)
		Expect(err).NotTo(HaveOccurred())
		list, err := client.ServerResourcesForGroupVersionWithContext(ctx, v1alpha1.SchemeGroupVersion.String())
		Expect(err).NotTo(HaveOccurred())
		short := map[string][]string{}
		for _, r := range list.APIResources {
			if len(r.ShortNames) > 0 {
				short[r.Kind] = r.ShortNames
				Expect(r.Categories).To(Equal([]string{"syncline"}), r.Kind)
				Expect(r.Namespaced).To(BeTrue(), r.Kind)
			}
		}
		Expect(short).To(Equal(map[string][]string{
			v1alpha1.KindJobPool:                 {"jp"},
			v1alpha1.KindIntegrationConnection:   {"iconn"},
			v1alpha1.KindIntegrationSubscription: {"isub"},
		}))
	})

	DescribeTable("are selected by field", func(ctx context.Context, text, field, value string) {
		ns := newNamespace(ctx)
		o := object(text)
		o.SetNamespace(ns)
		Expect(api.Create(ctx, o)).To(Succeed())
		for v, want := range map[string]int{value: 1, "other": 0} {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(o.GroupVersionKind())
			Expect(api.List(ctx, list, client.InNamespace(ns), client.MatchingFields{field: v})).To(Succeed())
			Expect(list.Items).To(HaveLen(want), "%s=%s", field, v)
		}
	},
		Entry("by Secret", jobPool, "spec.database.secretRef.name", "db"),
		Entry("by pool name", jobPool, "spec.poolName", "batch"),
		Entry("by stop policy", jobPool, "spec.stopPolicy", "None"),
		Entry("by provider", connection, "spec.provider", "pocketbase"),
		Entry("by pool", subscription, "spec.poolRef.name", "batch"),
		Entry("by connection", subscription, "spec.connectionRef.name", "helpdesk"),
		Entry("by entity", subscription, "spec.entity", "ticket"))
})

// newPool creates a pool that says as little as possible, and then what edits say.
func newPool(ctx context.Context, edits ...func(*v1alpha1.JobPool)) *v1alpha1.JobPool {
	GinkgoHelper()
	pool := &v1alpha1.JobPool{
		ObjectMeta: metav1.ObjectMeta{Name: "batch", Namespace: newNamespace(ctx)},
		Spec:       v1alpha1.JobPoolSpec{Database: v1alpha1.Database{SecretRef: v1alpha1.DatabaseSecretRef{Name: "db"}}},
	}
	for _, edit := range edits {
		edit(pool)
	}
	Expect(api.Create(ctx, pool)).To(Succeed())
	return pool
}
