package mapping

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"
)

// expression is a compiled CEL expression over one variable.
type expression struct {
	program  cel.Program
	variable string
	result   *cel.Type
}

// compileExpression gives every problem it finds; their Field is the caller's to set.
func compileExpression(variable, text string) (*expression, []Problem) {
	env := environments[variable]()
	if utf8.RuneCountInString(text) > maxExpression {
		return nil, []Problem{{Message: fmt.Sprintf("the expression is longer than %d characters", maxExpression)}}
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil, problemsOf(issues)
	}
	if problems := prepare(parsed, text); len(problems) > 0 {
		return nil, problems
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, problemsOf(issues)
	}
	program, err := env.plan(checked)
	if err != nil {
		return nil, []Problem{{Message: err.Error()}}
	}
	return &expression{program: program, variable: variable, result: checked.OutputType()}, nil
}

func problemsOf(issues *cel.Issues) []Problem {
	var problems []Problem
	for _, e := range issues.Errors() {
		problems = append(problems, Problem{
			Message: messageOf(e.Message),
			Line:    e.Location.Line(),
			Column:  e.Location.Column() + 1,
		})
	}
	return problems
}

// messageOf drops what means nothing here and adds the way out.
func messageOf(message string) string {
	if strings.Contains(message, "invalid double literal") {
		message += ": write this number as decimal('...')"
	}
	return strings.ReplaceAll(message, " (in container '')", "")
}

// prepare makes literals exact and refuses what the checker would let pass.
func prepare(parsed *cel.Ast, text string) []Problem {
	tree := parsed.NativeRep()
	p := preparation{tree: tree, text: []rune(text), factory: ast.NewExprFactory(), nextID: ast.MaxID(tree)}
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(p.visit))
	return p.problems
}

type preparation struct {
	tree     *ast.AST
	text     []rune
	factory  ast.ExprFactory
	nextID   int64
	problems []Problem
}

func (p *preparation) report(e ast.Expr, format string, args ...any) {
	at := p.tree.SourceInfo().GetStartLocation(e.ID())
	p.problems = append(p.problems, Problem{Message: fmt.Sprintf(format, args...), Line: at.Line(), Column: at.Column() + 1})
}

func (p *preparation) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.LiteralKind:
		if f, ok := e.AsLiteral().(types.Double); ok {
			p.exactLiteral(e, float64(f))
		}
	case ast.CallKind:
		p.call(e)
	case ast.ComprehensionKind:
		p.each(e.AsComprehension().IterRange())
		p.each(e.AsComprehension().LoopCondition(), p.rounds(e.AsComprehension()))
	}
}

// each puts the function of that name around e.
func (p *preparation) each(e ast.Expr, more ...ast.Expr) {
	p.nextID++
	at, _ := p.tree.SourceInfo().GetOffsetRange(e.ID())
	p.tree.SourceInfo().SetOffsetRange(p.nextID, at)
	inner := p.factory.NewUnspecifiedExpr(p.nextID)
	inner.SetKindCase(e)
	e.SetKindCase(p.factory.NewCall(e.ID(), eachFunction, append([]ast.Expr{inner}, more...)...))
}

// rounds counts the steps of one round of a macro, which it pays for.
func (p *preparation) rounds(c ast.ComprehensionExpr) ast.Expr {
	steps := types.Int(2)
	count := ast.NewExprVisitor(func(ast.Expr) { steps++ })
	ast.PostOrderVisit(c.LoopStep(), count)
	ast.PostOrderVisit(c.LoopCondition(), count)
	p.nextID++
	return p.factory.NewLiteral(p.nextID, steps)
}

// literal is a number with a point or an exponent, as CEL's grammar has it: sign, then digits.
var literal = regexp.MustCompile(`^(-?)\s*([0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)`)

// exactLiteral turns 12.3 into decimal('12.3'), with the digits that stand in the text.
func (p *preparation) exactLiteral(e ast.Expr, rounded float64) {
	digits := p.digitsAt(e)
	if f, err := strconv.ParseFloat(digits, 64); err != nil || f != rounded {
		p.report(e, "write this number as decimal('...') to keep it exact")
		return
	}
	p.nextID++
	text := p.factory.NewLiteral(p.nextID, types.String(digits))
	e.SetKindCase(p.factory.NewCall(e.ID(), decimalType.TypeName(), text))
	p.call(e)
}

// digitsAt reads the number literal at e; empty when there is none.
func (p *preparation) digitsAt(e ast.Expr) string {
	span, _ := p.tree.SourceInfo().GetOffsetRange(e.ID())
	found := literal.FindStringSubmatch(string(p.text[span.Start:]))
	if found == nil {
		return ""
	}
	sign, digits := found[1], found[2]
	if digits[0] == '.' {
		digits = "0" + digits
	}
	return sign + digits
}

func (p *preparation) call(e ast.Expr) {
	call := e.AsCall()
	switch call.FunctionName() {
	case "double":
		p.report(e, "double() would round: use decimal(), which is exact")
	case decimalType.TypeName():
		if text, ok := stringLiteral(call.Args(), 0); ok {
			if _, err := parseDecimal(text); err != nil {
				p.report(e, "%v", err)
			}
		}
	case "matches":
		p.pattern(e, call)
	}
}

// pattern keeps regular expressions short and out of the hands of whoever writes the records.
func (p *preparation) pattern(e ast.Expr, call ast.CallExpr) {
	at := len(call.Args()) - 1
	pattern, ok := stringLiteral(call.Args(), at)
	switch {
	case at < 0:
	case !ok:
		p.report(e, "the pattern of matches() must be a literal string")
	case utf8.RuneCountInString(pattern) > maxPattern:
		p.report(e, "the pattern of matches() is longer than %d characters", maxPattern)
	case statesOf(pattern) > maxStates:
		p.report(e, "the pattern of matches() repeats too much: it has more than %d states", maxStates)
	}
}

func stringLiteral(args []ast.Expr, i int) (string, bool) {
	if i < 0 || i >= len(args) || args[i].Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := args[i].AsLiteral().(types.String)
	return string(s), ok
}

// eval runs the expression over v; its errors are *RecordError without a field, or ctx's own.
func (x *expression) eval(ctx context.Context, v any) (any, error) {
	result, _, err := x.program.ContextEval(ctx, map[string]any{x.variable: v, meterVariable: &meter{x.limit()}})
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, evalError(err)
	case x.variable == recordVariable && weighUpTo(result, maxResult) > maxResult:
		return nil, &RecordError{Code: CodeExpression, Message: fmt.Sprintf("the result is larger than %d bytes", maxResult)}
	}
	return native(result)
}

func (x *expression) limit() uint64 {
	if x.variable == bodyVariable {
		return bodyCostLimit
	}
	return costLimit
}

// evalError keeps errors of our own. Those of CEL name types and keys, not values.
func evalError(err error) error {
	if e, ok := errors.AsType[*RecordError](err); ok {
		return e
	}
	message := err.Error()
	if _, cancelled := errors.AsType[interpreter.EvalCancelledError](err); cancelled {
		message = "the expression costs more than one evaluation may for this record"
	}
	if strings.HasPrefix(message, "no such key: ") {
		message += ": test it with has(), or write record.?field.orValue(...)"
	}
	return &RecordError{Code: CodeExpression, Message: message}
}
