package mapping

import (
	"encoding/json"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Value is one column of one record: typed, immutable, and canonical, so that two values are equal when PostgreSQL
// would call them so. The zero Value is SQL null.
type Value struct {
	typ spec.FieldType
	// text is what is written, key what is compared; they differ where PostgreSQL keeps more than it compares (12.30).
	text string
	key  string
	set  bool
}

func newValue(t spec.FieldType, text, key string) Value {
	return Value{typ: t, text: text, key: key, set: true}
}

// IsNull reports whether the value is SQL null.
func (v Value) IsNull() bool { return !v.set }

// Equal reports whether the two are the same value of the same type: numbers by value (12.30 is 12.3), times by
// instant, jsonb without regard to the order of keys. Null equals null.
func (v Value) Equal(o Value) bool {
	if !v.set || !o.set {
		return v.set == o.set
	}
	return v.typ == o.typ && v.key == o.key
}

// Text is the value in a form that PostgreSQL casts to the column's type under any DateStyle and TimeZone; nil is null.
func (v Value) Text() *string {
	if !v.set {
		return nil
	}
	return new(v.text)
}

// JSON is the value for the changed fields of audit items and events: numbers exact and as numbers, times in RFC 3339
// and UTC with at most microseconds, jsonb as itself.
func (v Value) JSON() json.RawMessage {
	switch {
	case !v.set:
		return json.RawMessage("null")
	case v.typ == spec.Boolean, v.typ == spec.BigInt, v.typ == spec.JSONB, v.typ == spec.Numeric && isFinite(v.text):
		return json.RawMessage(v.text)
	}
	return json.RawMessage(quote(v.text))
}

// String is the value's JSON, for tests and debuggers.
func (v Value) String() string { return string(v.JSON()) }
