package integration

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheTestsThatThePageNamesExist reads every test file of the project.
func TestTheTestsThatThePageNamesExist(t *testing.T) {
	const root = "../../.."
	page, err := os.ReadFile(filepath.Join(root, "docs", "integration.md"))
	if err != nil {
		t.Fatal(err)
	}
	var sources bytes.Buffer
	err = filepath.WalkDir(filepath.Join(root, "internal"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		sources.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`").FindAllSubmatch(page, -1)
	if len(names) < 50 {
		t.Fatalf("the page names %d tests, want many", len(names))
	}
	for _, name := range names {
		if !bytes.Contains(sources.Bytes(), fmt.Appendf(nil, "func %s(", name[1])) {
			t.Errorf("docs/integration.md names %s, which no file has", name[1])
		}
	}
}
