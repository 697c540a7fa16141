package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Problem is something in a subscription that its author has to change.
type Problem struct {
	// Field is the path in the custom resource, such as mapping[2].expr.
	Field string
	// Expression is the text it is about, empty when it is about none.
	Expression string
	Message    string
	// Line and Column point into the expression, from 1; 0 when the message concerns the whole of it.
	Line, Column int
}

// String gives the field, the place and the message.
func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.Field, p.Message)
	}
	return fmt.Sprintf("%s (line %d, column %d): %s", p.Field, p.Line, p.Column, p.Message)
}

// Compile checks everything in s that is about names, types, paths and expressions, and makes it runnable. It gives
// either a program or all the problems. It is pure and takes about a millisecond an expression.
func Compile(s spec.Subscription) (*Program, []Problem) {
	c := &compiler{program: &Program{}}
	c.source(s.Source)
	c.program.tombstone = c.predicate("deletes.tombstone", s.Tombstone)
	c.program.filter = c.predicate("filter", s.Filter)
	c.mapping(s.Mapping)
	c.ignored(s)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return c.program, nil
}

type compiler struct {
	program  *Program
	problems []Problem
}

func (c *compiler) report(field, expression, format string, args ...any) {
	c.problems = append(c.problems, Problem{Field: field, Expression: expression, Message: fmt.Sprintf(format, args...)})
}

// expression compiles text over record and reports what is wrong with it at field.
func (c *compiler) expression(field, variable, text string) *expression {
	x, problems := compileExpression(variable, text)
	for _, p := range problems {
		p.Field, p.Expression = field, text
		c.problems = append(c.problems, p)
	}
	return x
}

func (c *compiler) source(s spec.Source) {
	if s.HTTP == nil {
		c.report("source", "", "a subscription needs a source, and this build knows http only")
		return
	}
	c.id("source.http.id", s.HTTP.ID)
	c.records("source.http.records", s.HTTP.Records)
	if s.HTTP.Cursor == nil {
		return
	}
	if t := s.HTTP.Cursor.Timestamp; t != nil {
		c.path("source.http.cursor.timestamp.from", t.From)
	}
	if t := s.HTTP.Cursor.Token; t != nil {
		c.path("source.http.cursor.token.from", t.From)
	}
}

func (c *compiler) id(field, text string) {
	if text == "" {
		c.report(field, "", "every record needs an id: write for example string(record.id)")
		return
	}
	c.program.id = c.expression(field, recordVariable, text)
	if x := c.program.id; x != nil && !oneOf(x.result, cel.StringType, cel.IntType, cel.UintType) {
		c.report(field, text, "the id must be a string or an integer, this gives %s", cel.FormatCELType(x.result))
	}
}

func (c *compiler) records(field, text string) {
	if isPath(text) {
		c.path(field, text)
		return
	}
	if x := c.expression(field, bodyVariable, text); x != nil && !isList(x.result) {
		c.report(field, text, "records must be a list, this gives %s", cel.FormatCELType(x.result))
	}
}

// predicate compiles a condition; nil when there is none.
func (c *compiler) predicate(field, text string) *expression {
	if text == "" {
		return nil
	}
	x := c.expression(field, recordVariable, text)
	if x != nil && !oneOf(x.result, cel.BoolType) {
		c.report(field, text, "the condition must be true or false, this gives %s", cel.FormatCELType(x.result))
	}
	return x
}

func (c *compiler) mapping(fields []spec.Field) {
	if len(fields) == 0 {
		c.report("mapping", "", "at least one field must be mapped")
	}
	first := map[string]int{}
	for i, f := range fields {
		at := fmt.Sprintf("mapping[%d]", i)
		if problem := nameProblem(f.Name); problem != "" {
			c.report(at+".field", "", "%s", problem)
		} else if j, twice := first[f.Name]; twice {
			c.report(at+".field", "", "field %q is mapped by mapping[%d] already", f.Name, j)
		} else {
			first[f.Name] = i
		}
		c.field(at, f)
	}
}

