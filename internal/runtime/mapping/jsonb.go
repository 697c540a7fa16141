package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// MaxDepth is the deepest nesting of a jsonb value, far below what overflows PostgreSQL's stack.
const MaxDepth = 512

// newJSONB writes a decoded value twice: as it came, and with numbers by value for comparing.
func newJSONB(v any) (Value, error) {
	text := jsonWriter{number: numberText}
	if err := text.value(v, 0); err != nil {
		return Value{}, err
	}
	key := jsonWriter{number: numberByValue}
	if err := key.value(v, 0); err != nil {
		return Value{}, err
	}
	return newValue(spec.JSONB, text.String(), key.String()), nil
}

// jsonWriter writes canonical JSON: sorted keys, no blanks.
type jsonWriter struct {
	strings.Builder
	number func(json.Number) (string, error)
}

func (w *jsonWriter) value(v any, depth int) error {
	if depth > MaxDepth {
		return &RecordError{Code: CodeTooDeep, Message: fmt.Sprintf("the value is nested deeper than %d", MaxDepth)}
	}
	switch v := v.(type) {
	case map[string]any:
		return w.object(v, depth)
	case []any:
		return w.array(v, depth)
	case string:
		return w.text(v)
	case json.Number:
		n, err := w.number(v)
		w.WriteString(n)
		return err
	case bool:
		w.WriteString(strconv.FormatBool(v))
	case time.Time:
		return w.text(v.UTC().Format(time.RFC3339Nano))
	case nil:
		w.WriteString("null")
	default:
		return fmt.Errorf("a %T is no JSON value", v)
	}
	return nil
}

func (w *jsonWriter) object(v map[string]any, depth int) error {
	w.WriteByte('{')
	for i, k := range slices.Sorted(maps.Keys(v)) {
		if i > 0 {
			w.WriteByte(',')
		}
		if err := w.text(k); err != nil {
			return err
		}
		w.WriteByte(':')
		if err := w.value(v[k], depth+1); err != nil {
			return err
		}
	}
	w.WriteByte('}')
	return nil
}

func (w *jsonWriter) array(v []any, depth int) error {
	w.WriteByte('[')
	for i, e := range v {
		if i > 0 {
			w.WriteByte(',')
		}
		if err := w.value(e, depth+1); err != nil {
			return err
		}
	}
	w.WriteByte(']')
	return nil
}

func (w *jsonWriter) text(s string) error {
	if err := checkText(s); err != nil {
		return err
	}
	w.WriteString(quote(s))
	return nil
}

func numberText(n json.Number) (string, error) {
	d, err := parseDecimal(string(n))
	if err != nil {
		return "", err
	}
	return plain(d), nil
}

func numberByValue(n json.Number) (string, error) {
	d, err := parseDecimal(string(n))
	if err != nil {
		return "", err
	}
	return numberKey(d), nil
}

// checkText refuses what PostgreSQL stores in no text.
func checkText(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return &RecordError{Code: CodeNUL, Message: "the text holds a NUL character, which PostgreSQL cannot store"}
	}
	if !utf8.ValidString(s) {
		return &RecordError{Code: CodeUTF8, Message: "the text is not valid UTF-8"}
	}
	return nil
}

// quote writes a JSON string and leaves <, > and & readable.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(errors.Join(errors.New("a string always encodes"), err))
	}
	return strings.TrimSuffix(b.String(), "\n")
}
