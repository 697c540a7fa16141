package mapping

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// evaluate compiles text over record and evaluates it for the JSON text record.
func evaluate(t *testing.T, text, record string) (any, error) {
	t.Helper()
	x, problems := compileExpression(recordVariable, text)
	if len(problems) > 0 {
		t.Fatalf("compile %s: %v", text, problems)
	}
	decoded, err := Decode([]byte(record))
	if err != nil {
		t.Fatal(err)
	}
	return x.eval(t.Context(), decoded)
}

const sample = `{
	"big": 9007199254740993, "huge": 123456789012345678901234567890, "price": 12.30, "whole": 12.0, "n": 12, "tiny": 1e-20,
	"list": [1, 2.50, "a"], "nested": [{"a": 1.0}], "text": "Hello", "none": null, "cents": 1999, "mixed": [2, 1.5, 1],
	"spaced": "2026-01-02 15:04:05.120Z", "millis": 1767225600123, "seconds": 1767225600.5, "labels": [{"name": "b"}, {"name": "a"}]
}`

func TestExpressionsCalculateExactly(t *testing.T) {
	for text, want := range map[string]any{
		// 64-bit and larger integers.
		`record.big`:                     json.Number("9007199254740993"),
		`record.big == 9007199254740993`: true,
		`record.big == 9007199254740992`: false,
		`record.huge`:                    json.Number("123456789012345678901234567890"),
		`record.huge + 1`:                json.Number("123456789012345678901234567891"),
		`1 + record.huge`:                json.Number("123456789012345678901234567891"),
		`record.huge > record.big`:       true,
		`record.big < record.huge`:       true,
		`string(record.huge)`:            "123456789012345678901234567890",
		`string(record.big)`:             "9007199254740993",
		// Decimals compared with literals, integers and each other, from both sides.
		`record.price == 12.3`:                             true,
		`12.3 == record.price`:                             true,
		`record.price != 12.30000000000000000000000000001`: true,
		`record.price < 12.30000000000000000000000000001`:  true,
		`record.whole == 12`:                               true,
		`12 == record.whole`:                               true,
		`record.n == 12.0`:                                 true,
		`12.0 == record.n`:                                 true,
		`record.n == record.whole`:                         true,
		`record.n < 12.5`:                                  true,
		`12.5 > record.n`:                                  true,
		`record.n >= record.whole`:                         true,
		`5u < record.price`:                                true,
		`record.price == -12.3`:                            false,
		`record.price > -1.5e3`:                            true,
		`record.price > - 0.5 && record.price > .5`:        true,
		`record.tiny == 0.00000000000000000001`:            true,
		`0.1 + 0.2 == 0.3`:                                 true,
		`record.price in [1, 12.3]`:                        true,
		`12 in [record.whole]`:                             true,
		`record.list == [1.0, 2.5, 'a']`:                   true,
		`[1.0, 2.5, 'a'] == record.list`:                   true,
		`record.nested == [{'a': 1}]`:                      true,
		`record.nested != [{'a': 2}]`:                      true,
		`{'a': 1} == {'a': 1, 'b': 1}`:                     false,
		`record.none == null`:                              true,
		`record.price == null`:                             false,
		`record.text == 1.5`:                               false,
		`record.list.exists(x, x == 2.5)`:                  true,
		// Arithmetic.
		`record.price + 0.7`:          json.Number("13.00"),
		`record.n + 0.5`:              json.Number("12.5"),
		`0.5 - record.n`:              json.Number("-11.5"),
		`record.price * 3`:            json.Number("36.90"),
		`-record.price`:               json.Number("-12.30"),
		`record.n / 5`:                json.Number("2"),
		`record.n / 5.0`:              json.Number("2.4"),
		`decimal(record.n) / 5`:       json.Number("2.4"),
		`record.cents / 100.0`:        json.Number("19.99"),
		`decimal(record.cents) / 100`: json.Number("19.99"),
		`(10.0 / 3).round(2)`:         json.Number("3.33"),
		`(2.0 / 3).round(2)`:          json.Number("0.67"),
		`(-2.5).round(0)`:             json.Number("-3"),
		`10.0 / 3`:                    json.Number("3.333333333333333333333333333333333"),
		`record.huge / 1.0`:           json.Number("123456789012345678901234567890"),
		`decimal('1e40') / 3`:         json.Number("3333333333333333333333333333333333333333.333333333333333333333"),
		`int(record.price)`:           json.Number("12"),
		`int(-12.9)`:                  json.Number("-12"),
		`decimal('12.30')`:            json.Number("12.30"),
		`record.n % 5`:                json.Number("2"),
		`string(record.price)`:        "12.30",
		`dyn([2.5, 1.5]).sort()`:      []any{json.Number("1.5"), json.Number("2.5")},
		// Lists by value.
		`[1.0, 1, 2].distinct()`:                   []any{json.Number("1.0"), json.Number("2")},
		`[1, 1.0, dyn('a'), 'a'].distinct()`:       []any{json.Number("1"), "a"},
		`[{'a': 1.0}, {'a': 1}].distinct().size()`: json.Number("1"),
		`['1', 1].distinct().size()`:               json.Number("2"),
		`dyn(1.0) in {1: 'a'}`:                     true,
		`dyn(1.5) in {1: 'a'}`:                     false,
		`record.mixed.sort()`:                      []any{json.Number("1"), json.Number("1.5"), json.Number("2")},
		`record.mixed.sortBy(x, -x)`:               []any{json.Number("2"), json.Number("1.5"), json.Number("1")},
		`[2.5, 1.5].sort()`:                        []any{json.Number("1.5"), json.Number("2.5")},
		`[1] + [2] + [3]`:                          []any{json.Number("1"), json.Number("2"), json.Number("3")},
		// Strings, times, optional access.
		`record.text.lowerAscii() + '!'`:                     "hello!",
		`record.labels.map(l, l.name).sort().join(',')`:      "a,b",
		`timestamp(record.spaced)`:                           time.Date(2026, 1, 2, 15, 4, 5, 120e6, time.UTC),
		`timestamp(record.spaced) < timestamp('2026-01-03')`: true,
		`timestamp(record.spaced).getFullYear()`:             json.Number("2026"),
		`unixMillis(record.millis)`:                          time.UnixMilli(1767225600123).UTC(),
		`timestamp(1767225600)`:                              time.Unix(1767225600, 0).UTC(),
		`timestamp(record.seconds)`:                          time.Unix(1767225600, 5e8).UTC(),
		`has(record.missing)`:                                false,
		`has(record.none)`:                                   true,
		`record.?missing`:                                    nil,
		`record.?missing.orValue('x')`:                       "x",
		`record.?text.orValue('x')`:                          "Hello",
		`record.text.matches('^H')`:                          true,
		`record.nested[0]`:                                   map[string]any{"a": json.Number("1.0")},
		`{'a': [record.price, record.none]}`:                 map[string]any{"a": []any{json.Number("12.30"), nil}},
		`record.list + [true]`:                               []any{json.Number("1"), json.Number("2.50"), "a", true},
		`{'at': timestamp(record.spaced)}`:                   map[string]any{"at": time.Date(2026, 1, 2, 15, 4, 5, 120e6, time.UTC)},
	} {
		t.Run(text, func(t *testing.T) {
			got, err := evaluate(t, text, sample)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("result (-want +got):\n%s", d)
			}
		})
	}
}

