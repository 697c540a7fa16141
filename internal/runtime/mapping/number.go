package mapping

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// MaxDigits is the number of digits a number may have, before and after the decimal point together. PostgreSQL
// declares at most as many (numeric(1000)); the bound keeps 1e999999999 from filling memory.
const MaxDigits = 1000

// maxNumberText bounds what is parsed at all: sign, point and exponent come on top of the digits.
const maxNumberText = MaxDigits + 16

// parseDecimal reads a number of JSON's grammar or with a plus sign or leading zeros. It refuses NaN and infinities.
func parseDecimal(s string) (*apd.Decimal, error) {
	if len(s) > maxNumberText {
		return nil, errTooLong()
	}
	if !isNumber(s) {
		return nil, &RecordError{Code: CodeInvalid, Message: fmt.Sprintf("a string like %q is not a number", shape(s))}
	}
	d, cond, err := apd.NewFromString(s)
	if err != nil || cond.Any() {
		return nil, errTooLong()
	}
	return d, checkDigits(d)
}

// isNumber has JSON's grammar, with a plus sign and leading zeros allowed. It keeps out what apd reads besides: NaN,
// Infinity, a lone point. It is no regular expression because every access to a number in an expression comes here.
func isNumber(s string) bool {
	s = afterSign(s)
	mantissa, exponent, scientific := s, "", false
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent, scientific = s[:i], afterSign(s[i+1:]), true
	}
	before, after, point := strings.Cut(mantissa, ".")
	return areDigits(before) && (!point || areDigits(after)) && (!scientific || areDigits(exponent))
}

func afterSign(s string) string {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return s[1:]
	}
	return s
}

func areDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// checkDigits refuses a number that MaxDigits digits cannot write out.
func checkDigits(d *apd.Decimal) error {
	before := max(d.NumDigits()+int64(d.Exponent), 1)
	after := max(-int64(d.Exponent), 0)
	if before+after > MaxDigits {
		return errTooLong()
	}
	return nil
}

func errTooLong() error {
	return &RecordError{Code: CodeOutOfRange, Message: fmt.Sprintf("the number has more than %d digits", MaxDigits)}
}

// newNumeric keeps the scale for writing and drops it for comparing, as PostgreSQL does.
func newNumeric(d *apd.Decimal) Value {
	text := plain(d)
	return newValue(spec.Numeric, text, numberKey(d))
}

// plain writes a number without an exponent; a zero without sign and without the exponent it may carry.
func plain(d *apd.Decimal) string {
	if d.IsZero() {
		d = apd.New(0, min(d.Exponent, 0))
	}
	return d.Text('f')
}

// numberKey is the same for numbers of the same value.
func numberKey(d *apd.Decimal) string {
	if d.IsZero() {
		return "0"
	}
	r, _ := new(apd.Decimal).Reduce(d)
	return r.Text('E')
}

// newBigInt reads a whole number of 64 bits.
func newBigInt(d *apd.Decimal) (Value, error) {
	r, _ := new(apd.Decimal).Reduce(d)
	if r.Exponent < 0 {
		return Value{}, &RecordError{
			Code:    CodeInvalid,
			Message: "the number has a fraction, the column is bigint: use numeric, or round it in an expression",
		}
	}
	i, err := r.Int64()
	if err != nil {
		return Value{}, &RecordError{
			Code:    CodeOutOfRange,
			Message: fmt.Sprintf("the number does not fit bigint (%d to %d): use numeric", math.MinInt64, math.MaxInt64),
		}
	}
	text := strconv.FormatInt(i, 10)
	return newValue(spec.BigInt, text, text), nil
}

// wholeNumber writes a number without a fraction, however it is written; false when it has one.
func wholeNumber(s string) (string, bool) {
	d, err := parseDecimal(s)
	if err != nil {
		return "", false
	}
	r, _ := new(apd.Decimal).Reduce(d)
	return plain(r), r.Exponent >= 0
}

// isFinite tells the digits of a numeric column from NaN and the infinities.
func isFinite(text string) bool { return isNumber(text) }
