package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrKeyField says that a key cannot be made of an input: a field is missing, null, or no text, number or boolean.
var ErrKeyField = errors.New("no key in the input")

// KeyTemplate makes keys for lanes and dedupe windows of a run's input, such as "order/{{customer}}/{{id}}". Two inputs
// have one key if and only if they have the same values in its fields; a number and the text of its digits are one value.
// It is compiled once, at registration, and safe for concurrent use. Any other function of the input will do as well: a key
// is a text that the caller gives to Start.
type KeyTemplate struct {
	literals []string // one more than there are fields
	fields   []string
}

// CompileKey reads a template: literal text, and top-level fields of the input in double braces, of letters, digits and
// underscores. Unknown syntax is an error, and so are two fields that nothing but letters, digits, underscores or percent
// signs stand between, because their values could not be told apart.
func CompileKey(template string) (*KeyTemplate, error) {
	parts := strings.Split(template, "{{")
	t := &KeyTemplate{literals: parts[:1]}
	for i, part := range parts[1:] {
		field, literal, found := strings.Cut(part, "}}")
		switch {
		case !found:
			return nil, fmt.Errorf("key template %q: field %d has no end, want {{field}}", template, i+1)
		case field == "" || strings.ContainsFunc(field, func(r rune) bool { return !plain(r) || r == '%' }):
			return nil, fmt.Errorf("key template %q: field %q, want a top-level field of letters, digits and underscores", template, field)
		case i < len(parts)-2 && !strings.ContainsFunc(literal, func(r rune) bool { return !plain(r) }):
			return nil, fmt.Errorf("key template %q: nothing that separates follows field %q; put a character such as / after it", template, field)
		}
		t.fields, t.literals = append(t.fields, field), append(t.literals, literal)
	}
	switch {
	case len(t.fields) == 0:
		return nil, fmt.Errorf("key template %q: it has no field, so that all inputs had one key", template)
	case strings.Contains(strings.Join(t.literals, ""), "}}"):
		return nil, fmt.Errorf("key template %q: a field ends that has not begun, want {{field}}", template)
	}
	return t, nil
}

// plain are the characters of an escaped value.
func plain(r rune) bool {
	return r == '_' || r == '%' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// Key makes the key of an input, a JSON object. The error is an ErrKeyField and names the field.
func (t *KeyTemplate) Key(input json.RawMessage) (string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(input, &object); err != nil {
		return "", fmt.Errorf("%w: the input is no JSON object: %w", ErrKeyField, err)
	}
	var b strings.Builder
	b.WriteString(t.literals[0])
	for i, field := range t.fields {
		value, err := scalar(object[field])
		if err != nil {
			return "", fmt.Errorf("%w: field %q %w", ErrKeyField, field, err)
		}
		escape(&b, value)
		b.WriteString(t.literals[i+1])
	}
	return b.String(), nil
}

var errNoScalar = errors.New("is neither a text nor a number nor a boolean")

// scalar is the text of a JSON scalar.
func scalar(raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", errors.New("is missing")
	case raw[0] == '{' || raw[0] == '[':
		return "", errNoScalar
	case raw[0] != '"':
		return string(raw), nil
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return text, err
}

// escape writes every byte that could be taken for a separator as % and two digits.
func escape(b *strings.Builder, value string) {
	for i := range len(value) {
		if c := rune(value[i]); plain(c) && c != '%' {
			b.WriteByte(value[i])
		} else {
			fmt.Fprintf(b, "%%%02X", value[i])
		}
	}
}
