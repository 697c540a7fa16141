package mapping

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// ParseText makes a value from the text form of an existing column, column::text. It needs DateStyle ISO, and says so
// when a time is in another style; any TimeZone will do. A value that Parse never makes, such as infinity, NaN or a
// year BC, is kept as it stands: it is equal to itself only, and so replaced by the next record.
func ParseText(t spec.FieldType, text *string) (Value, error) {
	if _, known := parsers[t]; !known {
		return Value{}, fmt.Errorf("unknown column type %q", t)
	}
	if text == nil {
		return Value{}, nil
	}
	v, err := parseColumn(t, *text)
	if _, foreign := errors.AsType[*RecordError](err); !foreign {
		return v, err
	}
	if isTime := t == spec.TimestampTZ || t == spec.Date; isTime && !isoTime.MatchString(*text) {
		return Value{}, fmt.Errorf("read a %s column: %q is not in DateStyle ISO, which the connection must set", t, shape(*text))
	}
	return newValue(t, *text, *text), nil
}

// isoTime is what DateStyle ISO begins with: the year first, of four digits or more.
var isoTime = regexp.MustCompile(`^([0-9]{4,}-[0-9]{2}-[0-9]{2}|-?infinity$)`)

func parseColumn(t spec.FieldType, text string) (Value, error) {
	switch t {
	case spec.Text:
		return newValue(t, text, text), nil
	case spec.JSONB:
		v, err := Decode([]byte(text))
		if err != nil {
			return Value{}, fmt.Errorf("read a jsonb column: %w", err)
		}
		return newJSONB(v)
	}
	return Parse(t, text)
}
