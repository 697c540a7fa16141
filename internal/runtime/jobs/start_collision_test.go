package jobs_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

const many = 12

// atOnce starts many runs at the same time, each over a connection of its own, and gives the results and errors.
func (q *queue) atOnce(p jobs.StartParams) ([]jobs.StartResult, []error) {
	var wg sync.WaitGroup
	results, failures := make([]jobs.StartResult, many), make([]error, many)
	for i := range many {
		wg.Go(func() { results[i], failures[i] = jobs.Start(q.t.Context(), q.db, p) })
	}
	wg.Wait()
	return results, failures
}

func inLane(c jobs.Collision) jobs.StartParams {
	return jobs.StartParams{Type: jobType, Pool: pool, Lane: "a", Collision: c}
}

func TestRejectAdmitsOneOfManyAtOnceW29(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	results, failures := q.atOnce(inLane(jobs.CollisionReject))
	var admitted int64
	for i, err := range failures {
		if err == nil {
			if admitted != 0 {
				t.Fatalf("runs %d and %d were both admitted", admitted, results[i].RunID)
			}
			admitted = results[i].RunID
		}
	}
	for _, err := range failures {
		collision, ok := errors.AsType[*jobs.CollisionError](err)
		if err != nil && (!ok || collision.RunID != admitted) {
			t.Errorf("a start was refused with %v, want a collision with run %d", err, admitted)
		}
	}
	if n := one[int](q, `SELECT count(*)::int FROM run`); n != 1 {
		t.Fatalf("%d runs are there, want 1", n)
	}
}

func TestRejectLooksInEveryPlaceOfALaneW29(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	refused := func(what string, run int64) {
		t.Helper()
		_, err := jobs.Start(t.Context(), q.db, inLane(jobs.CollisionReject))
		collision, ok := errors.AsType[*jobs.CollisionError](err)
		if !ok || collision.RunID != run || !errors.Is(err, jobs.ErrCollision) {
			t.Fatalf("while the lane's run is %s a start is answered %v, want a collision with run %d", what, err, run)
		}
	}
	run := q.start(jobs.StartParams{Lane: "a", Delay: time.Hour})
	refused("scheduled", run)
	q.exec(`UPDATE scheduled SET run_at = clock_timestamp()`)
	q.sweep()
	refused("ready", run)
	c := q.claimOne(inc)
	refused("running", run)
	_, err := q.waits(c, "go")
	q.park(inc, c, err)
	refused("waiting", run)
	q.signal(run, "go", `{}`)
	q.settle(inc, completed(q.claimOne(inc)))
	if _, err := jobs.Start(t.Context(), q.db, inLane(jobs.CollisionReject)); err != nil {
		t.Fatalf("a start in a free lane: %v", err)
	}
}

// Two keys may have one hash: they are no collision.
func TestRejectLooksAtTheKeyItself(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	other := q.start(jobs.StartParams{Lane: "b"})
	run := q.start(inLane(jobs.CollisionReject))
	for _, table := range []string{"run", "ready"} {
		q.exec(`UPDATE `+table+` SET lane = (SELECT lane FROM run WHERE id = $1) WHERE id = $2`, run, other)
	}
	q.cancelIn(q.db, run, jobs.CancelDone)
	if _, err := jobs.Start(t.Context(), q.db, inLane(jobs.CollisionReject)); err != nil {
		t.Fatalf("a start in a free lane: %v", err)
	}
}

func TestRejectCountsToTheLanesLimit(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	p := inLane(jobs.CollisionReject)
	p.LaneLimit = 3
	_, failures := q.atOnce(p)
	refused := 0
	for _, err := range failures {
		if errors.Is(err, jobs.ErrCollision) {
			refused++
		}
	}
	if refused != many-3 {
		t.Fatalf("%d of %d starts were refused, want all but 3", refused, many)
	}
}

