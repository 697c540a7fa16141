package jobs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func TestCancelScopeIsSetBasedAndPagedW75(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	ended := q.start(jobs.StartParams{Scope: "order/7"})
	q.settle(inc, completed(q.claimOne(inc)))
	running := q.start(jobs.StartParams{Scope: "order/7"})
	c := q.claimOne(inc)
	child := q.spawn(c, "line", jobs.StartParams{Delay: time.Hour})
	pending := q.starts(5, jobs.StartParams{Scope: "order/7"})
	other, foreign := q.start(jobs.StartParams{Scope: "order/8"}), q.start(jobs.StartParams{Scope: "order/7", Tenant: "t"})

	s := q.count()
	p := jobs.ScopeParams{Scope: "order/7", MaxRuns: 4}
	var total jobs.ScopeResult
	pages := 0
	for next := int64(1); next != 0; p.After = next {
		r, err := jobs.CancelScope(t.Context(), q.db, p, "ann", "gone")
		if err != nil {
			t.Fatal(err)
		}
		total.Changed, total.Requested, next = total.Changed+r.Changed, total.Requested+r.Requested, r.Next
		pages++
	}
	if n := s.take(); pages != 2 || n != 2 || total.Changed != 5 || total.Requested != 1 {
		t.Fatalf("%d pages in %d statements changed %+v, want 2 with 5 cancelled and 1 asked", pages, n, total)
	}
	for _, run := range append(pending, child) {
		q.wantPlace(run, "cancelled", "none")
	}
	q.wantPlace(ended, "completed", "none")
	q.wantPlace(running, "running", "receipt")
	q.wantPlace(other, "pending", "ready")
	q.wantPlace(foreign, "pending", "ready")
	if r := q.beat(q.renewal(), inc, jobs.BeatParams{Number: 1}); len(r.Cancels) != 1 || r.Cancels[0].By != "ann" {
		t.Errorf("the beat carries %+v", r.Cancels)
	}
	q.check()
}

// What escapes is a run whose start has not committed yet: another pass from the beginning finds it, one that goes on after
// the last page does not, because its id is lower.
func TestCancelScopeSeesWhatHasCommittedW75(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	starter := q.begin()
	p := jobs.StartParams{Type: jobType, Pool: pool, Scope: "s"}
	escaped, err := jobs.Start(t.Context(), starter, p)
	if err != nil {
		t.Fatal(err)
	}
	seen := q.start(p)
	pass := func(after int64, want int) {
		t.Helper()
		r, err := jobs.CancelScope(t.Context(), q.db, jobs.ScopeParams{Scope: "s", After: after}, "ann", "gone")
		if err != nil || r != (jobs.ScopeResult{Changed: want}) {
			t.Fatalf("a pass after run %d answered %+v, %v, want %d cancelled", after, r, err, want)
		}
	}
	pass(0, 1)
	q.wantPlace(seen, "cancelled", "none")
	commit(t, starter)
	q.wantPlace(escaped.RunID, "pending", "ready")
	pass(seen, 0)
	pass(0, 1)
	q.wantPlace(escaped.RunID, "cancelled", "none")
	later := q.start(p)
	q.wantPlace(later, "pending", "ready")
	q.check()
}

func TestCancelScopeWaitsForNobody(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	in := jobs.StartParams{Scope: "s"}
	parked := q.start(in)
	c := q.claimOne(inc)
	_, err := q.waits(c, "go")
	q.park(inc, c, err)
	laned := jobs.StartParams{Lane: "a"}
	q.start(laned)
	laned.Scope = in.Scope
	places := map[string]int64{"waiting": parked, "blocked": q.start(laned)}
	q.claim(inc, 2)
	places["ready"] = q.start(in)
	in.Delay = time.Hour
	places["scheduled"] = q.start(in)
	tx := q.begin()
	for table, run := range places {
		q.wantPlace(run, "pending", table)
		if _, err := tx.Exec(t.Context(), `SELECT FROM `+table+` WHERE id = $1 FOR UPDATE`, run); err != nil {
			t.Fatal(err)
		}
	}
	places["run"] = q.start(in)
	if _, err := tx.Exec(t.Context(), `SELECT FROM run WHERE id = $1 FOR UPDATE`, places["run"]); err != nil {
		t.Fatal(err)
	}
	q.impatient()
	r, err := jobs.CancelScope(t.Context(), q.db, jobs.ScopeParams{Scope: "s"}, "ann", "gone")
	if err != nil || r != (jobs.ScopeResult{Requested: len(places)}) {
		t.Fatalf("cancel answered %+v, %v, want a request for each run that somebody has", r, err)
	}
	q.sweep()
	commit(t, tx)
	q.sweep()
	for _, run := range places {
		q.wantPlace(run, "cancelled", "none")
	}
}

