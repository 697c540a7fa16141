package mapping

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeKeepsWhatTheTextSays(t *testing.T) {
	tests := map[string]struct {
		text string
		want any
	}{
		"numbers as written":          {`[9007199254740993, 12.30, 1e400]`, []any{json.Number("9007199254740993"), json.Number("12.30"), json.Number("1e400")}},
		"byte order mark":             {"\xef\xbb\xbf{}", map[string]any{}},
		"blanks around":               {" \r\n[ ]\t\n", []any{}},
		"last of equal keys":          {`{"a":1,"a":2}`, map[string]any{"a": json.Number("2")}},
		"null":                        {`null`, nil},
		"bytes that are not UTF-8":    {"[\"caf\xe9\", \"caf\u00e9\"]", []any{"caf\xe9", "caf\u00e9"}},
		"keys that are not UTF-8":     {"{\"\xe9\": {\"\xff\": 1}}", map[string]any{"\xe9": map[string]any{"\xff": json.Number("1")}}},
		"half a surrogate pair":       {`"\ud83d"`, "\ufffd"},
		"NUL in an escape":            {`"\u0000"`, "\x00"},
		"private characters survive":  {"\"\U0010FEE9\"", "\U0010FEE9"},
		"truncated multi-byte string": {"[\"\xe2\x82\"]", []any{"\xe2\x82"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Decode([]byte(tc.text))
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("decoded (-want +got):\n%s", d)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":               "",
		"blanks":                " \n",
		"truncated":             `{"a": [1, 2`,
		"two values":            `{} {}`,
		"a trailing comma":      `[1,]`,
		"HTML":                  `<!doctype html>`,
		"a number like 01":      `01`,
		"NaN":                   `NaN`,
		"nesting beyond 10 000": strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
	} {
		t.Run(name, func(t *testing.T) {
			if v, err := Decode([]byte(text)); err == nil {
				t.Fatalf("Decode gave %v, want an error", v)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	record, err := Decode([]byte(`{"a": {"b": [10, {"c": null}]}, "": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		want  any
		found bool
	}{
		"":          {record, true},
		"a.b.0":     {json.Number("10"), true},
		"a.b.1.c":   {nil, true},
		"a.b.1.c.d": {nil, false},
		"a.b.2":     {nil, false},
		"a.b.-1":    {nil, false},
		"a.x":       {nil, false},
		"a.b.0.x":   {nil, false},
	}
	for path, tc := range tests {
		t.Run(path, func(t *testing.T) {
			got, found := Lookup(path, record)
			if found != tc.found || !cmp.Equal(got, tc.want) {
				t.Errorf("Lookup gave %v, %t; want %v, %t", got, found, tc.want, tc.found)
			}
		})
	}
}
