package v1alpha1_test

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/syncline-dev/syncline/internal/kubetest"
)

// maxBytes keeps room below the 262144 bytes that kubectl apply can store in an annotation.
const maxBytes = 250 * 1000

var _ = Describe("the CRDs", func() {
	It("stay small enough for kubectl apply", func() {
		for name, crd := range crds() {
			text, err := json.Marshal(crd)
			Expect(err).NotTo(HaveOccurred())
			Expect(len(text)).To(BeNumerically("<", maxBytes), name)
		}
	})

	It("describe every field of their own", func() {
		var silent []string
		for _, crd := range crds() {
			walk(crd.Spec.Names.Kind, *schema(crd), func(path string, p apiextensions.JSONSchemaProps) {
				if p.Description == "" && !strings.HasSuffix(path, "[]") && !strings.Contains(path, ".conditions[]") {
					silent = append(silent, path)
				}
			})
		}
		Expect(silent).To(BeEmpty())
	})

	It("bound every string, number and list of their own", func() {
		var open []string
		for _, crd := range crds() {
			walk(crd.Spec.Names.Kind, *schema(crd), func(path string, p apiextensions.JSONSchemaProps) {
				if isOpen(path, p) {
					open = append(open, path)
				}
			})
		}
		Expect(open).To(BeEmpty())
	})

	It("print at most eight columns without -o wide", func() {
		for name, crd := range crds() {
			shown := 0
			for _, c := range crd.Spec.Versions[0].AdditionalPrinterColumns {
				if c.Priority == 0 {
					shown++
				}
			}
			Expect(shown).To(BeNumerically("<", 8), "%s, name and seven more", name)
		}
	})

	It("have a test for every rule", func() {
		var untested []string
		for _, crd := range crds() {
			for _, message := range messages(*schema(crd)) {
				if !slices.ContainsFunc(slices.Collect(maps.Values(rules)), func(r row) bool { return r.message == message }) {
					untested = append(untested, message)
				}
			}
		}
		Expect(untested).To(BeEmpty())
	})

	It("say in every message of a rule which field and what to do instead", func() {
		var unhelpful []string
		for _, crd := range crds() {
			for _, message := range messages(*schema(crd)) {
				names := strings.Contains(message, "spec.") || strings.Contains(message, "metadata.") || isUnion(message)
				if !names || (!strings.ContainsAny(message, ":,") && !isUnion(message)) {
					unhelpful = append(unhelpful, message)
				}
			}
		}
		Expect(unhelpful).To(BeEmpty())
	})

	It("have a test for the bounds of every field", func() {
		var untested []string
		for _, crd := range crds() {
			walk(crd.Spec.Names.Kind, *schema(crd), func(path string, p apiextensions.JSONSchemaProps) {
				if isBounded(p) && strings.Contains(path, ".spec.") && !slices.Contains(boundPaths(), path) {
					untested = append(untested, path)
				}
			})
		}
		Expect(untested).To(BeEmpty())
	})
})

var _ = Describe("bounds", func() {
	for _, b := range bounds {
		It(b.kind+" "+b.path, func(ctx context.Context) {
			for _, v := range b.good {
				Expect(create(ctx, b.object(), append(slices.Clone(b.with), change{b.path, v}))).To(Succeed(), "%v", v)
			}
			for _, v := range b.bad {
				err := create(ctx, b.object(), append(slices.Clone(b.with), change{b.path, v}))
				Expect(err).To(MatchError(ContainSubstring(b.path)), "%v", v)
			}
		})
	}
})

// crds reads the CRDs that are installed, by file name.
func crds() map[string]*apiextensions.CustomResourceDefinition {
	GinkgoHelper()
	files, err := filepath.Glob(filepath.Join(kubetest.Root(), "config", "crd", "bases", "*.yaml"))
	Expect(err).NotTo(HaveOccurred())
	Expect(files).To(HaveLen(3))
	all := map[string]*apiextensions.CustomResourceDefinition{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		Expect(err).NotTo(HaveOccurred())
		crd := &apiextensions.CustomResourceDefinition{}
		Expect(yaml.UnmarshalStrict(data, crd)).To(Succeed())
		all[filepath.Base(f)] = crd
	}
	return all
}

func schema(crd *apiextensions.CustomResourceDefinition) *apiextensions.JSONSchemaProps {
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// walk visits every property below p that is Syncline's own: not what Kubernetes defines for pods and metadata.
func walk(path string, p apiextensions.JSONSchemaProps, visit func(string, apiextensions.JSONSchemaProps)) {
	visit(path, p)
	if strings.HasSuffix(path, ".spec.template") {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(p.Properties)) {
		if !slices.Contains([]string{"apiVersion", "kind", "metadata"}, name) {
			walk(path+"."+name, p.Properties[name], visit)
		}
	}
	if p.Items != nil && p.Items.Schema != nil {
		walk(path+"[]", *p.Items.Schema, visit)
	}
}

// messages lists the messages of all rules of a schema.
func messages(p apiextensions.JSONSchemaProps) []string {
	var all []string
	walk("", p, func(_ string, p apiextensions.JSONSchemaProps) {
		for _, v := range p.XValidations {
			all = append(all, v.Message)
		}
	})
	return all
}

func isUnion(message string) bool { return strings.HasPrefix(message, "exactly one of the fields in") }

func isBounded(p apiextensions.JSONSchemaProps) bool {
	switch p.Type {
	case "string", "integer":
		return true
	case "array":
		return p.MaxItems != nil
	}
	return false
}

// isOpen tells whether a value could be of any size. Conditions are bounded by Kubernetes' own type; what only the
// operator writes needs no upper bound for numbers.
func isOpen(path string, p apiextensions.JSONSchemaProps) bool {
	status := strings.Contains(path, ".status.")
	switch p.Type {
	case "string":
		return p.MaxLength == nil && len(p.Enum) == 0 && p.Format != "date-time"
	case "integer":
		return p.Minimum == nil && !strings.HasSuffix(path, ".observedGeneration") || p.Maximum == nil && !status
	case "array":
		return p.MaxItems == nil
	}
	return false
}
