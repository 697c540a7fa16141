package manager_test

import (
	"context"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/jobpool"
)

// mergePatch is a JSON merge patch.
func mergePatch(format string, args ...any) client.Patch {
	return client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, format, args...))
}

// withWorkers is a ready pool of two workers in a namespace that admits only what the restricted Pod Security Standard
// does.
func withWorkers(ctx context.Context) (*world, *v1alpha1.JobPool) {
	GinkgoHelper()
	w := newWorld(ctx)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
	Expect(api.Patch(ctx, ns, mergePatch(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`))).To(Succeed())
	pool := w.pool()
	pool.Spec.Replicas = new(int32(2))
	create(ctx, w.databaseSecret(), pool)
	eventually(ctx, pool, v1alpha1.ConditionWorkersAvailable, metav1.ConditionTrue, v1alpha1.ReasonReplicasReady)
	return w, pool
}

var _ = Describe("A JobPool's workers", func() {
	It("become available under the restricted Pod Security Standard, without a token", func(ctx context.Context) {
		w, pool := withWorkers(ctx)
		eventually(ctx, pool, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(*pool.Status.ReadyReplicas).To(BeEquivalentTo(2))
		var pods corev1.PodList
		Expect(api.List(ctx, &pods, client.InNamespace(w.ns))).To(Succeed())
		Expect(pods.Items).To(HaveLen(2))
		for _, pod := range pods.Items {
			Expect(pod.Spec.ServiceAccountName).To(Equal(jobpool.WorkloadName(pool)))
			for _, v := range pod.Spec.Volumes {
				Expect(v.Projected).To(BeNil(), "a worker has a token for the API server: volume %s", v.Name)
			}
		}
	})

	It("follow /scale, and nothing else is rolled", func(ctx context.Context) {
		w, pool := withWorkers(ctx)
		scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 3}}
		Expect(api.SubResource("scale").Update(ctx, pool, client.WithSubResourceBody(scale))).To(Succeed())
		Eventually(func(g Gomega) {
			read := &autoscalingv1.Scale{}
			g.Expect(api.SubResource("scale").Get(ctx, pool, read)).To(Succeed())
			g.Expect(read.Status.Replicas).To(BeEquivalentTo(3))
			var pods corev1.PodList
			g.Expect(api.List(ctx, &pods, client.InNamespace(w.ns), selecting(read.Status.Selector))).To(Succeed())
			g.Expect(pods.Items).To(HaveLen(3))
		}).Should(Succeed())
		eventuallyEvent(ctx, pool, v1alpha1.EventScaledUp)
		Expect(replicaSets(ctx, w.ns)).To(HaveLen(1))
	})

	It("keep running while their pool is tuned or its secret changes", func(ctx context.Context) {
		w, pool := withWorkers(ctx)
		Expect(api.Patch(ctx, pool, mergePatch(`{"spec":{"concurrency":3,"lease":{"staleThresholdSeconds":120},"stopPolicy":"Hold"}}`))).To(Succeed())
		secret := w.databaseSecret()
		Expect(api.Patch(ctx, secret, mergePatch(`{"stringData":{"uri":%q}}`, w.db.URI+"&application_name=rotated"))).To(Succeed())
		eventuallyEvent(ctx, pool, v1alpha1.EventSecretRotated)
		w.eventuallyCount(ctx, 1, "SELECT count(*) FROM syncline.pool WHERE (tuning->>'leaseMillis')::int = 120000")
		Expect(replicaSets(ctx, w.ns)).To(HaveLen(1), "a changed tuning or secret has rolled the pods")
	})

	It("are rolled by another template", func(ctx context.Context) {
		w, pool := withWorkers(ctx)
		Expect(api.Patch(ctx, pool, mergePatch(`{"spec":{"template":{"metadata":{"annotations":{"rolled":"yes"}}}}}`))).To(Succeed())
		eventuallyEvent(ctx, pool, v1alpha1.EventRolloutStarted)
		Eventually(func() []appsv1.ReplicaSet { return replicaSets(ctx, w.ns) }).Should(HaveLen(2))
		eventually(ctx, pool, v1alpha1.ConditionWorkersAvailable, metav1.ConditionTrue, v1alpha1.ReasonReplicasReady)
	})

	It("are put right when somebody changes their Deployment, and made anew when it is removed", func(ctx context.Context) {
		_, pool := withWorkers(ctx)
		Expect(api.Patch(ctx, deploymentOf(ctx, pool), mergePatch(`{"spec":{"replicas":5}}`))).To(Succeed())
		Eventually(func() int32 { return *deploymentOf(ctx, pool).Spec.Replicas }).Should(BeEquivalentTo(2))
		before := deploymentOf(ctx, pool)
		Expect(api.Delete(ctx, before)).To(Succeed())
		Eventually(func(g Gomega) {
			now := deploymentOf(ctx, pool)
			g.Expect(now).NotTo(BeNil())
			g.Expect(now.UID).NotTo(Equal(before.UID))
		}).Should(Succeed())
	})

	It("are refused with the field when the template is wrong, and recover with it", func(ctx context.Context) {
		_, pool := withWorkers(ctx)
		broken := `{"spec":{"template":{"spec":{"containers":[{"name":"worker","volumeMounts":[{"name":"nowhere","mountPath":"/x"}]}]}}}}`
		Expect(api.Patch(ctx, pool, mergePatch("%s", broken))).To(Succeed())
		message := eventually(ctx, pool, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidTemplate)
		Expect(message).To(ContainSubstring("nowhere"))
		eventuallyEvent(ctx, pool, v1alpha1.EventInvalidTemplate)
		Expect(api.Patch(ctx, pool, mergePatch(`{"spec":{"template":null}}`))).To(Succeed())
		eventually(ctx, pool, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("leave a Deployment alone that is not theirs", func(ctx context.Context) {
		w := newWorld(ctx)
		labels := map[string]string{"app": "other"}
		other := &appsv1.Deployment{ObjectMeta: w.meta("batch-worker"), Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/other"}}},
			},
		}}
		create(ctx, other, w.databaseSecret(), w.pool())
		eventually(ctx, w.pool(), v1alpha1.ConditionWorkersAvailable, metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
		Expect(api.Get(ctx, client.ObjectKeyFromObject(other), other)).To(Succeed())
		Expect(other.OwnerReferences).To(BeEmpty())
	})

	It("go with their pool", func(ctx context.Context) {
		w, pool := withWorkers(ctx)
		remove(ctx, pool)
		Eventually(func() any { return deploymentOf(ctx, pool) }).Should(BeNil())
		w.eventuallyCount(ctx, 0, "SELECT count(*) FROM syncline.pool")
	})
})

func replicaSets(ctx context.Context, ns string) []appsv1.ReplicaSet {
	GinkgoHelper()
	var list appsv1.ReplicaSetList
	Expect(api.List(ctx, &list, client.InNamespace(ns))).To(Succeed())
	return list.Items
}

func selecting(selector string) client.ListOption {
	GinkgoHelper()
	parsed, err := metav1.ParseToLabelSelector(selector)
	Expect(err).NotTo(HaveOccurred())
	s, err := metav1.LabelSelectorAsSelector(parsed)
	Expect(err).NotTo(HaveOccurred())
	return client.MatchingLabelsSelector{Selector: s}
}
