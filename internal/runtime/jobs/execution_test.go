package jobs_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// overdue lets a run's deadline pass by d, as if it had been so long ago.
func (q *queue) overdue(run int64, d time.Duration) {
	q.t.Helper()
	q.exec(`UPDATE run SET deadline_at = clock_timestamp() - $2::bigint * interval '1 ms' WHERE id = $1`, run, d.Milliseconds())
	q.exec(`UPDATE deadline SET at = clock_timestamp() WHERE run = $1`, run)
}

// A handler that ignores its context: its worker is alive and renews, so no lease runs out. The sweep ends the run 15 s
// after its deadline; the handler keeps its slot and its lane, and can do nothing to the run any more.
func TestTheSweepEndsARunWhoseHandlerIgnoresItsDeadlineW11(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Deadline: time.Hour, Lane: "l"})
	next := q.start(jobs.StartParams{Lane: "l"})
	c := q.claimOne(inc)
	q.overdue(run, 14*time.Second)
	q.sweep()
	if s := q.status(run); s != "running" {
		t.Fatalf("14 s after its deadline the run is %s: its worker had not the time to stop the handler", s)
	}
	q.overdue(run, 16*time.Second)
	if n := q.sweep().Ended; n != 1 {
		t.Errorf("the sweep ended %d runs, want 1", n)
	}
	q.wantPlace(run, "timed_out", "none")
	want := "1 timed_out deadline pod"
	if got := one[string](q, `SELECT number || ' ' || outcome || ' ' || error_code || ' ' || pod FROM attempt WHERE run = $1`, run); got != want {
		t.Errorf("the attempt's row is %q, want %q", got, want)
	}
	if got := q.claim(inc, 5); len(got) != 0 {
		t.Error("the lane was given away while its handler runs")
	}
	if n := one[int](q, `SELECT count(*)::int FROM completing WHERE run = $1`, run); n != 1 {
		t.Error("nothing keeps the run from being replayed under its handler")
	}
	if _, err := jobs.Step(t.Context(), c, "late", fails); err == nil || q.stepRow(run, "late") != "none" {
		t.Error("the late handler wrote a step")
	}
	mustIs(t, jobs.Fence(t.Context(), q.begin(), c), jobs.ErrLeaseLost, "a fence of the late handler")
	before := one[string](q, `SELECT to_jsonb(r)::text FROM run r WHERE id = $1`, run)
	if r := q.settle(inc, completed(c)); r[0] != jobs.Lost {
		t.Errorf("the late result is answered %s, want lost", r[0])
	}
	if after := one[string](q, `SELECT to_jsonb(r)::text FROM run r WHERE id = $1`, run); after != before {
		t.Errorf("the late result changed the run from %s to %s", before, after)
	}
	if n := one[int](q, `SELECT count(*)::int FROM completing`); n != 0 {
		t.Error("the run cannot be replayed though its handler has stopped")
	}
	if got := q.claimOne(inc); got.RunID != next {
		t.Errorf("claimed run %d, want the lane's next, %d", got.RunID, next)
	}
	q.check()
}

// The deadline of a run whose worker is dead is the receipts' business: nothing is ended twice.
func TestAnOverdueRunOfADeadWorkerEndsWithItsReceiptW11(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Deadline: time.Hour})
	q.claimOne(inc)
	q.overdue(run, time.Minute)
	q.expire(inc)
	q.sweep()
	q.wantPlace(run, "timed_out", "none")
	if n := one[int](q, `SELECT count(*)::int FROM completing`); n != 0 {
		t.Error("a dead worker's run cannot be replayed")
	}
	q.check()
}

// A run that a handler's open transaction holds is met by the next sweep; nobody waits.
func TestAnOverdueRunThatIsBusyIsMetNextTimeW11(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Deadline: time.Hour})
	c := q.claimOne(inc)
	q.overdue(run, time.Minute)
	tx := q.begin()
	if err := jobs.Complete(t.Context(), tx, c, json.RawMessage(`{}`)); err != nil {
		t.Fatal(err)
	}
	q.sweep()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.exec(`UPDATE deadline SET at = clock_timestamp()`)
	q.sweep()
	q.wantPlace(run, "completed", "none")
	q.check()
}

