package mapping

import (
	"errors"
	"fmt"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// ParseText makes a value from the text form of an existing column, column::text. It needs DateStyle ISO; any
// TimeZone will do. A value that Parse never makes, such as infinity, NaN or a year BC, is kept as it stands: it is
// equal to itself only, and so replaced by the next record.
func ParseText(t spec.FieldType, text *string) (Value, error) {
	if _, known := parsers[t]; !known {
		return Value{}, fmt.Errorf("unknown column type %q", t)
	}
	if text == nil {
		return Value{}, nil
	}
	v, err := parseColumn(t, *text)
	if _, unreadable := errors.AsType[*RecordError](err); unreadable {
		return newValue(t, *text, *text), nil
	}
	return v, err
}

func parseColumn(t spec.FieldType, text string) (Value, error) {
	switch t {
	case spec.Text:
		return newValue(t, text, text), nil
	case spec.JSONB:
		v, err := Decode([]byte(text))
		if err != nil {
			return Value{}, fmt.Errorf("column is jsonb: %w", err)
		}
		return newJSONB(v)
	}
	return Parse(t, text)
}