func TestACollisionNamesTheIncumbentAndNothingElseOfItW36(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	p := inLane(jobs.CollisionReject)
	p.Input, p.Tenant = []byte(`{"secret": "swordfish"}`), "t"
	q.start(p)
	_, err := jobs.Start(t.Context(), q.db, p)
	if !errors.Is(err, jobs.ErrCollision) || strings.Contains(err.Error(), "swordfish") {
		t.Fatalf("the error is %v, want a collision without the incumbent's data", err)
	}
	for name, free := range map[string]jobs.StartParams{
		"another tenant":    {Type: jobType, Pool: pool, Lane: "a", Tenant: "u", Collision: jobs.CollisionReject},
		"no tenant":         {Type: jobType, Pool: pool, Lane: "a", Collision: jobs.CollisionReplace},
		"another type":      {Type: "other", Pool: pool, Lane: "a", Tenant: "t", Collision: jobs.CollisionReplace},
		"another namespace": {Type: jobType, Pool: pool, Lane: "a", LaneNamespace: "n", Tenant: "t", Collision: jobs.CollisionReject},
	} {
		if _, err := jobs.Start(t.Context(), q.db, free); err != nil {
			t.Errorf("a start of %s with an equal key: %v", name, err)
		}
	}
	if n := one[int](q, `SELECT count(*)::int FROM run WHERE status <> 'pending'`); n != 0 {
		t.Errorf("%d runs of others were replaced", n)
	}
}

func TestReplaceWaitsUntilTheIncumbentHasStoppedW32(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first := q.start(inLane(jobs.CollisionQueue))
	queued := q.start(inLane(jobs.CollisionQueue))
	c := q.claimOne(inc)
	second := q.start(inLane(jobs.CollisionReplace))
	q.wantPlace(queued, "cancelled", "none")
	q.wantPlace(first, "running", "receipt")
	if r := q.beat(q.renewal(), inc, jobs.BeatParams{Number: 1}); len(r.Cancels) != 1 || r.Cancels[0].RunID != first {
		t.Fatalf("the beat carries %+v, want a request about run %d", r.Cancels, first)
	}
	q.wantClaims(inc, 5)
	q.settle(inc, jobs.TypeConfig{}.Settle(c, nil, errBoom, &jobs.CancelRequested{By: "replace"}))
	q.wantPlace(first, "cancelled", "none")
	q.wantClaims(inc, 5, second)
	q.check()
}

func TestReplaceGoesOnWhenTheIncumbentsLeaseIsLostW32(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	dead := q.register()
	first := q.start(inLane(jobs.CollisionQueue))
	q.claimOne(dead)
	second := q.start(inLane(jobs.CollisionReplace))
	q.expire(dead)
	q.sweep()
	q.wantPlace(first, "cancelled", "none")
	q.wantClaims(q.register(), 5, second)
}

