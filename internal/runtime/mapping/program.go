package mapping

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"

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

// Apply maps one decoded record. Its errors are *RecordError; the Record beside an error has its ExternalID if that
// could be told.
func (p *Program) Apply(record any) (Record, error) {
	vars, err := cel.NewActivation(map[string]any{recordVariable: record})
	if err != nil {
		return Record{}, fmt.Errorf("make the record a variable: %w", err)
	}
	var out Record
	if out.ExternalID, err = p.externalID(vars); err != nil {
		return out, inField("id", err)
	}
	if out.Deleted, err = p.tombstone.holds(vars, false); out.Deleted || err != nil {
		return out, inField("tombstone", err)
	}
	passes, err := p.filter.holds(vars, true)
	if out.Filtered = err == nil && !passes; out.Filtered || err != nil {
		return out, inField("filter", err)
	}
	values := make([]Value, len(p.columns))
	for i, c := range p.columns {
		if values[i], err = c.value(vars, record); err != nil {
			return out, inField(c.name, err)
		}
	}
	out.Values = values
	return out, nil
}

func (c *column) value(vars cel.Activation, record any) (Value, error) {
	if c.expression == nil {
		v, _ := Lookup(c.path, record)
		return Parse(c.typ, v)
	}
	v, err := c.expression.eval(vars)
	if err != nil {
		return Value{}, err
	}
	return Parse(c.typ, v)
}

func (p *Program) externalID(vars cel.Activation) (string, error) {
	v, err := p.id.eval(vars)
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
func (x *expression) holds(vars cel.Activation, otherwise bool) (bool, error) {
	if x == nil {
		return otherwise, nil
	}
	v, err := x.eval(vars)
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
