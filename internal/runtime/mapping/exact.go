package mapping

import (
	"github.com/cockroachdb/apd/v3"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// CEL's own operators ask the left operand only, and an int knows nothing of decimals. The operators below replace
// them in every plan, so that 12 == 12.0, 1 < 1.5 and 3 in [3.0] hold, whichever side the decimal stands on.
var exactOperators = map[string]func(l, r ref.Val) ref.Val{
	operators.Equals:        equal,
	operators.NotEquals:     func(l, r ref.Val) ref.Val { return types.Bool(equal(l, r) != types.True) },
	operators.Less:          comparison(func(c types.Int) bool { return c < 0 }),
	operators.LessEquals:    comparison(func(c types.Int) bool { return c <= 0 }),
	operators.Greater:       comparison(func(c types.Int) bool { return c > 0 }),
	operators.GreaterEquals: comparison(func(c types.Int) bool { return c >= 0 }),
	operators.Add:           arithmetic(exactly((*apd.Context).Add), add),
	operators.Subtract:      arithmetic(exactly((*apd.Context).Sub), traits.Subtractor.Subtract),
	operators.Multiply:      arithmetic(exactly((*apd.Context).Mul), traits.Multiplier.Multiply),
	operators.Divide:        arithmetic(divide, traits.Divider.Divide),
	operators.In:            contains,
}

// planner gives every call of a plan its exact operation and its meter, and turns decimal('1.5'), which literals become,
// into a constant.
type planner struct {
	operations map[string]functions.FunctionOp
}

func (p planner) decorate(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok || len(call.Args()) == 0 {
		return i, nil
	}
	constant, isConstant := call.Args()[len(call.Args())-1].(interpreter.InterpretableConst)
	switch {
	case isConstant && call.Function() == decimalType.TypeName():
		return interpreter.NewConstValue(call.ID(), makeDecimal(constant.Value())), nil
	case isConstant && call.Function() == overloads.Matches:
		return matcher(call, stringOf(constant.Value()))
	}
	if op := p.operation(call); op != nil {
		return metered(call, op), nil
	}
	return i, nil
}

// operation is what a call does; nil for the few that take errors for arguments.
func (p planner) operation(call interpreter.InterpretableCall) functions.FunctionOp {
	if op, ok := exactOperators[call.Function()]; ok && len(call.Args()) == 2 {
		return func(args ...ref.Val) ref.Val { return op(args[0], args[1]) }
	}
	if op, ok := exactFunctions[call.Function()]; ok {
		return op
	}
	if op, ok := p.operations[call.OverloadID()]; ok {
		return op
	}
	return p.operations[call.Function()]
}

// operandPairs are the types for which the checker has to let the operators through.
var operandPairs = map[string][]*cel.Type{
	"decimal_decimal": {decimalType, decimalType},
	"decimal_int":     {decimalType, cel.IntType},
	"int_decimal":     {cel.IntType, decimalType},
	"decimal_uint":    {decimalType, cel.UintType},
	"uint_decimal":    {cel.UintType, decimalType},
}

// exactOverloads declares the operators for the checker; the planner implements them.
func exactOverloads() []cel.EnvOption {
	var options []cel.EnvOption
	declare := func(result *cel.Type, names ...string) {
		for _, name := range names {
			for pair, operands := range operandPairs {
				options = append(options, cel.Function(name, cel.Overload(name+pair, operands, result)))
			}
		}
	}
	declare(cel.BoolType, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals)
	declare(decimalType, operators.Add, operators.Subtract, operators.Multiply, operators.Divide)
	return append(options, cel.Function(operators.Negate,
		cel.Overload("negate_decimal", []*cel.Type{decimalType}, decimalType)))
}

// bothDecimal is true when at least one operand is a decimal and the other a number.
func bothDecimal(l, r ref.Val) (a, b *apd.Decimal, ok bool) {
	_, left := l.(decimal)
	_, right := r.(decimal)
	if !left && !right {
		return nil, nil, false
	}
	a, okA := toDecimal(l)
	b, okB := toDecimal(r)
	return a, b, okA && okB
}

func comparison(holds func(types.Int) bool) func(l, r ref.Val) ref.Val {
	return func(l, r ref.Val) ref.Val {
		v := compare(l, r)
		c, ok := v.(types.Int)
		if !ok {
			return v
		}
		return types.Bool(holds(c))
	}
}

// compare gives -1, 0 or 1, or an error when the two have no order.
func compare(l, r ref.Val) ref.Val {
	if a, b, ok := bothDecimal(l, r); ok {
		return types.Int(a.Cmp(b))
	}
	comparer, ok := l.(traits.Comparer)
	if !ok {
		return types.MaybeNoSuchOverloadErr(l)
	}
	c, ok := comparer.Compare(r).(types.Int)
	if !ok {
		return types.NewErr("no such overload: %s is not comparable with %s", l.Type().TypeName(), r.Type().TypeName())
	}
	return c
}

// add is CEL's own, but for lists.
func add(l traits.Adder, r ref.Val) ref.Val {
	a, left := l.(traits.Lister)
	b, right := r.(traits.Lister)
	if left && right {
		return concatenate(a, b)
	}
	return l.Add(r)
}

func arithmetic[T any](exact func(a, b *apd.Decimal) ref.Val, plainly func(T, ref.Val) ref.Val) func(l, r ref.Val) ref.Val {
	return func(l, r ref.Val) ref.Val {
		if a, b, ok := bothDecimal(l, r); ok {
			return exact(a, b)
		}
		operand, ok := l.(T)
		if !ok {
			return types.MaybeNoSuchOverloadErr(l)
		}
		return plainly(operand, r)
	}
}

// exactly runs an operation of apd without rounding.
func exactly(op func(c *apd.Context, d, x, y *apd.Decimal) (apd.Condition, error)) func(a, b *apd.Decimal) ref.Val {
	return func(a, b *apd.Decimal) ref.Val {
		var d apd.Decimal
		if _, err := op(&apd.BaseContext, &d, a, b); err != nil {
			return types.WrapErr(errTooLong())
		}
		return newDecimal(&d)
	}
}

// divide rounds half up to 34 digits, or 20 more than stand before the point.
func divide(a, b *apd.Decimal) ref.Val {
	if b.IsZero() {
		return types.NewErr("division by zero")
	}
	whole := a.NumDigits() + int64(a.Exponent) - b.NumDigits() - int64(b.Exponent) + 1
	var d apd.Decimal
	if _, err := rounding(max(34, whole+20)).Quo(&d, a, b); err != nil {
		return types.WrapErr(errTooLong())
	}
	d.Reduce(&d)
	return newDecimal(&d)
}

// equal compares numbers by value, also inside of lists and maps.
func equal(l, r ref.Val) ref.Val {
	if a, b, ok := bothDecimal(l, r); ok {
		return types.Bool(a.Cmp(b) == 0)
	}
	switch a := l.(type) {
	case traits.Mapper:
		if b, ok := r.(traits.Mapper); ok {
			return equalMaps(a, b)
		}
	case traits.Lister:
		if b, ok := r.(traits.Lister); ok {
			return equalLists(a, b)
		}
	}
	return types.Equal(l, r)
}

func equalLists(a, b traits.Lister) ref.Val {
	if a.Size() != b.Size() {
		return types.False
	}
	for i, j := a.Iterator(), b.Iterator(); i.HasNext() == types.True; {
		if equal(i.Next(), j.Next()) != types.True {
			return types.False
		}
	}
	return types.True
}

func equalMaps(a, b traits.Mapper) ref.Val {
	if a.Size() != b.Size() {
		return types.False
	}
	for i := a.Iterator(); i.HasNext() == types.True; {
		key := i.Next()
		other, found := b.Find(keyOf(key))
		if !found || equal(a.Get(key), other) != types.True {
			return types.False
		}
	}
	return types.True
}

// contains is the operator in: members of a list by value, keys of a map.
func contains(elem, in ref.Val) ref.Val {
	list, ok := in.(traits.Lister)
	if !ok {
		container, ok := in.(traits.Container)
		if !ok {
			return types.MaybeNoSuchOverloadErr(in)
		}
		return container.Contains(keyOf(elem))
	}
	for i := list.Iterator(); i.HasNext() == types.True; {
		if equal(elem, i.Next()) == types.True {
			return types.True
		}
	}
	return types.False
}

// keyOf is how a number finds a key: whole ones as an int.
func keyOf(v ref.Val) ref.Val {
	if d, ok := v.(decimal); ok {
		if i, ok := d.truncate().(types.Int); ok && d.Equal(i) == types.True {
			return i
		}
	}
	return v
}