func TestRescheduleScopeMovesPendingRunsAndWakes(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	p := jobs.StartParams{Scope: "s"}
	running, retry := q.start(p), q.start(p)
	claims := q.claim(inc, 2)
	q.settle(inc, jobs.Settlement{Claim: claims[1], Outcome: jobs.Retried, Delay: time.Hour})
	due := q.start(p)
	p.Delay = 2 * time.Hour
	later := q.start(p)
	foreign := q.start(jobs.StartParams{Scope: "s", Tenant: "t", Delay: time.Hour})

	move := func(delay time.Duration, want int) {
		t.Helper()
		r, err := jobs.RescheduleScope(t.Context(), q.db, jobs.ScopeParams{Scope: "s"}, delay)
		if err != nil || r != (jobs.ScopeResult{Changed: want}) {
			t.Fatalf("reschedule answered %+v, %v, want %d moved", r, err, want)
		}
		q.check()
	}
	move(30*time.Minute, 3)
	for _, run := range []int64{retry, due, later} {
		q.wantPlace(run, "pending", "scheduled")
		if n := one[int](q, `
SELECT (extract(epoch FROM s.run_at - clock_timestamp()) / 60)::int
FROM scheduled s JOIN run r ON r.id = s.id AND r.run_at = s.run_at WHERE s.id = $1`, run); n != 30 {
			t.Errorf("run %d is due in %d minutes, want 30", run, n)
		}
	}
	listener := q.listen()
	move(0, 3)
	q.wantNotifications(listener, "a reschedule to now", pool)
	for _, run := range []int64{retry, due, later} {
		q.wantPlace(run, "pending", "ready")
	}
	move(0, 0)
	q.wantPlace(running, "running", "receipt")
	q.wantPlace(foreign, "pending", "scheduled")
	if _, err := jobs.RescheduleScope(t.Context(), q.db, jobs.ScopeParams{Scope: "s"}, -time.Second); err == nil {
		t.Error("a negative delay is accepted")
	}
}

func TestRescheduleScopeTakesRunsOutOfALane(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	p := jobs.StartParams{Scope: "s", Lane: "a"}
	q.starts(2, p)
	q.wantClaims(inc, 5, 1)
	q.wantPlace(2, "pending", "blocked")
	if r, err := jobs.RescheduleScope(t.Context(), q.db, jobs.ScopeParams{Scope: "s"}, time.Hour); err != nil || r.Changed != 1 {
		t.Fatalf("reschedule answered %+v, %v", r, err)
	}
	q.wantPlace(2, "pending", "scheduled")
}

// A run that is moved from one place to another while a reschedule waits for it is found where it stands then.
func TestRescheduleScopeFindsARunThatMovesMeanwhile(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{Scope: "s", Delay: time.Hour})
	promoting := q.begin()
	for _, sql := range []string{`UPDATE scheduled SET run_at = clock_timestamp()`, `SELECT promote('p')`} {
		if _, err := promoting.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	moved := background(func() error {
		r, err := jobs.RescheduleScope(t.Context(), q.db, jobs.ScopeParams{Scope: "s"}, time.Hour)
		if err == nil && r.Changed != 1 {
			err = fmt.Errorf("reschedule moved %d runs, want 1", r.Changed)
		}
		return err
	})
	q.awaitWaiter()
	commit(t, promoting)
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	q.wantPlace(run, "pending", "scheduled")
}
