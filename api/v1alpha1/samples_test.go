package v1alpha1_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/syncline-dev/syncline/internal/kubetest"
)

var _ = Describe("config/samples", func() {
	It("is accepted as it stands", func(ctx context.Context) {
		ns := newNamespace(ctx)
		kinds := map[string]int{}
		for _, o := range samples() {
			o.SetNamespace(ns)
			Expect(api.Create(ctx, o)).To(Succeed(), "%s %s", o.GetKind(), o.GetName())
			kinds[o.GetKind()]++
		}
		Expect(kinds).To(Equal(map[string]int{
			"Secret": 2, "JobPool": 1, "IntegrationConnection": 1, "IntegrationSubscription": 1,
		}))
	})

	It("has pools for jobs of one's own that are accepted as they stand", func(ctx context.Context) {
		ns := newNamespace(ctx)
		for _, file := range []string{"jobpool-handlers.yaml", "custom-worker/jobpool.yaml"} {
			for _, o := range objects(filepath.Join(kubetest.Root(), "config", "samples", file)) {
				o.SetNamespace(ns)
				Expect(api.Create(ctx, o)).To(Succeed(), "%s %s", o.GetKind(), o.GetName())
			}
		}
	})
})

var _ = Describe("README.md", func() {
	It("shows resources that are accepted as they stand", func(ctx context.Context) {
		text, err := os.ReadFile(filepath.Join(kubetest.Root(), "README.md"))
		Expect(err).NotTo(HaveOccurred())
		ns := newNamespace(ctx)
		var kinds []string
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
			for _, o := range decode(block[1]) {
				o.SetNamespace(ns)
				Expect(api.Create(ctx, o)).To(Succeed(), "%s %s", o.GetKind(), o.GetName())
				kinds = append(kinds, o.GetKind())
			}
		}
		Expect(kinds).To(Equal([]string{"Secret", "Secret", "JobPool", "IntegrationConnection", "IntegrationSubscription"}))
	})
})

var _ = Describe("docs/handlers.md", func() {
	It("shows a pool that is accepted as it stands", func(ctx context.Context) {
		text, err := os.ReadFile(filepath.Join(kubetest.Root(), "docs", "handlers.md"))
		Expect(err).NotTo(HaveOccurred())
		blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
		Expect(blocks).To(HaveLen(1))
		for _, o := range decode(blocks[0][1]) {
			o.SetNamespace(newNamespace(ctx))
			Expect(api.Create(ctx, o)).To(Succeed())
		}
	})
})

// samples reads every object that the kustomization of config/samples lists.
func samples() []*unstructured.Unstructured {
	GinkgoHelper()
	folder := filepath.Join(kubetest.Root(), "config", "samples")
	list := objects(filepath.Join(folder, "kustomization.yaml"))[0]
	files, _, err := unstructured.NestedStringSlice(list.Object, "resources")
	Expect(err).NotTo(HaveOccurred())
	var all []*unstructured.Unstructured
	for _, f := range files {
		all = append(all, objects(filepath.Join(folder, f))...)
	}
	return all
}

func objects(path string) []*unstructured.Unstructured {
	GinkgoHelper()
	data, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	return decode(data)
}

// decode reads the objects of a YAML stream.
func decode(data []byte) []*unstructured.Unstructured {
	GinkgoHelper()
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), len(data))
	var all []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		err := d.Decode(o)
		if errors.Is(err, io.EOF) {
			return all
		}
		Expect(err).NotTo(HaveOccurred())
		if len(o.Object) > 0 {
			all = append(all, o)
		}
	}
}
