package mapping

import (
	"math/bits"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

const (
	// costLimit bounds one evaluation. A unit is some 100 ns: a step of a macro's round, a call, or bytesPerUnit bytes
	// that a call reads or writes.
	costLimit = 100_000
	// bodyCostLimit is that of records, which looks at a whole page.
	bodyCostLimit = 10 * costLimit
	// bytesPerUnit is the text that a call handles for one unit.
	bytesPerUnit = 10
	// zoneCost is the cost of looking a time zone up, which may read a file.
	zoneCost = 1_000
	// maxResult bounds what an expression gives, written out: a list may hold one text many times.
	maxResult = 16 << 20
)

// meterVariable carries the meter of an evaluation; no expression can name it.
const meterVariable = "@meter"

// meter is what an evaluation may still cost. CEL's own tracker counts a call too late, after a text has filled memory,
// counts one unit where an overload is chosen at run time, and takes a time that grows with the square of the steps.
type meter struct{ left uint64 }

// pay ends the evaluation when the meter runs out. An error would not: || and the macros pass over errors.
func (m *meter) pay(units uint64) {
	if units > m.left {
		m.left = 0
		panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: "cost limit exceeded"})
	}
	m.left -= units
}

// meteredCall pays before it calls.
type meteredCall struct {
	interpreter.InterpretableCall
	op functions.FunctionOp
	// price is what it costs with these arguments.
	price func(args []ref.Val) uint64
}

// Exec evaluates the arguments, pays and calls.
func (c *meteredCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	args := make([]ref.Val, len(c.Args()))
	for i, arg := range c.Args() {
		if args[i] = arg.Exec(frame); types.IsUnknownOrError(args[i]) {
			return args[i]
		}
	}
	if m, ok := frame.ResolveName(meterVariable); ok {
		m.(*meter).pay(c.price(args))
	}
	return types.LabelErrNode(c.ID(), c.op(args...))
}

// Eval is Exec.
func (c *meteredCall) Eval(vars interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(vars))
}

// metered replaces a call by one that op carries out and that pays first.
func metered(call interpreter.InterpretableCall, op functions.FunctionOp) *meteredCall {
	price, ok := prices[call.Function()]
	if !ok {
		price = linear
	}
	return &meteredCall{call, op, price}
}

// prices are those of the functions that do not simply read their arguments once.
var prices = map[string]func(args []ref.Val) uint64{
	operators.Equals:    func(args []ref.Val) uint64 { return 1 + min(weigh(args[0]), weigh(args[1]))/bytesPerUnit },
	operators.NotEquals: func(args []ref.Val) uint64 { return 1 + min(weigh(args[0]), weigh(args[1]))/bytesPerUnit },
	operators.In: func(args []ref.Val) uint64 {
		return 1 + elements(args[1]) + (text(args[0])+weighList(args[1]))/bytesPerUnit
	},
	operators.Add:           addPrice,
	eachFunction:            eachPrice,
	"size":                  func(args []ref.Val) uint64 { return 1 + text(args[0])/bytesPerUnit },
	"startsWith":            func(args []ref.Val) uint64 { return linear(args[1:]) },
	"endsWith":              func(args []ref.Val) uint64 { return linear(args[1:]) },
	"indexOf":               searchPrice,
	"lastIndexOf":           searchPrice,
	"replace":               replacePrice,
	"split":                 splitPrice,
	"join":                  joinPrice,
	"format":                func(args []ref.Val) uint64 { return 1 + 16*text(args[0]) + weigh(args[1]) },
	"sort":                  sortPrice,
	"@sortByAssociatedKeys": sortPrice,
	"distinct":              func(args []ref.Val) uint64 { return 1 + 4*elements(args[0]) + weigh(args[0])/2 },
	"flatten":               func(args []ref.Val) uint64 { return 1 + 2*weigh(args[0])/bytesPerUnit },
	"lists.range":           func(args []ref.Val) uint64 { return 1 + whole(args[0]) },
	"getFullYear":           zonePrice, "getMonth": zonePrice, "getDate": zonePrice, "getDayOfMonth": zonePrice, "getDayOfWeek": zonePrice,
	"getDayOfYear": zonePrice, "getHours": zonePrice, "getMinutes": zonePrice, "getSeconds": zonePrice, "getMilliseconds": zonePrice,
}

// linear is the price of reading all the text and numbers and the elements of all lists and maps, not what is in them.
func linear(args []ref.Val) uint64 {
	units := uint64(1)
	for _, arg := range args {
		units += elements(arg) + text(arg)/bytesPerUnit
	}
	return units
}

// addPrice is linear; but a list that a macro builds is added to in place, and what is added stays to be written out.
func addPrice(args []ref.Val) uint64 {
	if _, growing := args[0].(traits.MutableLister); growing {
		units := linear(args[1:])
		added, _ := members(args[1])
		for _, e := range added {
			units += text(e) / bytesPerUnit
		}
		return units
	}
	return linear(args)
}

func eachPrice(args []ref.Val) uint64 {
	if len(args) == 2 {
		return whole(args[1])
	}
	return 1 + keys(args[0])
}

// searchPrice is that of comparing the needle at every place.
func searchPrice(args []ref.Val) uint64 {
	return linear(args) + text(args[0])*text(args[1])/(20*bytesPerUnit)
}

