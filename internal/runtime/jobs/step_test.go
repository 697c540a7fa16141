package jobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

var errBoom = errors.New("boom")

// again settles a claim as retried and claims its run again.
func (q *queue) again(inc *jobs.Incarnation, c *jobs.Claim) *jobs.Claim {
	q.t.Helper()
	q.settle(inc, retried(c, true))
	next := q.claimOne(inc)
	if next.RunID != c.RunID {
		q.t.Fatalf("claimed run %d, want %d again", next.RunID, c.RunID)
	}
	return next
}

// step runs a step that must have a result.
func step[T any](t testing.TB, c *jobs.Claim, name string, v T) T {
	t.Helper()
	got, err := jobs.Step(t.Context(), c, name, func(context.Context) (T, error) { return v, nil })
	if err != nil {
		t.Fatalf("step %q: %v", name, err)
	}
	return got
}

func fails(context.Context) (string, error) { return "", errBoom }

// stepRow is what the table says of a step of the run's present life.
func (q *queue) stepRow(run int64, name string) string {
	q.t.Helper()
	return one[string](q, `
SELECT coalesce(max(format('%s %s after %s: %s%s', status, coalesce(output::text, '-'), attempts, coalesce(error_code, ''),
  coalesce(' ' || error, ''))), 'none')
FROM step s WHERE s.run = $1 AND s.name = $2 AND s.replay = (SELECT r.replays FROM run r WHERE r.id = s.run)`, run, name)
}

type payment struct {
	At     time.Time
	Cents  int64
	Labels map[string]string
}

