package integration

import (
	"cmp"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// guardField finds the mapped field that holds what the cursor is made of: a record in which it is lower than in the
// row is older than the row. Without such a field nothing is known about the age of records, and it is -1.
func guardField(sub spec.Subscription) int {
	http := sub.Source.HTTP
	if http == nil || http.Cursor == nil || http.Cursor.Timestamp == nil {
		return -1
	}
	ordered := []spec.FieldType{spec.TimestampTZ, spec.BigInt, spec.Numeric, spec.Date}
	return slices.IndexFunc(sub.Mapping, func(f spec.Field) bool {
		return f.From == http.Cursor.Timestamp.From && slices.Contains(ordered, f.Type)
	})
}

// timeOf reads a record's own time of change. A deleted record is not mapped, so its path is followed here.
func (s shape) timeOf(raw any, mapped mapping.Record) mapping.Value {
	switch {
	case s.guard < 0:
		return mapping.Value{}
	case len(mapped.Values) > 0:
		return mapped.Values[s.guard]
	}
	f := s.fields[s.guard]
	found, _ := mapping.Lookup(f.From, raw)
	v, err := mapping.Parse(f.Type, found)
	if err != nil {
		return mapping.Value{}
	}
	return v
}

// compare orders two values of a type that has an order; it is false when one is null or not readable as such.
func compare(t spec.FieldType, a, b mapping.Value) (int, bool) {
	if a.IsNull() || b.IsNull() {
		return 0, false
	}
	switch x, y := *a.Text(), *b.Text(); t {
	case spec.TimestampTZ:
		return compareTimes(x, y)
	case spec.Date:
		return strings.Compare(x, y), len(x) == len(time.DateOnly) && len(y) == len(time.DateOnly)
	case spec.BigInt, spec.Numeric:
		return compareNumbers(x, y)
	default:
		return cmp.Compare(x, y), false
	}
}

func compareTimes(x, y string) (int, bool) {
	a, errA := time.Parse(time.RFC3339Nano, x)
	b, errB := time.Parse(time.RFC3339Nano, y)
	return a.Compare(b), errA == nil && errB == nil
}

func compareNumbers(x, y string) (int, bool) {
	a, okA := new(big.Rat).SetString(x)
	b, okB := new(big.Rat).SetString(y)
	if !okA || !okB {
		return 0, false
	}
	return a.Cmp(b), true
}
