package mapping

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func mustCompile(t testing.TB, mutate func(*spec.Subscription)) *Program {
	t.Helper()
	p, problems := Compile(subscription(mutate))
	if len(problems) > 0 {
		t.Fatalf("compile: %v", problems)
	}
	return p
}

func mustDecode(t testing.TB, text string) any {
	t.Helper()
	v, err := Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestApply(t *testing.T) {
	text := func(s string) Value { return newValue(spec.Text, s, s) }
	p := mustCompile(t, nil)
	tests := map[string]struct {
		record string
		want   Record
	}{
		"mapped": {
			`{"id": 9007199254740993, "title": "a", "state": "closed", "money": {"amount": 12.30}}`,
			Record{ExternalID: "9007199254740993", Values: []Value{text("a"), text("done"), newValue(spec.Numeric, "12.30", "1.23E+1")}},
		},
		"missing is null":     {`{"id": "x", "state": "open", "money": null}`, Record{ExternalID: "x", Values: []Value{{}, text("open"), {}}}},
		"filtered":            {`{"id": "x", "pull_request": {}}`, Record{ExternalID: "x", Filtered: true}},
		"deleted":             {`{"id": "x", "deleted_at": "2026-01-01"}`, Record{ExternalID: "x", Deleted: true}},
		"deleted beats all":   {`{"id": "x", "deleted_at": "2026-01-01", "pull_request": {}}`, Record{ExternalID: "x", Deleted: true}},
		"null is no deletion": {`{"id": "x", "deleted_at": null, "state": ""}`, Record{ExternalID: "x", Values: []Value{{}, text("open"), {}}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := p.Apply(t.Context(), mustDecode(t, tc.record))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("record (-want +got):\n%s", d)
			}
		})
	}
}

func TestApplyRefusesOneRecord(t *testing.T) {
	p := mustCompile(t, func(s *spec.Subscription) {
		s.Source.HTTP.ID = "record.id"
		s.Tombstone = "record.?gone.orValue(false)"
		s.Filter = "record.?keep.orValue(true)"
	})
	tests := map[string]struct {
		record string
		field  string
		code   Code
		id     string
	}{
		"no id":                    {`{"state": "x"}`, "id", CodeNoID, ""},
		"null id":                  {`{"id": null}`, "id", CodeNoID, ""},
		"empty id":                 {`{"id": ""}`, "id", CodeNoID, ""},
		"boolean id":               {`{"id": true}`, "id", CodeNoID, ""},
		"fraction in the id":       {`{"id": 1.5}`, "id", CodeNoID, ""},
		"NUL in the id":            {`{"id": "a\u0000"}`, "id", CodeNUL, ""},
		"id is not UTF-8":          {"{\"id\": \"\xff\"}", "id", CodeUTF8, ""},
		"long id":                  {`{"id": "` + strings.Repeat("x", 1025) + `"}`, "id", CodeNoID, ""},
		"record is no object":      {`[1]`, "id", CodeNoID, ""},
		"tombstone is no boolean":  {`{"id": "x", "gone": "yes"}`, "tombstone", CodeWrongType, "x"},
		"filter is no boolean":     {`{"id": "x", "keep": 1}`, "filter", CodeWrongType, "x"},
		"NUL in a path":            {`{"id": "x", "title": "a\u0000", "state": ""}`, "title", CodeNUL, "x"},
		"missing in an expression": {`{"id": "x", "title": "a"}`, "state", CodeExpression, "x"},
		"object for a number":      {`{"id": "x", "state": "", "money": {"amount": {}}}`, "amount", CodeWrongType, "x"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := p.Apply(t.Context(), mustDecode(t, tc.record))
			e, ok := errors.AsType[*RecordError](err)
			if !ok || e.Field != tc.field || e.Code != tc.code || e.Message == "" {
				t.Errorf("error is %#v, want %s at %s", err, tc.code, tc.field)
			}
			if got.ExternalID != tc.id || got.Values != nil {
				t.Errorf("record is %+v, want only id %q", got, tc.id)
			}
		})
	}
}

func TestExternalIDsOfNumbers(t *testing.T) {
	p := mustCompile(t, func(s *spec.Subscription) { s.Source.HTTP.ID = "record.id"; s.Mapping = s.Mapping[:1] })
	for number, want := range map[string]string{
		`9223372036854775807`:  "9223372036854775807",
		`92233720368547758070`: "92233720368547758070",
		`12.0`:                 "12",
		`1e3`:                  "1000",
		`-5`:                   "-5",
		`0.0`:                  "0",
	} {
		got, err := p.Apply(t.Context(), map[string]any{"id": json.Number(number)})
		if err != nil || got.ExternalID != want {
			t.Errorf("id of %s is %q (error %v), want %q", number, got.ExternalID, err, want)
		}
	}
}

func TestApplyIsSafeForConcurrentUse(t *testing.T) {
	p := mustCompile(t, nil)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				if _, err := p.Apply(t.Context(), map[string]any{"id": "x", "state": "open", "title": "t"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func TestCompileRecords(t *testing.T) {
	body := mustDecode(t, `{"items": [{"a": 1.0}, {"a": 2}], "none": null, "body": {"items": [5]}, "deep": {"list": [[], {}]}, "x-y": [1], "one": {}}`)
	tests := map[string]struct {
		text string
		want any
	}{
		"path":                    {"items", []any{map[string]any{"a": json.Number("1.0")}, map[string]any{"a": json.Number("2")}}},
		"path with a dash":        {"x-y", []any{json.Number("1")}},
		"deep path":               {"deep.list", []any{[]any{}, map[string]any{}}},
		"null is empty":           {"none", []any{}},
		"expression":              {"body.items.filter(i, i.a > 1.5)", []any{map[string]any{"a": json.Number("2")}}},
		"expression into body":    {"body.body.items", []any{json.Number("5")}},
		"expression of one":       {"[body.one]", []any{map[string]any{}}},
		"expression that is null": {"body.none", []any{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			pick, err := CompileRecords(tc.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := pick(body)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("records (-want +got):\n%s", d)
			}
		})
	}
	for _, text := range []string{"missing", "one", "", "body.missing", "body.one", "items.0.a"} {
		pick, err := CompileRecords(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := pick(body); err == nil {
			t.Errorf("%q gave %v, want an error", text, got)
		}
	}
	for _, text := range []string{"body.", "record[0]", "a b"} {
		if _, err := CompileRecords(text); err == nil {
			t.Errorf("%q compiled, want an error", text)
		}
	}
	whole, err := CompileRecords("")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := whole([]any{"a"}); err != nil || len(got) != 1 {
		t.Errorf("the body itself gave %v and %v", got, err)
	}
}