func TestAStepGivesTheSameValueOnEveryExecution(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, run := q.register(), q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	paid := payment{At: time.Now(), Cents: 1 << 60, Labels: map[string]string{"a": "<ü>"}} // with a monotonic reading
	first := step(t, c, "charge", paid)
	raw := step(t, c, "raw", json.RawMessage(`{"b":1,   "a":2, "b":3}`))
	c = q.again(inc, c)
	second, err := jobs.Step(t.Context(), c, "charge", func(context.Context) (payment, error) {
		t.Error("a memoised step was executed")
		return payment{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(first, second); diff != "" || !second.At.Equal(paid.At) || second.Cents != paid.Cents {
		t.Errorf("the second execution's value differs (-first +second):\n%s", diff)
	}
	if again := step(t, c, "raw", json.RawMessage(`1`)); string(again) != string(raw) {
		t.Errorf("raw JSON was %s first and is %s now", raw, again)
	}
	if got := q.stepRow(run, "charge"); !strings.HasPrefix(got, "completed {") || !strings.Contains(got, "after 1:") {
		t.Errorf("the step's row is %q", got)
	}
}

func TestStepsCostFewRoundTrips(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	sent := q.count()
	inc := q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	sent.take()
	step(t, c, "a", 1)
	step(t, c, "b", 2)
	if n := sent.take(); n != 2 {
		t.Errorf("two steps of a first execution sent %d statements, want one each", n)
	}
	c = q.again(inc, c)
	sent.take()
	step(t, c, "a", 1)
	step(t, c, "b", 2)
	if n := sent.take(); n != 1 {
		t.Errorf("two memoised steps sent %d statements, want one for both", n)
	}
}

// W-b completes "charge"; W-a, which lost the run before, ends its own steps late, either way.
func TestALateStepOfALostClaimChangesNothingW3(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	a, b := q.register(), q.register()
	run := q.start(jobs.StartParams{})
	late := q.claimOne(a)
	q.expire(a)
	q.sweep()
	c := q.claimOne(b)
	step(t, c, "charge", "paid by b")
	want := q.stepRow(run, "charge")
	if _, err := jobs.Step(t.Context(), late, "charge", fails); err == nil {
		t.Error("a step that failed has no error")
	}
	pays := func(context.Context) (string, error) { return "paid by a", nil }
	_, err := jobs.Step(t.Context(), late, "charge-2", pays)
	mustIs(t, err, jobs.ErrLeaseLost, "a step of a lost claim")
	_, err = jobs.StepTx(t.Context(), late, "charge-3", func(ctx context.Context, _ pgx.Tx) (string, error) { return pays(ctx) })
	mustIs(t, err, jobs.ErrLeaseLost, "a transactional step of a lost claim")
	_, err = jobs.Step(t.Context(), late, "charge-4", pays, jobs.StepRetry(jobs.RetryPolicy{MaxAttempts: 2}))
	mustIs(t, err, jobs.ErrLeaseLost, "a retried step of a lost claim")
	mustIs(t, jobs.Sleep(t.Context(), late, "nap", time.Hour), jobs.ErrLeaseLost, "a wait of a lost claim")
	if got := q.stepRow(run, "charge"); got != want {
		t.Errorf("the successor's step is %q after the late ones, was %q", got, want)
	}
	if n := one[int](q, `SELECT count(*)::int FROM step`); n != 1 {
		t.Errorf("a lost claim wrote %d steps", n-1)
	}
	q.settle(b, completed(c))
	_, err = jobs.Step(t.Context(), c, "after the end", pays)
	mustIs(t, err, jobs.ErrLeaseLost, "a step of an ended run")
}

func TestACompletedStepIsNeverOverwrittenW3(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{})
	c := q.claimOne(q.register())
	step(t, c, "charge", "paid")
	want := q.stepRow(run, "charge")
	for what, sql := range map[string]string{
		"end":   `SELECT status FROM step_end($1, $2, $3, 'charge', 'failed', NULL, 'error', 'boom', 'x', 9, 0, false)`,
		"begin": `SELECT status FROM step_begin($1, $2, $3, 'charge', 'x')`,
	} {
		if got := one[string](q, sql, c.RunID, c.Worker, c.Token); got != "completed" {
			t.Errorf("%s of a completed step answers %q, want completed", what, got)
		}
	}
	if got := q.stepRow(run, "charge"); got != want {
		t.Errorf("the step is %q, was %q", got, want)
	}
}

func TestParallelStepsHaveNumbersOfTheirOwnW62(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{})
	c := q.claimOne(q.register())
	var together sync.WaitGroup
	for i := range 20 {
		together.Go(func() {
			var opts []jobs.StepOption
			if i%2 == 0 {
				opts = append(opts, jobs.StepRetry(jobs.RetryPolicy{}))
			}
			if _, err := jobs.Step(t.Context(), c, fmt.Sprint("part-", i), func(context.Context) (int, error) { return i, nil }, opts...); err != nil {
				t.Error(err)
			}
		})
	}
	together.Wait()
	got := one[string](q, `SELECT string_agg(seq::text, ' ' ORDER BY seq) FROM step WHERE run = $1`, run)
	if want := "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"; got != want {
		t.Errorf("steps have the numbers %s, want %s", got, want)
	}
}

func TestANameServesOneStepOfAnExecutionW63(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	step(t, c, "charge", "first")
	_, err := jobs.Step(t.Context(), c, "charge", func(context.Context) (string, error) { t.Error("executed"); return "second", nil })
	mustIs(t, err, jobs.ErrStepReused, "the second step of a name")
	if s := (jobs.TypeConfig{}).Settle(c, nil, err, nil); s.Outcome != jobs.Failed || s.Code != "step_reused" {
		t.Errorf("a reused name settles as %s %q, want failed for good", s.Outcome, s.Code)
	}
	mustIs(t, jobs.Sleep(t.Context(), c, "charge", time.Hour), jobs.ErrStepReused, "a wait under the name of a step")
	for _, name := range []string{"", "a\x00", strings.Repeat("x", 201), "\xff"} {
		if _, err := jobs.Step(t.Context(), c, name, fails); err == nil || errors.Is(err, errBoom) {
			t.Errorf("a step named %.10q was executed: %v", name, err)
		}
	}
}

func TestAMemoOfAnotherBuildIsLoggedW63(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	var log bytes.Buffer
	q.store.LendTo(q.db, slog.New(slog.NewTextHandler(&log, nil)))
	inc := q.register() // of build "test"
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	step(t, c, "charge", "first")
	c = q.again(inc, c)
	step(t, c, "charge", "first")
	if log.Len() > 0 {
		t.Errorf("a memo of the same build is logged: %s", &log)
	}
	newer, err := q.store.Register(t.Context(), jobs.WorkerInfo{Pool: pool, Build: "newer", Types: []string{jobType}})
	if err != nil {
		t.Fatal(err)
	}
	q.settle(inc, retried(c, true))
	c = q.claimOne(newer)
	step(t, c, "charge", "first")
	for _, want := range []string{"level=WARN", "step=charge", "memo_build=test", "build=newer"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log says %q, want %q in it", &log, want)
		}
	}
}