func TestReplaceIsUndoneWithItsCallersTransactionW33(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	first := q.start(inLane(jobs.CollisionQueue))
	tx := q.begin()
	if _, err := jobs.Start(t.Context(), tx, inLane(jobs.CollisionReplace)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.wantPlace(first, "pending", "ready")
}

func TestReplacesAtOnceAndInOneTransactionLeaveOneRunW33(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	tx := q.begin()
	for range 2 {
		if _, err := jobs.Start(t.Context(), tx, inLane(jobs.CollisionReplace)); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, tx)
	live := func() int { return one[int](q, `SELECT count(*)::int FROM run WHERE status = 'pending'`) }
	if n := live(); n != 1 {
		t.Fatalf("two replaces in one transaction leave %d runs, want 1", n)
	}
	_, failures := q.atOnce(inLane(jobs.CollisionReplace))
	if err := errors.Join(failures...); err != nil {
		t.Fatal(err)
	}
	if n := live(); n != 1 {
		t.Fatalf("%d replaces at once leave %d runs, want 1", many, n)
	}
	q.check()
}

func deduped() jobs.StartParams {
	return jobs.StartParams{Type: jobType, Pool: pool, DedupeKey: "k", DedupeWindow: time.Hour}
}

func TestStartsWithOneDedupeKeyAtOnceMakeOneRunW28W42(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	results, failures := q.atOnce(deduped())
	if err := errors.Join(failures...); err != nil {
		t.Fatal(err)
	}
	var created atomic.Int64
	for _, r := range results {
		if r.RunID != results[0].RunID {
			t.Fatalf("starts with one key gave runs %v", results)
		}
		if r.Created {
			created.Add(1)
		}
	}
	if created.Load() != 1 || one[int](q, `SELECT count(*)::int FROM run`) != 1 {
		t.Fatalf("%d starts say that they created the run, want 1", created.Load())
	}
}

func TestADedupeHitIsTheRunningOrCompletedRunUntilTheWindowEnds(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first := q.start(deduped())
	hit := func(what string) {
		t.Helper()
		if r, err := jobs.Start(t.Context(), q.db, deduped()); err != nil || r.Created || r.RunID != first {
			t.Fatalf("while the run is %s a start is answered %+v, %v, want run %d", what, r, err, first)
		}
	}
	hit("pending")
	c := q.claimOne(inc)
	hit("running")
	q.settle(inc, completed(c))
	hit("completed")
	// The window is on the database's clock: it ends when the row says so.
	q.exec(`UPDATE dedupe SET expires_at = clock_timestamp()`)
	second := q.start(deduped())
	if second == first {
		t.Fatal("a start after the window gave the first run")
	}
}

func TestADedupeKeyIsFreeWhenItsRunEndedWithoutHavingCompletedW28(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	for _, outcome := range []jobs.Outcome{jobs.Failed, jobs.Cancelled, jobs.TimedOut} {
		run := q.start(deduped())
		q.settle(inc, jobs.Settlement{Claim: q.claimOne(inc), Outcome: outcome, Code: "x"})
		if s := q.status(run); s != string(outcome) {
			t.Fatalf("run is %s, want %s", s, outcome)
		}
	}
	q.start(deduped())
	if n := one[int](q, `SELECT count(*)::int FROM dedupe`); n != 1 {
		t.Fatalf("%d rows for one key", n)
	}
}

func TestDedupeKeysBelongToTheirTenantAndTypeW35(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	seen := map[int64]bool{}
	for _, p := range []jobs.StartParams{{}, {Tenant: "a"}, {Tenant: "b"}, {Type: "other", Tenant: "a"}} {
		p.DedupeKey, p.DedupeWindow = "k", time.Hour
		run := q.start(p)
		if seen[run] {
			t.Fatalf("start of tenant %q and type %q found a foreign run", p.Tenant, p.Type)
		}
		seen[run] = true
	}
}

func TestADedupeKeyOfARolledBackStartIsFree(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	tx := q.begin()
	if _, err := jobs.Start(t.Context(), tx, deduped()); err != nil {
		t.Fatal(err)
	}
	var r jobs.StartResult
	done := background(func() (err error) {
		r, err = jobs.Start(t.Context(), q.db, deduped())
		return err
	})
	q.awaitWaiter()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !r.Created {
		t.Fatalf("start answered %+v, %v, want a run of its own", r, err)
	}
}

func TestADedupeHitHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(deduped())
	c := q.claimOne(inc)
	caller := q.begin()
	if _, err := jobs.Start(t.Context(), caller, deduped()); err != nil {
		t.Fatal(err)
	}
	q.impatient()
	q.start(deduped())
	q.settle(inc, jobs.Settlement{Claim: c, Outcome: jobs.Failed, Code: "x"})
	q.start(deduped())
}

// JSON of other languages writes whole numbers with a fraction of zero.
func TestADedupeWindowIsAWholeNumberHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const sql = `SELECT run FROM start('work', '{}', '{"pool": "p", "dedupe_key": "a", "dedupe_window_ms": 3600000.0}')`
	if first, second := one[int64](q, sql), one[int64](q, sql); first != second {
		t.Errorf("two starts within the window gave the runs %d and %d", first, second)
	}
}
