package mapping

import (
	"strings"
	"unicode"
)

// Code says what is wrong with a record, for machines: quarantine rows and metrics group by it.
type Code string

const (
	// CodeWrongType is a value of another JSON type than the column can hold, such as an object for a number.
	CodeWrongType Code = "wrong_type"
	// CodeInvalid is a value of the right type that does not read as one of the column, such as "soon" for a date.
	CodeInvalid Code = "invalid_value"
	// CodeOutOfRange is a number or a time that the column cannot hold.
	CodeOutOfRange Code = "out_of_range"
	// CodeNUL is a NUL character, which PostgreSQL stores in no text and no jsonb.
	CodeNUL Code = "nul_character"
	// CodeUTF8 is a string that is not valid UTF-8.
	CodeUTF8 Code = "invalid_utf8"
	// CodeTooDeep is a JSON value nested deeper than MaxDepth.
	CodeTooDeep Code = "too_deep"
	// CodeExpression is an expression that failed for this record, for instance on a missing field.
	CodeExpression Code = "expression_failed"
	// CodeNoID is a record without a usable external id.
	CodeNoID Code = "no_id"
	// CodeNoCursor is a record without the field that says where it stands in the source's order.
	CodeNoCursor Code = "no_cursor"
)

// RecordError says why one record cannot be mapped. It concerns that record only: the others go on.
// Its message shows the shape of an offending value, not the value, because it ends up in logs and statuses; that of a
// failed expression may name a key or a time zone which the expression took from the record.
type RecordError struct {
	// Field is the column, or "id", "cursor", "filter" or "tombstone"; empty in errors of Parse and ParseText.
	Field string
	Code  Code
	// Message says what is wrong and, where there is one, the way out.
	Message string
}

// Error gives the field and the message.
func (e *RecordError) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// shapeLimit is the number of characters of a value's shape that a message shows.
const shapeLimit = 40

// shape shows how a string is built without showing what it says: letters become a, digits 9.
func shape(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > shapeLimit {
			b.WriteString("...")
			break
		}
		b.WriteRune(shapeOf(r))
	}
	return b.String()
}

func shapeOf(r rune) rune {
	switch {
	case unicode.IsDigit(r):
		return '9'
	case unicode.IsLetter(r):
		return 'a'
	case unicode.IsPrint(r):
		return r
	}
	return '?'
}