func TestAMemoOfAnotherTypeFailsForGood(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	step(t, c, "charge", "text")
	c = q.again(inc, c)
	_, err := jobs.Step(t.Context(), c, "charge", func(context.Context) (int, error) { return 1, nil })
	if s := (jobs.TypeConfig{}).Settle(c, nil, err, nil); s.Outcome != jobs.Failed || s.Code != "invalid_memo" {
		t.Errorf("a memo that cannot be read settles as %s %q: %v", s.Outcome, s.Code, err)
	}
}

func TestStepRetryAndTimeoutAreTheStepsOwnW65(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{})
	c := q.claimOne(q.register())
	quick := jobs.StepRetry(jobs.RetryPolicy{MaxAttempts: 3, Base: time.Millisecond, NonRetryable: []string{"gone"}})
	failing := func(err error) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { return 0, err }
	}
	for name, test := range map[string]struct {
		fn    func(context.Context) (int, error)
		opts  []jobs.StepOption
		calls int32
		row   string
		is    error
	}{
		"without a policy": {fn: failing(errBoom), calls: 1, row: "failed - after 1: error boom", is: errBoom},
		"exhausted":        {fn: failing(errBoom), opts: []jobs.StepOption{quick}, calls: 3, row: "failed - after 3: error boom", is: errBoom},
		"not retryable": {
			fn: failing(jobs.WithCode("gone", errBoom)), opts: []jobs.StepOption{quick},
			calls: 1, row: "failed - after 1: gone boom", is: errBoom,
		},
		"permanent": {
			fn: failing(jobs.Permanent("bad", errBoom)), opts: []jobs.StepOption{quick},
			calls: 1, row: "failed - after 1: bad boom", is: errBoom,
		},
		"put off": {fn: failing(jobs.Snooze(time.Hour, "quota")), opts: []jobs.StepOption{quick}, calls: 1, row: "running - after 1: "},
		"timed out": {
			fn:    func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, errBoom },
			opts:  []jobs.StepOption{quick, jobs.StepTimeout(time.Millisecond)},
			calls: 3, row: "failed - after 3: timeout attempt has timed out after 1ms: boom", is: jobs.ErrTimeout,
		},
	} {
		var calls atomic.Int32
		_, err := jobs.Step(t.Context(), c, name, func(ctx context.Context) (int, error) { calls.Add(1); return test.fn(ctx) }, test.opts...)
		if err == nil || test.is != nil && !errors.Is(err, test.is) || calls.Load() != test.calls {
			t.Errorf("%s: %d executions, want %d; error %v", name, calls.Load(), test.calls, err)
		}
		if row := q.stepRow(run, name); row != test.row {
			t.Errorf("%s: the row is %q, want %q", name, row, test.row)
		}
	}
	var calls int
	got, err := jobs.Step(t.Context(), c, "third time", func(context.Context) (int, error) {
		if calls++; calls < 3 {
			return 0, jobs.RetryAfter(time.Millisecond, errBoom)
		}
		return calls, nil
	}, quick)
	if err != nil || got != 3 || q.stepRow(run, "third time") != "completed 3 after 3: " {
		t.Errorf("the third execution gave %d, %v: %s", got, err, q.stepRow(run, "third time"))
	}
}

