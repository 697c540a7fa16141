package mapping

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
)

const (
	// maxExpression is the length of an expression in characters.
	maxExpression = 10_000
	// interruptEvery is the number of rounds of a macro after which its context is looked at.
	interruptEvery = 100
	// maxStates bounds the automaton of a regular expression.
	maxStates = 5_000
	// maxPattern is the length of a regular expression in characters.
	maxPattern = 1_000
)

// eachFunction stands around what a macro goes through, and pays for collecting the keys of a map; and around the
// condition of its rounds, with their number of steps, and pays for these.
const eachFunction = "@each"

// The variables of expressions.
const (
	recordVariable = "record"
	bodyVariable   = "body"
)

// environment is what expressions over one variable compile in.
type environment struct {
	*cel.Env
	planner planner
}

// environments are made once; they are safe for concurrent use.
var environments = map[string]func() environment{
	recordVariable: sync.OnceValue(func() environment { return newEnvironment(recordVariable) }),
	bodyVariable:   sync.OnceValue(func() environment { return newEnvironment(bodyVariable) }),
}

func newEnvironment(variable string) environment {
	options := append(exactOverloads(), decimalFunctions()...)
	options = append(options, timeFunctions()...)
	options = append(options,
		cel.Variable(variable, cel.DynType),
		cel.OptionalTypes(),
		ext.Strings(),
		ext.Lists(),
		cel.Function("sort", cel.MemberOverload("list_decimal_sort", []*cel.Type{cel.ListType(decimalType)}, cel.ListType(decimalType))),
		cel.Function("@sortByAssociatedKeys", cel.MemberOverload("list_decimal_sortByAssociatedKeys",
			[]*cel.Type{cel.ListType(cel.TypeParamType("T")), cel.ListType(decimalType)}, cel.ListType(cel.TypeParamType("T")))),
		cel.ASTValidators(cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals(), cel.ValidateRegexLiterals()),
		cel.Function(eachFunction, cel.Overload(eachFunction+"_range", []*cel.Type{cel.TypeParamType("T")}, cel.TypeParamType("T"),
			cel.UnaryBinding(func(v ref.Val) ref.Val { return v })),
			cel.Overload(eachFunction+"_round", []*cel.Type{cel.TypeParamType("T"), cel.IntType}, cel.TypeParamType("T"),
				cel.BinaryBinding(func(v, _ ref.Val) ref.Val { return v }))),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.DefaultUTCTimeZone(true),
	)
	env, err := cel.NewEnv(options...)
	if err == nil {
		env, err = env.Extend(cel.CustomTypeAdapter(adapter{env.CELTypeAdapter()}))
	}
	var ops map[string]functions.FunctionOp
	if err == nil {
		ops, err = operations(env)
	}
	if err != nil {
		panic(fmt.Errorf("declare the expressions' environment: %w", err))
	}
	return environment{env, planner{ops}}
}

// plan makes a checked expression runnable, with its limits.
func (e environment) plan(checked *cel.Ast) (cel.Program, error) {
	return e.Program(checked,
		cel.CustomDecoratorV2(e.planner.decorate),
		cel.InterruptCheckFrequency(interruptEvery),
	)
}

func decimalFunctions() []cel.EnvOption {
	unary := func(id string, arg, result *cel.Type, to ref.Type) cel.FunctionOpt {
		return cel.Overload(id, []*cel.Type{arg}, result, cel.UnaryBinding(func(v ref.Val) ref.Val { return v.ConvertToType(to) }))
	}
	name := decimalType.TypeName()
	return []cel.EnvOption{
		cel.Function(name,
			cel.Overload("string_to_decimal", []*cel.Type{cel.StringType}, decimalType, cel.UnaryBinding(makeDecimal)),
			cel.Overload("int_to_decimal", []*cel.Type{cel.IntType}, decimalType, cel.UnaryBinding(makeDecimal)),
			cel.Overload("uint_to_decimal", []*cel.Type{cel.UintType}, decimalType, cel.UnaryBinding(makeDecimal)),
			cel.Overload("decimal_to_decimal", []*cel.Type{decimalType}, decimalType, cel.UnaryBinding(makeDecimal))),
		cel.Function("string", unary("decimal_to_string", decimalType, cel.StringType, types.StringType)),
		cel.Function("int", unary("decimal_to_int", decimalType, cel.IntType, types.IntType)),
		cel.Function("round", cel.MemberOverload("decimal_round_int", []*cel.Type{decimalType, cel.IntType}, decimalType,
			cel.BinaryBinding(func(v, digits ref.Val) ref.Val { return v.(decimal).round(int64(digits.(types.Int))) }))),
	}
}

// makeDecimal is decimal(x).
func makeDecimal(v ref.Val) ref.Val {
	if s, ok := v.(types.String); ok {
		return decimalFrom(string(s))
	}
	d, ok := toDecimal(v)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	return decimal{d}
}

// timeFunctions let timestamp() read what a timestamptz column reads and fractions of a second, and add milliseconds.
func timeFunctions() []cel.EnvOption {
	return []cel.EnvOption{
		cel.Function(overloads.TypeConvertTimestamp,
			cel.Overload(overloads.StringToTimestamp, []*cel.Type{cel.StringType}, cel.TimestampType,
				cel.UnaryBinding(func(v ref.Val) ref.Val { return timestampOfText(string(v.(types.String))) })),
			cel.Overload("decimal_to_timestamp", []*cel.Type{decimalType}, cel.TimestampType,
				cel.UnaryBinding(func(v ref.Val) ref.Val { return v.(decimal).timestamp() }))),
		cel.Function("unixMillis",
			cel.Overload("unix_millis_int", []*cel.Type{cel.IntType}, cel.TimestampType,
				cel.UnaryBinding(func(v ref.Val) ref.Val { return timestamp(time.UnixMilli(int64(v.(types.Int)))) }))),
	}
}

func timestampOfText(s string) ref.Val {
	t, ok := parseTime(s)
	if !ok {
		return types.NewErr("a string like %q is not a time", shape(s))
	}
	return timestamp(t)
}

func timestamp(t time.Time) ref.Val {
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return types.NewErr("the time is outside of the years 1 to 9999")
	}
	return types.Timestamp{Time: t}
}
