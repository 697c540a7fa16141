package mapping

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Parse makes a value of type t from a decoded JSON value or a time. Null is null for every type; an empty string is
// null for every type but text and jsonb, because many APIs send "" for "no date". Its errors are *RecordError.
func Parse(t spec.FieldType, v any) (Value, error) {
	switch s, isString := v.(string); {
	case v == nil:
		return Value{}, nil
	case isString && s == "" && t != spec.Text && t != spec.JSONB:
		return Value{}, nil
	}
	parse, ok := parsers[t]
	if !ok {
		return Value{}, fmt.Errorf("unknown column type %q", t)
	}
	return parse(v)
}

var parsers = map[spec.FieldType]func(any) (Value, error){
	spec.Text:        parseText,
	spec.Boolean:     parseBoolean,
	spec.BigInt:      parseBigInt,
	spec.Numeric:     parseNumeric,
	spec.TimestampTZ: parseTimestamp,
	spec.Date:        parseDate,
	spec.UUID:        parseUUID,
	spec.JSONB:       newJSONB,
}

func parseText(v any) (Value, error) {
	text, ok := scalarText(v)
	if !ok {
		return Value{}, wrongType(v, "text", "map it to jsonb, or build a string in an expression")
	}
	if err := checkText(text); err != nil {
		return Value{}, err
	}
	return newValue(spec.Text, text, text), nil
}

// scalarText gives numbers as they are written and times in RFC 3339.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), true
	}
	return "", false
}

func parseBoolean(v any) (Value, error) {
	text, ok := scalarText(v)
	if _, isNumber := v.(json.Number); !ok || isNumber {
		return Value{}, wrongType(v, "boolean", "compare it in an expression, such as record.active == 1")
	}
	if text != "true" && text != "false" {
		return Value{}, invalid(text, "a boolean", `"true" or "false"`)
	}
	return newValue(spec.Boolean, text, text), nil
}

func parseBigInt(v any) (Value, error) {
	text, err := numberOf(v, "bigint")
	if err != nil {
		return Value{}, err
	}
	d, err := parseDecimal(text)
	if err != nil {
		return Value{}, err
	}
	return newBigInt(d)
}

func parseNumeric(v any) (Value, error) {
	text, err := numberOf(v, "numeric")
	if err != nil {
		return Value{}, err
	}
	d, err := parseDecimal(text)
	if err != nil {
		return Value{}, err
	}
	return newNumeric(d), nil
}

// numberOf takes numbers, and strings that may hold one.
func numberOf(v any, column string) (string, error) {
	switch v := v.(type) {
	case json.Number:
		return v.String(), nil
	case string:
		return v, nil
	}
	return "", wrongType(v, column, "")
}

func parseTimestamp(v any) (Value, error) {
	t, err := timeOf(v, "timestamptz")
	if err != nil {
		return Value{}, err
	}
	text, ok := canonicalTime(t)
	if !ok {
		return Value{}, &RecordError{Code: CodeOutOfRange, Message: "the time is outside of the years 1 to 9999"}
	}
	return newValue(spec.TimestampTZ, text, text), nil
}

// parseDate takes the date as it is written, whatever the offset of a time beside it.
func parseDate(v any) (Value, error) {
	t, err := timeOf(v, "date")
	if err != nil {
		return Value{}, err
	}
	if t.Year() < 1 || t.Year() > 9999 {
		return Value{}, &RecordError{Code: CodeOutOfRange, Message: "the date is outside of the years 1 to 9999"}
	}
	text := t.Format(time.DateOnly)
	return newValue(spec.Date, text, text), nil
}

func timeOf(v any, column string) (time.Time, error) {
	switch v := v.(type) {
	case time.Time:
		return v.UTC(), nil
	case string:
		if t, ok := parseTime(v); ok {
			return t, nil
		}
		return time.Time{}, invalid(v, "a time", "ISO 8601, such as 2026-01-31T12:00:00Z")
	case json.Number:
		return time.Time{}, wrongType(v, column, "write timestamp(record.field) for seconds since 1970, unixMillis(record.field) for milliseconds")
	}
	return time.Time{}, wrongType(v, column, "")
}

// uuidForm is what PostgreSQL reads, braces aside: a dash may follow any four digits.
var uuidForm = regexp.MustCompile(`^([0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}$`)

func parseUUID(v any) (Value, error) {
	s, ok := v.(string)
	if !ok {
		return Value{}, wrongType(v, "uuid", "")
	}
	digits := s
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		digits = s[1 : len(s)-1]
	}
	if !uuidForm.MatchString(digits) {
		return Value{}, invalid(s, "a UUID", "32 hexadecimal digits")
	}
	text := uuid.MustParse(strings.ReplaceAll(digits, "-", "")).String()
	return newValue(spec.UUID, text, text), nil
}

func wrongType(v any, column, wayOut string) error {
	message := fmt.Sprintf("%s does not fit a %s column", kindOf(v), column)
	if wayOut != "" {
		message += ": " + wayOut
	}
	return &RecordError{Code: CodeWrongType, Message: message}
}

func invalid(s, what, want string) error {
	return &RecordError{Code: CodeInvalid, Message: fmt.Sprintf("a string like %q is not %s: want %s", shape(s), what, want)}
}

// kindOf names the JSON type of a decoded value.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	case time.Time:
		return "a time"
	}
	return strings.TrimPrefix(fmt.Sprintf("a %T", v), "*")
}
