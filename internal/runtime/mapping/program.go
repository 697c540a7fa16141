package mapping

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// maxID is the length of an external id in bytes: more does not fit a unique index.
const maxID = 1024

// Program maps records of one subscription. It is safe for concurrent use.
type Program struct {
	id        *expression
	tombstone *expression
	filter    *expression
	columns   []column
}

type column struct {
	name       string
	typ        spec.FieldType
	path       string
	expression *expression
}

// Record is one mapped record.
type Record struct {
	// ExternalID is the record's id at the upstream, 1 to 1024 bytes.
	ExternalID string
	// Deleted is set when the tombstone predicate holds; then filter and mapping are not evaluated.
	Deleted bool
	// Filtered is set when the filter does not hold; then the mapping is not evaluated.
	Filtered bool
	// Values are the columns in the order of the mapping; nil when Deleted or Filtered.
	Values []Value
}

// Apply maps one decoded record. Its errors are *RecordError, or the cause of ctx when that ends first; the Record
// beside an error has its ExternalID if that could be told.
func (p *Program) Apply(ctx context.Context, record any) (Record, error) {
	var out Record
	var err error
	if out.ExternalID, err = p.externalID(ctx, record); err != nil {
		return out, inField("id", err)
	}
	if out.Deleted, err = p.tombstone.holds(ctx, record, false); out.Deleted || err != nil {
		return out, inField("tombstone", err)
	}
	passes, err := p.filter.holds(ctx, record, true)
	if out.Filtered = err == nil && !passes; out.Filtered || err != nil {
		return out, inField("filter", err)
	}
	values := make([]Value, len(p.columns))
	for i, c := range p.columns {
		if values[i], err = c.value(ctx, record); err != nil {
			return out, inField(c.name, err)
		}
	}
	out.Values = values
	return out, nil
}

func (c *column) value(ctx context.Context, record any) (Value, error) {
	if c.expression == nil {
		v, _ := Lookup(c.path, record)
		return Parse(c.typ, v)
	}
	v, err := c.expression.eval(ctx, record)
	if err != nil {
		return Value{}, err
	}
	return Parse(c.typ, v)
}

func (p *Program) externalID(ctx context.Context, record any) (string, error) {
	v, err := p.id.eval(ctx, record)
	if ctx.Err() != nil {
		return "", err
	}
	if err != nil {
		return "", noID("the record has no usable id: %v", err)
	}
	var id string
	switch v := v.(type) {
	case string:
		id = v
	case json.Number:
		var ok bool
		if id, ok = wholeNumber(string(v)); !ok {
			return "", noID("the id is a number with a fraction or too many digits")
		}
	default:
		return "", noID("the id is %s, want a string or an integer", kindOf(v))
	}
	if err := checkID(id); err != nil {
		return "", err
	}
	return id, nil
}

func checkID(id string) error {
	switch err := checkText(id); {
	case err != nil:
		return err
	case id == "":
		return noID("the id is empty")
	case len(id) > maxID:
		return noID("the id has %d bytes, at most %d can be stored", len(id), maxID)
	}
	return nil
}

func noID(format string, args ...any) error {
	return &RecordError{Code: CodeNoID, Message: fmt.Sprintf(format, args...)}
}

// holds evaluates a predicate, or gives otherwise when there is none.
func (x *expression) holds(ctx context.Context, record any, otherwise bool) (bool, error) {
	if x == nil {
		return otherwise, nil
	}
	v, err := x.eval(ctx, record)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, &RecordError{Code: CodeWrongType, Message: fmt.Sprintf("the condition gives %s, want true or false", kindOf(v))}
	}
	return b, nil
}

// inField names the field in a record error.
func inField(field string, err error) error {
	if e, ok := errors.AsType[*RecordError](err); ok {
		named := *e
		named.Field = field
		return &named
	}
	return err
}