// A crash in an execution of a step with a policy of its own counts: the attempt is noted before.
func TestAStepsAttemptsCountOverExecutionsOfTheRunW65(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	a, b := q.register(), q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(a)
	ctx, die := context.WithCancelCause(t.Context())
	_, err := jobs.Step(ctx, c, "charge", func(ctx context.Context) (int, error) {
		die(jobs.ErrLeaseLost)
		return 0, ctx.Err()
	}, jobs.StepRetry(jobs.RetryPolicy{}))
	if err == nil || q.stepRow(run, "charge") != "running - after 1: " {
		t.Fatalf("after a crash the step is %q (%v)", q.stepRow(run, "charge"), err)
	}
	q.expire(a)
	q.sweep()
	step(t, q.claimOne(b), "charge", 1)
	if row := q.stepRow(run, "charge"); row != "completed 1 after 2: " {
		t.Errorf("the step is %q, want it completed by its second execution", row)
	}
}

// What a step has done is noted though its handler is told to stop meanwhile, but not when the lease is gone.
func TestAStepThatIsDoneIsNotedThoughItsContextEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cause error
		row   string
	}{
		"drained":   {jobs.ErrDraining, "completed 1 after 1: "},
		"cancelled": {&jobs.CancelRequested{}, "completed 1 after 1: "},
		"timed out": {jobs.ErrTimeout, "completed 1 after 1: "},
		"fenced":    {jobs.ErrLeaseLost, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			run := q.start(jobs.StartParams{})
			c := q.claimOne(q.register())
			ctx, stop := context.WithCancelCause(t.Context())
			_, err := jobs.Step(ctx, c, "charge", func(context.Context) (int, error) { stop(test.cause); return 1, nil })
			if row := q.stepRow(run, "charge"); row != test.row {
				t.Errorf("the step is %q (%v), want %q", row, err, test.row)
			}
		})
	}
}

func TestOutputsAreBoundedAndMessagesRedactedW66(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{})
	inc := q.register()
	c := q.claimOne(inc)
	config := jobs.TypeConfig{MaxOutput: 100, Redact: func(m string) string { return strings.ReplaceAll(m, "s3cret", "***") }}
	config.Attach(c)
	long := strings.Repeat("x", 200)
	_, err := jobs.Step(t.Context(), c, "large", func(context.Context) (string, error) { return long, nil })
	mustIs(t, err, jobs.ErrOutputTooLarge, "a step with a large result")
	_, err = jobs.StepTx(t.Context(), c, "large tx", func(context.Context, pgx.Tx) (string, error) { return long, nil })
	mustIs(t, err, jobs.ErrOutputTooLarge, "a transactional step with a large result")
	_, err = jobs.Step(t.Context(), c, "nul", func(context.Context) (string, error) { return "\x00", nil })
	mustIs(t, err, jobs.ErrInvalidOutput, "a step with a result that the database refuses")
	_, err = jobs.Step(t.Context(), c, "chan", func(context.Context) (chan int, error) { return nil, nil })
	mustIs(t, err, jobs.ErrInvalidOutput, "a step with a result that is no JSON")
	_, err = jobs.Step(t.Context(), c, "secret", func(context.Context) (int, error) { return 0, errors.New("token s3cret refused") })
	if row := q.stepRow(run, "secret"); !strings.Contains(row, "token *** refused") {
		t.Errorf("the step's row is %q, want the message redacted", row)
	}
	q.settle(inc, config.Settle(c, nil, err, nil))
	if n := one[int](q, `SELECT count(*)::int FROM attempt WHERE error LIKE '%***%' AND error NOT LIKE '%s3cret%'`); n != 1 {
		t.Error("the attempt's message is not redacted")
	}
}