func (c *compiler) field(at string, f spec.Field) {
	if _, known := parsers[f.Type]; !known {
		c.report(at+".type", "", "unknown type %q, want one of %s", f.Type, typeNames())
	}
	column := column{name: f.Name, typ: f.Type, path: f.From}
	switch {
	case f.From != "" && f.Expr != "":
		c.report(at, "", "set from or expr, not both")
	case f.From != "":
		c.path(at+".from", f.From)
	case f.Expr != "":
		column.expression = c.expression(at+".expr", recordVariable, f.Expr)
		c.fits(at+".expr", f, column.expression)
	default:
		c.report(at, "", "set from to a path, or expr to an expression")
	}
	c.program.columns = append(c.program.columns, column)
}

func (c *compiler) fits(at string, f spec.Field, x *expression) {
	if allowed, known := resultTypes[f.Type]; x != nil && known && !allowed(x.result) {
		c.report(at, f.Expr, "the expression gives %s, which does not fit %s", cel.FormatCELType(x.result), f.Type)
	}
}

// path checks a dotted path: no empty steps.
func (c *compiler) path(field, path string) {
	if path != "" && slices.Contains(strings.Split(path, "."), "") {
		c.report(field, path, "the path has an empty step: write names separated by single dots")
	}
}

func (c *compiler) ignored(s spec.Subscription) {
	for i, name := range s.Sink.DiffIgnore {
		if !slices.ContainsFunc(s.Mapping, func(f spec.Field) bool { return f.Name == name }) {
			c.report(fmt.Sprintf("sink.diff.ignore[%d]", i), "", "%q is no mapped field", name)
		}
	}
}

func typeNames() string {
	var names []string
	for _, t := range slices.Sorted(maps.Keys(parsers)) {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}

// resultTypes says which results of expressions a column can take; what is known only at run time passes.
var resultTypes = map[spec.FieldType]func(*cel.Type) bool{
	spec.Text: func(t *cel.Type) bool {
		return oneOf(t, cel.StringType, cel.IntType, cel.UintType, decimalType, cel.BoolType, cel.TimestampType)
	},
	spec.Boolean: func(t *cel.Type) bool { return oneOf(t, cel.BoolType, cel.StringType) },
	spec.BigInt: func(t *cel.Type) bool {
		return oneOf(t, cel.IntType, cel.UintType, decimalType, cel.StringType)
	},
	spec.Numeric: func(t *cel.Type) bool {
		return oneOf(t, cel.IntType, cel.UintType, decimalType, cel.StringType)
	},
	spec.TimestampTZ: func(t *cel.Type) bool { return oneOf(t, cel.TimestampType, cel.StringType) },
	spec.Date:        func(t *cel.Type) bool { return oneOf(t, cel.TimestampType, cel.StringType) },
	spec.UUID:        func(t *cel.Type) bool { return oneOf(t, cel.StringType) },
	spec.JSONB: func(t *cel.Type) bool {
		return unwrap(t).Kind() != cel.BytesKind && unwrap(t).Kind() != cel.DurationKind && unwrap(t).Kind() != cel.TypeKind
	},
}

// oneOf is true for each of the types, for an optional one, for null and for what is known only at run time.
func oneOf(t *cel.Type, types ...*cel.Type) bool {
	t = unwrap(t)
	if t.Kind() == cel.DynKind || t.Kind() == cel.NullTypeKind {
		return true
	}
	return slices.ContainsFunc(types, t.IsExactType)
}

func isList(t *cel.Type) bool { return t.Kind() == cel.DynKind || t.Kind() == cel.ListKind }

// unwrap looks into an optional.
func unwrap(t *cel.Type) *cel.Type {
	if t.Kind() == cel.OpaqueKind && t.TypeName() == cel.OptionalType(cel.DynType).TypeName() {
		return t.Parameters()[0]
	}
	return t
}
