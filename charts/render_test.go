//go:build chart

package charts_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/internal/kubetest"
)

func (r rendering) flags() []string {
	var flags []string
	for _, v := range r.values {
		flags = append(flags, "--set", v)
	}
	return flags
}

// helm runs helm beside the chart and gives everything that it prints.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Getenv("HELM"), args...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func render(t *testing.T, ns string, r rendering) []*unstructured.Unstructured {
	t.Helper()
	args := append([]string{"template", "r", "syncline", "--namespace", ns, "--kube-version", "1.37.2"}, r.flags()...)
	out, err := helm(t, args...)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, out)
	}
	return parse(t, []byte(out))
}

func parse(t *testing.T, data []byte) []*unstructured.Unstructured {
	t.Helper()
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), len(data))
	var all []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		err := d.Decode(o)
		switch {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("read what was rendered: %v", err)
		case len(o.Object) > 0:
			all = append(all, o)
		}
	}
}

// install applies an object as Helm does: server-side and strictly.
func install(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	c := client.ApplyConfigurationFromUnstructured(o.DeepCopy())
	if err := api.Apply(t.Context(), c, client.FieldOwner("helm"), client.ForceOwnership); err != nil {
		t.Errorf("the API server refuses %s %s: %v", o.GetKind(), o.GetName(), err)
	}
}

// one gives the only object of a kind.
func one[T any](t *testing.T, objects []*unstructured.Unstructured, kind string) *T {
	t.Helper()
	var found []*T
	for _, o := range objects {
		if o.GetKind() != kind {
			continue
		}
		typed := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, typed); err != nil {
			t.Fatalf("read %s: %v", kind, err)
		}
		found = append(found, typed)
	}
	if len(found) != 1 {
		t.Fatalf("%d of %s, want one", len(found), kind)
	}
	return found[0]
}

func newNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "chart-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatalf("create namespace: %v", err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: ns.Name}}
	if err := client.IgnoreAlreadyExists(api.Create(t.Context(), account)); err != nil {
		t.Fatalf("create service account: %v", err)
	}
	return ns.Name
}

func managerRules(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(kubetest.Root(), "config", "rbac", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return one[rbacv1.ClusterRole](t, parse(t, data), "ClusterRole").Rules
}

// becomesAllowed waits for the API server's authorizer, which learns of new bindings a moment later.
func becomesAllowed(t *testing.T, user, group, resource, verb, ns string) bool {
	t.Helper()
	return becomesAllowedNamed(t, user, group, resource, verb, ns, "")
}

// becomesAllowedNamed asks for one object.
func becomesAllowedNamed(t *testing.T, user, group, resource, verb, ns, name string) bool {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		return allowedNamed(t, user, group, resource, verb, ns, name), nil
	})
	return err == nil
}

func allowed(t *testing.T, user, group, resource, verb, ns string) bool {
	t.Helper()
	return allowedNamed(t, user, group, resource, verb, ns, "")
}

func allowedNamed(t *testing.T, user, group, resource, verb, ns, name string) bool {
	t.Helper()
	resource, sub, _ := strings.Cut(resource, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, Groups: []string{"system:serviceaccounts", "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: ns, Name: name, Verb: verb, Group: group, Resource: resource, Subresource: sub,
		},
	}}
	if err := api.Create(t.Context(), review); err != nil {
		t.Fatalf("ask what the manager may do: %v", err)
	}
	return review.Status.Allowed
}