func TestEveryAttemptThatDidNotSucceedIsOnRecordW15(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	a, b := q.register(), q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(a)
	q.settle(a, jobs.TypeConfig{Retry: jobs.RetryPolicy{Base: time.Nanosecond}}.Settle(c, nil, jobs.WithCode("http_503", errBoom), nil))
	q.claimOne(a)
	q.expire(a)
	q.sweep()
	c = q.claimOne(b)
	q.giveBack(b, c)
	c = q.claimOne(b)
	err := jobs.Sleep(t.Context(), c, "nap", time.Hour)
	q.park(b, c, err)
	q.exec(`UPDATE waiting SET wake_at = clock_timestamp()`)
	q.sweep()
	q.exec(`UPDATE run SET replays = 3`) // the numbers of later lives stand beside
	c = q.claimOne(b)
	q.settle(b, jobs.TypeConfig{}.Settle(c, nil, errBoom, jobs.ErrDeadline))
	got := one[string](q, `
SELECT string_agg(format('%s/%s %s %s %s%s', number, replay, outcome, error_code, CASE worker WHEN $2 THEN 'a' WHEN $3 THEN 'b' END,
  CASE WHEN pod = 'pod' AND started_at <= finished_at AND error <> '' THEN '' ELSE ' (incomplete)' END), ', ' ORDER BY number)
FROM attempt WHERE run = $1`, run, a.ID, b.ID)
	want := "1/0 retried http_503 a, 2/0 lost worker_lost a, 3/0 given_back stopped b, 4/0 parked time b, 5/3 timed_out deadline b"
	if got != want {
		t.Errorf("attempts are\n%s, want\n%s", got, want)
	}
}

func TestACompletedRunShowsNoErrorW61(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	q.settle(inc, retried(c, false))
	q.exec(`UPDATE run SET error = 'old', error_code = 'old'`) // as one that failed and was replayed
	c = q.claimOne(inc)
	q.settle(inc, completed(c))
	if s := one[string](q, `SELECT coalesce(error_code, '-') || coalesce(error, '-') || attempts FROM run WHERE id = $1`, run); s != "--2" {
		t.Errorf("a completed run's code, error and attempts are %q", s)
	}
	if n := one[int](q, `SELECT count(*)::int FROM attempt WHERE run = $1 AND outcome = 'retried' AND error = 'again'`, run); n != 1 {
		t.Error("the failed attempt is not on record")
	}
}

// The output is looked at before it is settled: what cannot be stored fails its run at once, and nothing is executed again.
func TestAnOutputThatCannotBeStoredFailsItsRunOnceW55(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ output, code string }{
		"no JSON":    {`{"half":`, "invalid_output"},
		"a NUL":      {`"\u0000"`, "invalid_output"},
		"large W66":  {`"` + strings.Repeat("x", 300) + `"`, "output_too_large"},
		"acceptable": {`"` + strings.Repeat("x", 90) + `"`, "completed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			inc := q.register()
			run := q.start(jobs.StartParams{})
			other := q.start(jobs.StartParams{})
			c := q.claim(inc, 2)
			config := jobs.TypeConfig{MaxOutput: 100}
			s := config.Settle(c[0], json.RawMessage(test.output), nil, jobs.ErrDraining)
			q.settle(inc, s, completed(c[1]))
			got := one[string](q, `SELECT CASE status WHEN 'failed' THEN error_code ELSE status END || attempts FROM run WHERE id = $1`, run)
			if got != test.code+"1" || q.status(other) != "completed" {
				t.Errorf("the run ended as %s (%+v), the other one is %s", got, s, q.status(other))
			}
		})
	}
}

func TestARedactionHookThatPanicsWithholdsTheMessageW66(t *testing.T) {
	t.Parallel()
	config := jobs.TypeConfig{Redact: func(string) string { panic("hook") }}
	s := config.Settle(&jobs.Claim{Attempt: 1}, nil, errors.New("s3cret"), nil)
	if s.Outcome != jobs.Retried || strings.Contains(s.Message, "s3cret") || s.Message == "" {
		t.Errorf("settled as %s with the message %q", s.Outcome, s.Message)
	}
}

// W22: what was ended between its claim and its give-back stays ended.
func TestAGiveBackOfAnEndedRunChangesNothingW22(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Deadline: time.Hour})
	c := q.claimOne(inc)
	q.overdue(run, time.Minute)
	q.sweep()
	q.giveBack(inc, c)
	q.settle(inc, retried(c, false))
	q.wantPlace(run, "timed_out", "none")
	if n := one[int](q, `SELECT count(*)::int FROM receipt`); n != 0 {
		t.Error("the receipt of an ended run stays")
	}
	q.check()
}