func replacePrice(args []ref.Val) uint64 {
	s, from, to := stringOf(args[0]), stringOf(args[1]), stringOf(args[2])
	return linear(args) + saturated(uint64(strings.Count(s, from)), uint64(len(to)))/bytesPerUnit
}

func splitPrice(args []ref.Val) uint64 {
	return linear(args) + uint64(strings.Count(stringOf(args[0]), stringOf(args[1])))
}

func joinPrice(args []ref.Val) uint64 {
	units := 1 + weigh(args[0])/bytesPerUnit
	if len(args) == 2 {
		units += saturated(elements(args[0]), text(args[1])) / bytesPerUnit
	}
	return units
}

func sortPrice(args []ref.Val) uint64 {
	keys := args[len(args)-1]
	rounds := uint64(bits.Len64(elements(keys)))
	return 1 + elements(keys) + rounds*weigh(keys)/(2*bytesPerUnit)
}

func zonePrice(args []ref.Val) uint64 {
	if len(args) == 1 {
		return 1
	}
	return zoneCost
}

// patternPrice is that of every state of the pattern at every character.
func patternPrice(states int) func(args []ref.Val) uint64 {
	return func(args []ref.Val) uint64 { return 1 + (1+text(args[0]))*uint64(states)/(2*bytesPerUnit) }
}

// matcher compiles a pattern once for a call.
func matcher(call interpreter.InterpretableCall, pattern string) (*meteredCall, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	op := func(args ...ref.Val) ref.Val {
		s, ok := args[0].(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		return types.Bool(re.MatchString(string(s)))
	}
	return &meteredCall{call, op, patternPrice(statesOf(pattern))}, nil
}

// statesOf counts the states of a pattern's automaton: x{1000} is short and has a thousand.
func statesOf(pattern string) int {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0
	}
	return len(prog.Inst)
}

// saturated is a product that does not overflow.
func saturated(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi > 0 {
		return 1 << 62
	}
	return min(lo, 1<<62)
}

// text is the length of a string in bytes and of a number in digits; 0 for all else.
func text(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v))
	case types.Bytes:
		return uint64(len(v))
	case decimal:
		return uint64(v.d.NumDigits()) + uint64(max(v.d.Exponent, -v.d.Exponent))
	}
	return 0
}

func stringOf(v ref.Val) string {
	s, _ := v.(types.String)
	return string(s)
}

func whole(v ref.Val) uint64 {
	i, _ := v.(types.Int)
	return uint64(max(i, 0))
}

// elements is the size of a list or a map.
func elements(v ref.Val) uint64 {
	switch v := v.(type) {
	case traits.Lister:
		return whole(v.Size())
	case traits.Mapper:
		return whole(v.Size())
	}
	return 0
}

// keys is the size of a map: a macro over a map collects them first.
func keys(v ref.Val) uint64 {
	if _, ok := v.(traits.Lister); ok {
		return 0
	}
	return elements(v)
}

// weighList is nothing for a map, whose keys are found without looking at all.
func weighList(v ref.Val) uint64 {
	if _, ok := v.(traits.Lister); !ok {
		return 0
	}
	return weigh(v)
}

// weigh is about the length of a value written out, with all that is in it, up to what no meter pays for twice.
func weigh(v ref.Val) uint64 { return weighUpTo(v, 2*costLimit*bytesPerUnit) }

// weighUpTo stops soon after most.
func weighUpTo(v ref.Val, most uint64) uint64 {
	s := scale{most: most}
	s.add(v)
	return s.weight
}

type scale struct{ weight, most uint64 }

func (s *scale) full() bool { return s.weight > s.most }

func (s *scale) add(v ref.Val) {
	s.weight += 2*bytesPerUnit + text(v)
	switch v := v.(type) {
	case traits.Lister:
		for i := v.Iterator(); i.HasNext() == types.True && !s.full(); {
			s.add(i.Next())
		}
	case traits.Mapper:
		for i := v.Iterator(); i.HasNext() == types.True && !s.full(); {
			key := i.Next()
			s.add(key)
			s.add(v.Get(key))
		}
	case *types.Optional:
		if v.HasValue() {
			s.add(v.GetValue())
		}
	}
}

// operations are the environment's functions, by overload and by name.
func operations(env *cel.Env) (map[string]functions.FunctionOp, error) {
	out := map[string]functions.FunctionOp{}
	for _, declared := range env.Functions() {
		bindings, err := declared.Bindings()
		if err != nil {
			return nil, err
		}
		for _, b := range bindings {
			if !b.NonStrict {
				out[b.Operator] = operation(b)
			}
		}
	}
	return out, nil
}

// operation calls a binding by the number of its arguments.
func operation(b *functions.Overload) functions.FunctionOp {
	return func(args ...ref.Val) ref.Val {
		switch {
		case b.OperandTrait != 0 && !args[0].Type().HasTrait(b.OperandTrait):
		case len(args) == 1 && b.Unary != nil:
			return b.Unary(args[0])
		case len(args) == 2 && b.Binary != nil:
			return b.Binary(args[0], args[1])
		case b.Function != nil:
			return b.Function(args...)
		}
		return types.MaybeNoSuchOverloadErr(args[0])
	}
}
