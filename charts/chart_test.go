//go:build chart

package charts_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/syncline-dev/syncline/internal/kubetest"
)

// A rendering is a way to install the chart.
type rendering struct {
	name   string
	values []string // as helm's --set takes them
}

var renderings = []rendering{
	{"defaults", nil},
	{"least", []string{
		"crds.enabled=false", "rbac.create=false", "rbac.aggregate=false", "serviceAccount.create=false",
		"serviceAccount.name=default", "metrics.enabled=false", "podDisruptionBudget.enabled=false", "replicas=1",
	}},
	{"most", []string{
		"metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.team=a", "metrics.port=9443",
		"image.repository=registry.example.com/a/b", "image.digest=sha256:" + strings.Repeat("0", 64), "imagePullSecrets[0].name=pull",
		"worker.image=registry.example.com/worker:1", "worker.pullPolicy=Always", "clusterID=blue", "logLevel=debug", "extraArgs[0]=--a=b",
		"serviceAccount.name=other", "serviceAccount.annotations.a=b", "podLabels.team=a", "podAnnotations.a=b",
		"priorityClassName=system-cluster-critical", "nodeSelector.disk=ssd", "tolerations[0].operator=Exists",
		"fullnameOverride=sl", "crds.keep=false",
		"affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=disk",
		"affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
	}},
	{"a long name", []string{"fullnameOverride=" + strings.Repeat("a", 40)}},
}

var api client.Client

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("HELM") == "" {
		fmt.Fprintln(os.Stderr, "HELM names no helm binary: run hack/chart-test.sh, which builds one")
		return 1
	}
	cluster, err := kubetest.Start(context.Background(), true)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = cluster.Stop() }()
	all := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(all), apiextensions.AddToScheme(all)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if api, err = client.New(cluster.Config, client.Options{Scheme: all}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	api = client.WithFieldValidation(api, metav1.FieldValidationStrict)
	monitors := serviceMonitors()
	if _, err := envtest.InstallCRDs(cluster.Config, envtest.CRDInstallOptions{CRDs: monitors}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// serviceMonitors stands in for the Prometheus operator's definition.
func serviceMonitors() []*apiextensions.CustomResourceDefinition {
	return []*apiextensions.CustomResourceDefinition{{
		ObjectMeta: metav1.ObjectMeta{Name: "servicemonitors.monitoring.coreos.com"},
		Spec: apiextensions.CustomResourceDefinitionSpec{
			Group: "monitoring.coreos.com", Scope: apiextensions.NamespaceScoped,
			Names: apiextensions.CustomResourceDefinitionNames{
				Plural: "servicemonitors", Singular: "servicemonitor", Kind: "ServiceMonitor", ListKind: "ServiceMonitorList",
			},
			Versions: []apiextensions.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &apiextensions.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: new(true),
				}},
			}},
		},
	}}
}

func TestLint(t *testing.T) {
	for _, r := range renderings {
		t.Run(r.name, func(t *testing.T) {
			if out, err := helm(t, append([]string{"lint", "--strict", "syncline"}, r.flags()...)...); err != nil {
				t.Errorf("helm lint: %v\n%s", err, out)
			}
		})
	}
}

func TestServerTakesWhatIsRendered(t *testing.T) {
	for _, r := range renderings {
		t.Run(r.name, func(t *testing.T) {
			ns := newNamespace(t)
			for _, o := range render(t, ns, r) {
				install(t, o)
			}
		})
	}
}

func TestServerTakesTheKustomization(t *testing.T) {
	kubectl := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", filepath.Join(kubetest.Root(), "config", "default")).Output()
	if err != nil {
		t.Fatalf("kubectl kustomize config/default: %v", err)
	}
	for _, o := range parse(t, out) {
		install(t, o)
	}
}

func TestManagerPodHoldsTheRestrictedStandard(t *testing.T) {
	for _, r := range renderings {
		t.Run(r.name, func(t *testing.T) {
			ns := newNamespace(t)
			d := one[appsv1.Deployment](t, render(t, ns, r), "Deployment")
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "manager", Namespace: ns, Labels: d.Spec.Template.Labels},
				Spec:       d.Spec.Template.Spec,
			}
			pod.Spec.ServiceAccountName = ""
			pod.Spec.PriorityClassName = ""
			if err := api.Create(t.Context(), pod, client.DryRunAll); err != nil {
				t.Errorf("a namespace that enforces the restricted standard refuses the manager: %v", err)
			}
		})
	}
}

