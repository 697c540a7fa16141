package jobs_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func TestKeyTemplatesWithOtherSyntaxAreRefusedW37(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]string{
		"order/{{customer.id}}": `field "customer.id", want a top-level field`,
		"{{ id }}":              `field " id "`,
		"{{}}":                  `field ""`,
		"{{id%}}":               `field "id%"`,
		"{{id":                  `field 1 has no end`,
		"{{{{id}}}}":            `field 1 has no end`,
		"id}}/{{id}}":           `a field ends that has not begun`,
		"{{a}}{{b}}":            `nothing that separates follows field "a"`,
		"{{a}}and%{{b}}":        `nothing that separates follows field "a"`,
		"all":                   `it has no field`,
	} {
		if _, err := jobs.CompileKey(template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("template %q: error is %v, want %q", template, err, want)
		}
	}
}

func TestKeysAreEqualForEqualFieldsOnlyW37(t *testing.T) {
	t.Parallel()
	template, err := jobs.CompileKey("order/{{customer}}/{{id}}!")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, input := range []string{
		`{"customer": "a", "id": 7}`, `{"customer": "a/7", "id": ""}`, `{"customer": "a", "id": "7!"}`, `{"customer": "", "id": "a/7"}`,
		`{"customer": "a%2F7", "id": ""}`, `{"customer": true, "id": 7}`, `{"customer": "ä", "id": 7}`, `{"customer": "\u0000", "id": 7}`,
	} {
		key, err := template.Key(json.RawMessage(input))
		if err != nil {
			t.Errorf("input %s: %v", input, err)
		}
		if other, taken := keys[key]; taken {
			t.Errorf("inputs %s and %s have one key, %q", input, other, key)
		}
		keys[key] = input
	}
	same, err := template.Key(json.RawMessage(`{"id": "7", "more": {}, "customer": "a"}`))
	if err != nil || keys[same] != `{"customer": "a", "id": 7}` {
		t.Errorf("key %q, %v, want that of the input with the same fields", same, err)
	}
}

func TestKeyFieldsAreThereAndScalarW37(t *testing.T) {
	t.Parallel()
	template, err := jobs.CompileKey("{{id}}")
	if err != nil {
		t.Fatal(err)
	}
	for input, want := range map[string]string{
		`{}`:            `field "id" is missing`,
		`{"id": null}`:  `field "id" is missing`,
		`{"id": {}}`:    `field "id" is neither`,
		`{"id": [1]}`:   `field "id" is neither`,
		`{"ID": "a"}`:   `field "id" is missing`,
		`["id"]`:        `the input is no JSON object`,
		`{"id": "\ud8`:  `the input is no JSON object`,
		``:              `the input is no JSON object`,
		`{"id" : null}`: `field "id" is missing`,
	} {
		_, err := template.Key(json.RawMessage(input))
		mustIs(t, err, jobs.ErrKeyField, input)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("input %s: error is %v, want %q", input, err, want)
		}
	}
}
