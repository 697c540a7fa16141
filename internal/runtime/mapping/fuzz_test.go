package mapping

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// FuzzDecodeAndParse feeds any bytes to every column type: no panic, only record errors, and what is accepted is
// valid JSON that reads back as the same value.
func FuzzDecodeAndParse(f *testing.F) {
	for _, seed := range []string{
		`{"a": [1, 2.50, "x", null, true]}`, `"2026-01-02 15:04:05.120Z"`, `12.30`, `-0.0`, `1e999999999`, `"0190163d-8694-739b-aea5-966c26f8ad91"`,
		`"\u0000"`, "\"\xff\"", `"2026-01-02T15:04:05.9999999+14:00"`, `"+007"`, `"-12:-1"`, `"          -"`, `"true"`, `""`, `0e1`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		decoded, err := Decode(data)
		if err != nil {
			return
		}
		for typ := range parsers {
			v, err := Parse(typ, decoded)
			if _, ok := errors.AsType[*RecordError](err); err != nil && !ok {
				t.Fatalf("%s: error %v is no record error", typ, err)
			}
			if err == nil {
				checkAccepted(t, typ, v)
			}
		}
	})
}

func checkAccepted(t *testing.T, typ spec.FieldType, v Value) {
	t.Helper()
	if !json.Valid(v.JSON()) || !utf8.Valid(v.JSON()) {
		t.Fatalf("%s: %q is no JSON", typ, v.JSON())
	}
	again, err := ParseText(typ, v.Text())
	if err != nil || !again.Equal(v) {
		t.Fatalf("%s: %v reads back as %v (error %v)", typ, v, again, err)
	}
}

// FuzzExpression compiles and evaluates any text: no panic, and only record errors.
func FuzzExpression(f *testing.F) {
	for _, seed := range []string{
		`record.a + 1.5`, `-.5e3`, `record.?x.orValue([1.0])`, `record.l.map(x, x * 2.0).sort()`, `decimal('1') / 0`,
		`'a'.matches('(')`, "- 1.5", `1.5 in [record.a]`, `1.0.round(3)`, `"é" + 1.25`,
	} {
		f.Add(seed)
	}
	record := map[string]any{"a": json.Number("1.50"), "l": []any{json.Number("3"), json.Number("1")}, "s": "x"}
	f.Fuzz(func(t *testing.T, text string) {
		p, problems := Compile(subscription(func(s *spec.Subscription) {
			s.Source.HTTP.ID = "'id'"
			s.Mapping = []spec.Field{{Name: "a", Expr: text, Type: spec.JSONB}}
		}))
		if (p == nil) == (len(problems) == 0) {
			t.Fatalf("program %v and problems %v", p, problems)
		}
		if p == nil {
			return
		}
		got, err := p.Apply(t.Context(), record)
		if _, ok := errors.AsType[*RecordError](err); err != nil && !ok {
			t.Fatalf("error %v is no record error", err)
		}
		if err == nil && !got.Filtered && !got.Deleted {
			checkAccepted(t, spec.JSONB, got.Values[0])
		}
	})
}