// TestManagerMayDoWhatItsRoleSays asks the API server, so that a binding that misses its role or its account is seen.
func TestManagerMayDoWhatItsRoleSays(t *testing.T) {
	ns := newNamespace(t)
	objects := render(t, ns, renderings[0])
	for _, o := range objects {
		install(t, o)
	}
	account := one[corev1.ServiceAccount](t, objects, "ServiceAccount").Name
	user := "system:serviceaccount:" + ns + ":" + account
	asked := 0
	for _, rule := range managerRules(t) {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					asked++
					if !becomesAllowed(t, user, group, resource, verb, "anywhere") {
						t.Errorf("%s may not %s %s.%s, which config/rbac/role.yaml gives it", user, verb, resource, group)
					}
				}
			}
		}
	}
	if asked == 0 {
		t.Error("config/rbac/role.yaml gives nothing")
	}
	if !becomesAllowed(t, user, "coordination.k8s.io", "leases", "update", ns) {
		t.Error("the manager may not hold its lease")
	}
	if !becomesAllowed(t, user, "authentication.k8s.io", "tokenreviews", "create", "") {
		t.Error("the manager may not ask who reads its metrics")
	}
	if !becomesAllowed(t, user, "", "events", "create", ns) {
		t.Error("the manager may not say that it leads")
	}
	for _, verb := range []string{"create", "update", "patch", "delete"} {
		if allowed(t, user, "apiextensions.k8s.io", "customresourcedefinitions", verb, "") {
			t.Errorf("the manager may %s definitions, which it never needs", verb)
		}
	}
}

// TestNamespacesBoundTheRights holds the value namespaces, which switches what is watched and what may be read together.
func TestNamespacesBoundTheRights(t *testing.T) {
	ns, watched, other := newNamespace(t), newNamespace(t), newNamespace(t)
	objects := render(t, ns, rendering{values: []string{"fullnameOverride=bound", "namespaces[0]=" + watched}})
	for _, o := range objects {
		install(t, o)
	}
	args := one[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec.Containers[0].Args
	if !slices.Contains(args, "--namespaces="+watched) {
		t.Errorf("arguments are %q, want the namespace among them", args)
	}
	user := "system:serviceaccount:" + ns + ":bound-manager"
	if !becomesAllowed(t, user, "", "secrets", "get", watched) {
		t.Error("the manager may not read Secrets of the namespace that it watches")
	}
	if !becomesAllowedNamed(t, user, "", "namespaces", "get", "kube-system", "kube-system") {
		t.Error("the manager may not read the cluster's id")
	}
	for _, n := range []string{other, ns, ""} {
		if allowed(t, user, "", "secrets", "get", n) {
			t.Errorf("the manager may read Secrets of namespace %q", n)
		}
	}
}

func TestPeopleGetTheKindsThroughTheClusterRoles(t *testing.T) {
	aggregates := map[string]int{}
	for _, o := range render(t, "default", renderings[0]) {
		for label := range o.GetLabels() {
			if to, ok := strings.CutPrefix(label, "rbac.authorization.k8s.io/aggregate-to-"); ok {
				aggregates[to]++
			}
		}
	}
	if aggregates["admin"] != 3 || aggregates["edit"] != 3 || aggregates["view"] != 3 {
		t.Errorf("roles by aggregation: %v, want one a kind for each of admin, edit and view", aggregates)
	}
}

func TestDefinitionsAreKept(t *testing.T) {
	for _, test := range []struct {
		values []string
		want   int
		policy string
	}{
		{nil, 3, "keep"},
		{[]string{"crds.keep=false"}, 3, ""},
		{[]string{"crds.enabled=false"}, 0, ""},
	} {
		found := 0
		for _, o := range render(t, "default", rendering{values: test.values}) {
			if o.GetKind() != "CustomResourceDefinition" {
				continue
			}
			found++
			if got := o.GetAnnotations()["helm.sh/resource-policy"]; got != test.policy {
				t.Errorf("%v: %s has the resource policy %q, want %q", test.values, o.GetName(), got, test.policy)
			}
		}
		if found != test.want {
			t.Errorf("%v: %d definitions, want %d", test.values, found, test.want)
		}
	}
}

func TestValuesReachTheManager(t *testing.T) {
	d := one[appsv1.Deployment](t, render(t, "default", renderings[2]), "Deployment")
	pod := d.Spec.Template.Spec
	want := []string{
		"--leader-elect", "--metrics-bind-address=:9443", "--health-probe-bind-address=:8081",
		"--worker-image=registry.example.com/worker:1", "--worker-image-pull-policy=Always", "--log-level=debug", "--cluster-id=blue", "--a=b",
	}
	if !slices.Equal(pod.Containers[0].Args, want) {
		t.Errorf("arguments are %q, want %q", pod.Containers[0].Args, want)
	}
	if image := "registry.example.com/a/b@sha256:" + strings.Repeat("0", 64); pod.Containers[0].Image != image {
		t.Errorf("image is %q, want %q", pod.Containers[0].Image, image)
	}
	d = one[appsv1.Deployment](t, render(t, "default", renderings[1]), "Deployment")
	if args := d.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--metrics-bind-address=0") {
		t.Errorf("arguments are %q, want metrics switched off", args)
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	for _, test := range []struct{ value, message string }{
		{"replica=3", "additional properties 'replica' not allowed"},
		{"replicas=eleven", "replicas"},
		{"image.digest=sha256:1", "digest"},
		{"logLevel=loud", "logLevel"},
		{"metrics.port=8081", "port"},
		{"serviceAccount.create=false", "serviceAccount.name is needed when serviceAccount.create is false"},
	} {
		out, err := helm(t, "template", "r", "syncline", "--kube-version", "1.37.2", "--set", test.value)
		if err == nil {
			t.Errorf("%s is accepted", test.value)
		} else if !strings.Contains(out, test.message) {
			t.Errorf("%s is refused with %q, want it to say %q", test.value, out, test.message)
		}
	}
}
