package mapping

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// heavy is a record of a few megabytes.
func heavy() map[string]any {
	members, numbers := map[string]any{}, []any{}
	for i := range 50_000 {
		members["k"+strconv.Itoa(i)] = json.Number("1")
		numbers = append(numbers, json.Number(strconv.Itoa(i)))
	}
	s := strings.Repeat("ab", 1<<20)
	return map[string]any{
		"s": s, "mid": s[:20_000], "l": numbers, "few": numbers[:1000], "m": members, "huge": json.Number(strings.Repeat("9", 990)), "zone": "Europe/Berlin",
	}
}

// Each of these took seconds, minutes or terabytes, or would if its function were forgotten in the prices: the rounds
// of its macro alone are affordable.
func TestNoExpressionGetsAwayWithMoreThanItsLimit(t *testing.T) {
	record := heavy()
	for _, text := range []string{
		`record.s.replace('', record.s)`,
		`record.mid.replace('', record.mid)`,
		`record.s.split('')`,
		`record.mid.split('').join(record.mid)`,
		`record.few.map(x, 'ab').join(record.s)`,
		`record.s + record.s`,
		`bytes(record.s) + bytes(record.s)`,
		`record.few.all(x, record.mid.reverse() != '')`,
		`record.few.all(x, (x > -1 ? record.mid : '').reverse() != '')`,
		`record.few.all(x, record.l.reverse() != [])`,
		`record.few.all(x, record.mid.lowerAscii() != '')`,
		`record.few.all(x, record.mid.upperAscii() != '')`,
		`record.few.all(x, record.mid.trim() != '')`,
		`record.few.all(x, record.mid.charAt(1) != '')`,
		`record.few.all(x, record.mid.substring(1) != '')`,
		`record.few.all(x, strings.quote(record.mid) != '')`,
		`record.few.all(x, '%s'.format([record.mid]) != '')`,
		`record.few.all(x, record.mid.indexOf('zz') < 0)`,
		`record.few.all(x, record.mid.lastIndexOf('zz') < 0)`,
		`record.mid.indexOf(record.mid.substring(10))`,
		`record.mid.matches('(a|b)*(x{900}|y{900}|c)$')`,
		`record.few.all(x, size(record.mid) > 0)`,
		`record.few.all(x, x in record.l)`,
		`record.few.all(x, record.l == record.l)`,
		`record.few.all(x, record.m == record.m)`,
		`record.few.all(x, record.l + record.l != [])`,
		`record.few.all(x, record.m.exists(k, true))`,
		`record.few.all(x, timestamp('2026-01-01').getHours(record.zone) >= 0)`,
		`record.few.all(x, record.huge * record.huge > 0)`,
		`record.few.all(x, record.l.sort() != [])`,
		`record.few.all(x, record.l.distinct() != [])`,
		`record.l.sortBy(x, -x)`,
		`record.few.map(x, record.s)`,
		`record.few.map(x, [record.s])`,
		"[" + strings.Repeat("record.s, ", 8) + "record.s]",
		`record.l.filter(x, false)`,
		`lists.range(10000000)`,
	} {
		t.Run(text, func(t *testing.T) {
			x, problems := compileExpression(recordVariable, text)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := x.eval(t.Context(), record)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), "costs more") && !strings.Contains(err.Error(), "larger") {
				t.Errorf("error is %v, want a refusal", err)
			}
			const most = 256 << 20
			if got := after.TotalAlloc - before.TotalAlloc; got > most {
				t.Errorf("allocated %d bytes in all, want at most %d", got, most)
			}
		})
	}
}

func TestOrdinaryExpressionsStayFarBelowTheLimit(t *testing.T) {
	record := heavy()
	record["l"] = record["l"].([]any)[:2000]
	for _, text := range []string{
		`record.mid.lowerAscii().replace('a', 'xyz').split('b').size()`,
		`record.l.filter(x, x > 100).map(x, string(x)).join(', ')`,
		`record.l.map(x, x * 1.5).sort()`,
		`record.l.distinct()`,
		`record.s`,
		`record.s.startsWith('ab') || record.mid == 'x'`,
	} {
		x, problems := compileExpression(recordVariable, text)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if _, err := x.eval(t.Context(), record); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestApplyStopsWithItsContext(t *testing.T) {
	p := mustCompile(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("lease lost")
	cancel(lost)
	if _, err := p.Apply(ctx, map[string]any{"id": "x", "state": ""}); !errors.Is(err, lost) {
		t.Errorf("error is %v, want the cause of the context", err)
	}
}

func TestAMacroStopsWithItsContext(t *testing.T) {
	x, problems := compileExpression(bodyVariable, `body.all(a, body.all(b, body.all(c, true)))`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := x.program.ContextEval(ctx, map[string]any{bodyVariable: make([]any, 1000), meterVariable: &meter{1 << 62}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that of the context", err)
	}
}

func TestEveryFunctionHasAnOperationToMeter(t *testing.T) {
	env := environments[recordVariable]()
	// These take errors for arguments, or are no calls in a plan.
	apart := map[string]bool{
		"_?._": true, "_[?_]": true, "or": true, "orValue": true, "_&&_": true, "_||_": true, "_?_:_": true, "@not_strictly_false": true,
		"__not_strictly_false__": true,
	}
	for name := range env.Functions() {
		_, bound := env.planner.operations[name]
		_, exact := exactOperators[name]
		if !bound && !exact && !apart[name] {
			t.Errorf("%s has no operation", name)
		}
	}
}