func TestExpressionsFailForARecord(t *testing.T) {
	for text, want := range map[string]string{
		`record.missing`:                            "test it with has()",
		`record.none.name`:                          "",
		`record.price / 0`:                          "division by zero",
		`record.text + 1.5`:                         "no such overload",
		`record.text < 1.5`:                         "no such overload",
		`1.5 < record.text`:                         "no such overload",
		`-record.text`:                              "no such overload",
		`int(record.huge)`:                          "does not fit",
		`int(record.text)`:                          "conversion error",
		`decimal(record.text)`:                      "not a number",
		`duration(record.text)`:                     "conversion error",
		`timestamp(decimal('9223372036854775807'))`: "years",
		`timestamp(decimal('1e30'))`:                "years",
		`timestamp(-1e11)`:                          "years",
		`timestamp(record.text)`:                    "not a time",
		`(1.0).round(100000)`:                       "digits",
		`decimal('1e900') * decimal('1e900')`:       "more than 1000 digits",
		`decimal('1e900') + decimal('1e-900')`:      "more than 1000 digits",
		`decimal('1e-900') / decimal('1e900')`:      "more than 1000 digits",
		`unixMillis(9223372036854775807)`:           "years",
		`record.list.sort()`:                        "one kind",
		`bytes(record.text)`:                        "string(...)",
		`duration('1h')`:                            "string(...)",
		`{1: 2}`:                                    "keys are strings",
		`record.list.map(a, lists.range(1000).map(b, lists.range(1000).map(c, c)))`: "costs more",
	} {
		t.Run(text, func(t *testing.T) {
			got, err := evaluate(t, text, sample)
			if _, ok := errors.AsType[*RecordError](err); !ok || !strings.Contains(err.Error(), want) {
				t.Errorf("gave %v and error %v, want a record error with %q", got, err, want)
			}
		})
	}
}

func TestExpressionsThatDoNotCompile(t *testing.T) {
	tests := map[string]struct {
		text         string
		want         string
		line, column int
	}{
		"syntax":                    {`record.`, "Syntax error", 1, 8},
		"unknown variable":          {"record.a ==\n  rekord.b", "undeclared reference to 'rekord'", 2, 3},
		"unknown function":          {`record.a.lower()`, "undeclared reference to 'lower'", 1, 15},
		"double":                    {`double(record.a)`, "use decimal()", 1, 7},
		"wrong operands":            {`1.5 + 'a'`, "no matching overload", 1, 5},
		"int and decimal in ==":     {`1 == 1.5`, "no matching overload", 1, 3},
		"bad decimal":               {`decimal('1,5')`, "not a number", 1, 8},
		"bad timestamp":             {`timestamp('soon')`, "invalid timestamp argument", 1, 11},
		"bad pattern":               {`record.a.matches('(')`, "invalid matches argument", 1, 18},
		"pattern from the record":   {`record.a.matches(record.b)`, "literal", 1, 17},
		"pattern that is too long":  {`record.a.matches('` + strings.Repeat("a", maxPattern+1) + `')`, "longer", 1, 17},
		"pattern that repeats":      {`record.a.matches('a{900}b{900}c{900}d{900}e{900}f{900}')`, "repeats", 1, 17},
		"literal beyond doubles":    {`record.a < 1e400`, "write this number as decimal('...')", 1, 12},
		"literal beyond the digits": {`record.a < 1e5000`, "decimal('...')", 1, 12},
		"expression too long":       {strings.Repeat("1+", maxExpression) + "1", "longer", 0, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, problems := compileExpression(recordVariable, tc.text)
			if len(problems) == 0 {
				t.Fatal("compiled, want a problem")
			}
			p := problems[0]
			if !strings.Contains(p.Message, tc.want) || p.Line != tc.line || p.Column != tc.column {
				t.Errorf("problem is %q at %d:%d, want %q at %d:%d", p.Message, p.Line, p.Column, tc.want, tc.line, tc.column)
			}
		})
	}
}
