package mapping

import (
	"fmt"
	"reflect"
	"time"

	"github.com/cockroachdb/apd/v3"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// decimalType is the CEL type of every number that is no 64-bit integer, and of literals with a point.
var decimalType = cel.ObjectType("decimal", traits.ComparerType, traits.NegatorType)

// decimal is an exact number in an expression.
type decimal struct{ d *apd.Decimal }

// newDecimal bounds the digits, so that no expression can make a number that fills memory.
func newDecimal(d *apd.Decimal) ref.Val {
	if err := checkDigits(d); err != nil {
		return types.WrapErr(err)
	}
	return decimal{d}
}

// decimalFrom reads a number from its text.
func decimalFrom(s string) ref.Val {
	d, err := parseDecimal(s)
	if err != nil {
		return types.WrapErr(err)
	}
	return decimal{d}
}

// toDecimal takes decimals and integers.
func toDecimal(v ref.Val) (*apd.Decimal, bool) {
	switch v := v.(type) {
	case decimal:
		return v.d, true
	case types.Int:
		return apd.New(int64(v), 0), true
	case types.Uint:
		return apd.NewWithBigInt(new(apd.BigInt).SetUint64(uint64(v)), 0), true
	}
	return nil, false
}

// Compare makes decimals comparable with each other and with integers.
func (v decimal) Compare(other ref.Val) ref.Val {
	o, ok := toDecimal(other)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Int(v.d.Cmp(o))
}

// Equal is by value.
func (v decimal) Equal(other ref.Val) ref.Val {
	o, ok := toDecimal(other)
	return types.Bool(ok && v.d.Cmp(o) == 0)
}

// Negate changes the sign.
func (v decimal) Negate() ref.Val { return decimal{new(apd.Decimal).Neg(v.d)} }

// Type is decimal.
func (decimal) Type() ref.Type { return decimalType }

// Value is the number itself.
func (v decimal) Value() any { return v.d }

// ConvertToNative is for programs that use CEL from Go; this one does not.
func (v decimal) ConvertToNative(t reflect.Type) (any, error) {
	if t == reflect.TypeFor[*apd.Decimal]() {
		return v.d, nil
	}
	return nil, fmt.Errorf("a decimal does not convert to %v", t)
}

// ConvertToType gives strings, and integers cut off towards zero.
func (v decimal) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.StringType:
		return types.String(plain(v.d))
	case types.IntType:
		return v.truncate()
	case decimalType:
		return v
	case types.TypeType:
		return decimalType
	}
	return types.NewErr("a decimal does not convert to %s", t.TypeName())
}

func (v decimal) truncate() ref.Val {
	var whole, fraction apd.Decimal
	v.d.Modf(&whole, &fraction)
	i, err := whole.Int64()
	if err != nil {
		return types.NewErr("the number does not fit a 64-bit integer")
	}
	return types.Int(i)
}

// round gives digits places after the point, halves away from zero.
func (v decimal) round(digits int64) ref.Val {
	if digits < 0 || digits > MaxDigits {
		return types.NewErr("round takes 0 to %d digits", MaxDigits)
	}
	var r apd.Decimal
	if _, err := rounding(2*MaxDigits).Quantize(&r, v.d, int32(-digits)); err != nil {
		return types.WrapErr(errTooLong())
	}
	return newDecimal(&r)
}

// timestamp takes the number as seconds since 1970, cut off at the nanosecond.
func (v decimal) timestamp() ref.Val {
	const earliest, latest = -62135596800, 253402300799 // the years 1 to 9999
	var whole, fraction apd.Decimal
	v.d.Modf(&whole, &fraction)
	fraction.Exponent += 9
	seconds, err := whole.Int64()
	nanos, ok := decimal{&fraction}.truncate().(types.Int)
	if err != nil || !ok || seconds < earliest || seconds > latest {
		return types.NewErr("the time is outside of the years 1 to 9999")
	}
	return timestamp(time.Unix(seconds, int64(nanos)))
}

func rounding(precision int64) *apd.Context {
	c := apd.BaseContext.WithPrecision(uint32(precision))
	c.Rounding = apd.RoundHalfUp
	return c
}
