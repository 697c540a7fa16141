package mapping

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// blocks gives the fenced blocks of a language in docs/mapping.md.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/mapping.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		out = append(out, m[1])
	}
	if len(out) == 0 {
		t.Fatalf("docs/mapping.md has no %s block", language)
	}
	return out
}

func TestExpressionsInTheDocsGiveWhatThePageSays(t *testing.T) {
	record := blocks(t, "json")[0]
	for _, block := range blocks(t, "cel") {
		for line := range strings.Lines(block) {
			text, want, ok := strings.Cut(strings.TrimSpace(line), "//")
			if !ok {
				t.Errorf("line %q has no result", line)
				continue
			}
			result, err := evaluate(t, strings.TrimSpace(text), record)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if v, err := Parse(spec.JSONB, result); err != nil || v.String() != strings.TrimSpace(want) {
				t.Errorf("%s gives %v (error %v), the page says %s", text, v, err, want)
			}
		}
	}
}

func TestTheMappingInTheDocsMapsTheRecord(t *testing.T) {
	var page struct {
		Mapping []struct{ Field, From, Expr, Type string }
	}
	if err := yaml.Unmarshal([]byte(blocks(t, "yaml")[0]), &page); err != nil {
		t.Fatal(err)
	}
	p := mustCompile(t, func(s *spec.Subscription) {
		s.Mapping = nil
		for _, f := range page.Mapping {
			s.Mapping = append(s.Mapping, spec.Field{Name: f.Field, From: f.From, Expr: f.Expr, Type: spec.FieldType(f.Type)})
		}
	})
	got, err := p.Apply(t.Context(), mustDecode(t, blocks(t, "json")[0]))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`"Printer is on fire"`, `"ada"`, `"urgent"`, `"done"`, `12.30`, `null`, `null`, `["hardware","urgent"]`, `"2026-01-02T15:04:05.12Z"`,
	}
	for i, v := range got.Values {
		if v.String() != want[i] {
			t.Errorf("%s is %v, want %s", page.Mapping[i].Field, v, want[i])
		}
	}
}
