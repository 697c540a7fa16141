package v1alpha1_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/syncline-dev/syncline/internal/kubetest"
)

var _ = Describe("conditions, reasons and Events", func() {
	It("are all ones that the operator shows, so that the reference lists no others", func() {
		source, shown := operator(), map[string]bool{}
		all := constants()
		for name, value := range all {
			if strings.Contains(source, "v1alpha1."+name) {
				shown[value] = true
			}
		}
		for name, value := range all {
			Expect(shown).To(HaveKey(value), name)
		}
	})
})

// constants are the names and values that conditions.go declares; a reason and an Event may share a value.
func constants() map[string]string {
	GinkgoHelper()
	file, err := parser.ParseFile(token.NewFileSet(), "conditions.go", nil, 0)
	Expect(err).NotTo(HaveOccurred())
	all := map[string]string{}
	for _, d := range file.Decls {
		for _, s := range d.(*ast.GenDecl).Specs {
			value := s.(*ast.ValueSpec)
			all[value.Names[0].Name] = value.Values[0].(*ast.BasicLit).Value
		}
	}
	Expect(len(all)).To(BeNumerically(">", 50), "what was read is the file of all constants")
	return all
}

// operator is the text of the controllers, their tests left out.
func operator() string {
	GinkgoHelper()
	var text strings.Builder
	root := filepath.Join(kubetest.Root(), "internal", "controller")
	Expect(filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		text.Write(data)
		return err
	})).To(Succeed())
	return text.String()
}
