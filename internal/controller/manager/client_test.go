package manager_test

import (
	"context"
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/jobpool"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// gaugeWait is longer than several snapshots and the rest of counts.
const gaugeWait = 2 * time.Second

// applyAs applies an object as a GitOps tool does: by server-side apply, as another manager, without force.
func applyAs(ctx context.Context, o client.Object, manager string) error {
	gvk, err := apiutil.GVKForObject(o, api.Scheme())
	if err != nil {
		return err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	unstructured.RemoveNestedField(u.Object, "status")
	return api.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(manager))
}

// deploymentOf is a pool's Deployment, nil when there is none.
func deploymentOf(ctx context.Context, pool *v1alpha1.JobPool) *appsv1.Deployment {
	GinkgoHelper()
	var d appsv1.Deployment
	err := api.Get(ctx, client.ObjectKey{Namespace: pool.Namespace, Name: jobpool.WorkloadName(pool)}, &d)
	if apierrors.IsNotFound(err) {
		return nil
	}
	Expect(err).NotTo(HaveOccurred())
	return &d
}

func tokenOf(plain []byte) string {
	GinkgoHelper()
	var c spec.Credential
	Expect(json.Unmarshal(plain, &c)).To(Succeed())
	return c.Token
}

// terminate deletes the spec's namespace with everything in it.
func (w *world) terminate(ctx context.Context) {
	GinkgoHelper()
	remove(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}})
}
