package jobs_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func TestS5TheSweepTakesEveryReceiptWithoutAWorker(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	q.claimOne(inc)
	// The worker's row went with an earlier sweep, whose put-back did not reach this receipt.
	q.exec(`DELETE FROM worker`)
	if r := q.sweep(); r.Recovered != 1 {
		t.Fatalf("sweep did %+v, want the run recovered", r)
	}
	q.wantPlace(run, "pending", "ready")
	if n := one[int](q, `SELECT lease_losses FROM run`); n != 1 {
		t.Fatalf("run has %d lease losses, want 1", n)
	}
	if n := one[int](q, `SELECT attempts FROM run`); n != 0 {
		t.Fatalf("a lost lease spent %d attempts, want none", n)
	}
	if n := one[int](q, `SELECT count(*) FROM attempt WHERE outcome = 'lost' AND pod = 'pod' AND worker = $1`, inc.ID); n != 1 {
		t.Fatal("no attempt says which worker was lost")
	}
	if n := one[int](q, `SELECT leases_recovered FROM pool`); n != 1 {
		t.Fatalf("the pool counts %d recovered leases, want 1", n)
	}
	q.check()
}

func TestS5TheSweepChecksThatTheRunIsStillTheReceipts(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	dead := q.register()
	q.starts(2, jobs.StartParams{})
	claims := q.claim(dead, 2)
	tx := q.begin()
	if err := jobs.Fence(t.Context(), tx, claims[1]); err != nil {
		t.Fatal(err)
	}
	q.expire(dead)
	if r := q.sweep(); r.Recovered != 1 {
		t.Fatalf("sweep did %+v, want the free run recovered and the locked one left", r)
	}
	if n := one[int](q, `SELECT count(*) FROM receipt`); n != 1 {
		t.Fatal("the receipt went though a run in it still runs")
	}
	live := q.register()
	c := q.claimOne(live)
	if r := q.sweep(); r.Recovered != 0 {
		t.Fatal("the sweep took a live worker's run because a dead worker's receipt names it")
	}
	q.wantPlace(c.RunID, "running", "receipt")
	commit(t, tx)
	if r := q.sweep(); r.Recovered != 1 {
		t.Fatalf("sweep did %+v, want the run that is free now", r)
	}
	q.check()
}

func TestS5TheSweepJudgesByTheOwnersExpiryOnlyW10(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	slow, fast := q.register(), q.register()
	q.exec(`
UPDATE worker
SET lease_millis = 60000, expires_at = clock_timestamp() + interval '1 minute', started_at = clock_timestamp() - interval '1 day'
WHERE id = $1`, slow.ID)
	q.expire(fast)
	if r := q.sweep(); r.Workers != 1 {
		t.Fatalf("sweep removed %d workers, want the expired one", r.Workers)
	}
	if id := one[int64](q, `SELECT id FROM worker`); id != slow.ID {
		t.Fatal("the sweep removed a worker whose lease runs")
	}
}

func TestS5LeaseLossesHaveTheirOwnBudgetW9(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{MaxAttempts: 1})
	for loss := 1; loss <= jobs.MaxLeaseLosses; loss++ {
		inc := q.register()
		c := q.claimOne(inc)
		if c.LeaseLosses != loss-1 || c.Attempt != 1 {
			t.Fatalf("claim says %d losses and attempt %d, want %d and 1", c.LeaseLosses, c.Attempt, loss-1)
		}
		q.expire(inc)
		q.sweep()
		if loss == 1 {
			q.wantPlace(run, "pending", "ready")
			continue
		}
		q.wantPlace(run, "pending", "scheduled")
		q.exec(`UPDATE scheduled SET run_at = clock_timestamp()`)
		q.sweep()
	}
	inc := q.register()
	q.claimOne(inc)
	q.expire(inc)
	if r := q.sweep(); r.Ended != 1 {
		t.Fatalf("sweep did %+v, want the run ended", r)
	}
	q.wantPlace(run, "lost", "none")
	if n := one[int](q, `SELECT count(*) FROM attempt WHERE outcome = 'lost'`); n != jobs.MaxLeaseLosses+1 {
		t.Fatalf("%d attempts are recorded as lost, want %d", n, jobs.MaxLeaseLosses+1)
	}
}

func TestS5SweepsAtOnceRecoverEachRunOnce(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const workers, runs = 8, 10
	q.starts(workers*runs, jobs.StartParams{})
	for range workers {
		inc := q.register()
		q.claim(inc, runs)
		q.expire(inc)
	}
	var mu sync.Mutex
	recovered, removed := 0, 0
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r, err := q.store.Sweep(t.Context())
			if err != nil {
				t.Errorf("sweep: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			recovered += r.Recovered
			removed += r.Workers
		})
	}
	wg.Wait()
	last := q.sweep()
	if n := recovered + last.Recovered; n != workers*runs || removed+last.Workers != workers {
		t.Fatalf("sweeps recovered %d runs of %d workers, want %d of %d", n, removed, workers*runs, workers)
	}
	if n := one[int](q, `SELECT max(lease_losses) FROM run`); n != 1 {
		t.Fatalf("a run has %d lease losses, want 1", n)
	}
	q.check()
}

func TestS5ARunToBeCancelledEndsWithItsLostLease(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	q.claimOne(inc)
	if _, err := jobs.Cancel(t.Context(), q.db, jobs.CancelParams{Run: run, By: "me", Reason: "enough"}); err != nil {
		t.Fatal(err)
	}
	q.expire(inc)
	if r := q.sweep(); r.Ended != 1 {
		t.Fatalf("sweep did %+v, want the run ended", r)
	}
	q.wantPlace(run, "cancelled", "none")
	if reason := one[string](q, `SELECT error FROM run`); reason != `cancel requested by "me": enough` {
		t.Fatalf("reason is %q, want the request's", reason)
	}
	q.sweep()
	if n := one[int](q, `SELECT count(*) FROM cancel_request`); n != 0 {
		t.Fatal("the request outlives its run")
	}
}

func TestS7AStraySideRowCannotStealALiveClaim(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, thief := q.register(), q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	q.exec(`INSERT INTO ready (id, pool, job_type, vstart) SELECT id, pool, job_type, run_at FROM run`)
	if got := q.claim(thief, 5); len(got) != 0 {
		t.Fatalf("a stray row let another worker claim run %d", got[0].RunID)
	}
	q.wantAlive(inc, c)
}

// wantAlive wants a claim untouched: its run still runs, and can be settled.
func (q *queue) wantAlive(inc *jobs.Incarnation, c *jobs.Claim) {
	q.t.Helper()
	q.wantPlace(c.RunID, "running", "receipt")
	if r := q.settle(inc, completed(c))[0]; r != jobs.Done {
		q.t.Fatalf("settle answered %s, want done", r)
	}
	q.check()
}

func TestS7AStraySideRowLetsNobodyEndALiveClaim(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Scope: "s", Deadline: time.Hour})
	c := q.claimOne(inc)
	q.exec(`INSERT INTO ready (id, pool, job_type, vstart) SELECT id, pool, job_type, run_at FROM run`)
	q.cancelIn(q.db, run, jobs.CancelAsked)
	r, err := jobs.CancelScope(t.Context(), q.db, jobs.ScopeParams{Scope: "s"}, "ann", "gone")
	if err != nil || r != (jobs.ScopeResult{Requested: 1}) {
		t.Fatalf("a cancel of the scope answered %+v, %v, want a request", r, err)
	}
	q.exec(`UPDATE deadline SET at = clock_timestamp() - interval '1 s'`)
	q.sweep()
	q.exec(`DELETE FROM ready`)
	q.wantAlive(inc, c)
}

// A run that is in one place too many stands where it was moved to, and nowhere else.
func TestS7AStraySideRowStopsNoMove(t *testing.T) {
	t.Parallel()
	const (
		strayReady     = `INSERT INTO ready SELECT id, pool, job_type, run_at FROM run WHERE id = $1`
		strayScheduled = `INSERT INTO scheduled SELECT id, pool, job_type, run_at, 0 FROM run WHERE id = $1`
		strayLaned     = `INSERT INTO ready SELECT id, pool, job_type, run_at, lane FROM run WHERE id = $1`
		parked         = `INSERT INTO waiting SELECT id, pool, job_type, run_at, NULL, run_at FROM run WHERE id = $1`
	)
	promote := func(q *queue) {
		if _, _, err := q.store.Promote(q.t.Context(), pool); err != nil {
			q.t.Fatal(err)
		}
	}
	for what, c := range map[string]struct {
		params jobs.StartParams
		stray  string
		move   func(q *queue, inc *jobs.Incarnation, run int64, stray func())
		place  string
	}{
		"a retry": {jobs.StartParams{}, strayReady, func(q *queue, inc *jobs.Incarnation, _ int64, stray func()) {
			c := q.claimOne(inc)
			stray()
			q.settle(inc, retried(c, false))
		}, "ready"},
		"a retry later": {jobs.StartParams{}, strayScheduled, func(q *queue, inc *jobs.Incarnation, _ int64, stray func()) {
			s := retried(q.claimOne(inc), false)
			s.Delay = time.Hour
			stray()
			q.settle(inc, s)
		}, "scheduled"},
		"a lost lease": {jobs.StartParams{}, strayReady, func(q *queue, inc *jobs.Incarnation, _ int64, stray func()) {
			q.claimOne(inc)
			stray()
			q.expire(inc)
			q.sweep()
		}, "ready"},
		"another lost lease": {jobs.StartParams{}, strayScheduled, func(q *queue, inc *jobs.Incarnation, run int64, stray func()) {
			q.claimOne(inc)
			q.exec(`UPDATE run SET lease_losses = 1, run_at = run_at + interval '1 hour' WHERE id = $1`, run)
			stray()
			q.expire(inc)
			q.sweep()
		}, "scheduled"},
		"a promotion": {jobs.StartParams{Delay: time.Hour}, strayReady, func(q *queue, _ *jobs.Incarnation, _ int64, stray func()) {
			q.exec(`UPDATE scheduled SET run_at = clock_timestamp()`)
			stray()
			promote(q)
		}, "ready"},
		"the end of a wait": {jobs.StartParams{}, parked, func(q *queue, _ *jobs.Incarnation, _ int64, stray func()) {
			stray()
			promote(q)
		}, "ready"},
		"a wake": {jobs.StartParams{}, parked, func(q *queue, _ *jobs.Incarnation, run int64, stray func()) {
			stray()
			q.exec(`SELECT look_again(ARRAY[$1::bigint])`, run)
		}, "ready"},
		"a lane that is freed": {jobs.StartParams{Lane: "a"}, strayReady, func(q *queue, inc *jobs.Incarnation, run int64, stray func()) {
			q.exec(`UPDATE ready SET vstart = vstart + interval '1 hour' WHERE id = $1`, run)
			q.start(jobs.StartParams{Lane: "a"})
			c := q.claimOne(inc)
			stray()
			q.settle(inc, completed(c))
		}, "ready"},
		"a lane that is full": {jobs.StartParams{Lane: "a"}, strayLaned, func(q *queue, inc *jobs.Incarnation, run int64, stray func()) {
			q.exec(`UPDATE ready SET vstart = vstart + interval '1 hour' WHERE id = $1`, run)
			q.start(jobs.StartParams{Lane: "a"})
			q.claimOne(inc)
			stray()
			q.claim(inc, 1)
		}, "blocked"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			inc := q.register()
			run := q.start(c.params)
			c.move(q, inc, run, func() { q.exec(c.stray, run) })
			q.wantPlace(run, "pending", c.place)
			q.check()
		})
	}
}

func TestS7ACancelOfARunInNoPlaceLeavesARequest(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{})
	q.exec(`DELETE FROM ready`)
	q.cancelIn(q.db, run, jobs.CancelAsked)
	q.sweep()
	q.wantPlace(run, "pending", "ready")
	q.sweep()
	q.wantPlace(run, "cancelled", "none")
}

func TestS7TheAuditFindsAPendingRunInNoPlace(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	lost := q.start(jobs.StartParams{})
	kept := q.start(jobs.StartParams{Delay: time.Hour})
	q.exec(`DELETE FROM ready WHERE id = $1`, lost)
	if r := q.sweep(); r.Repaired != 1 {
		t.Fatalf("sweep repaired %d runs, want 1", r.Repaired)
	}
	q.wantPlace(lost, "pending", "ready")
	q.wantPlace(kept, "pending", "scheduled")
	if r := q.sweep(); r.Repaired != 0 {
		t.Fatalf("sweep repaired %d sound runs", r.Repaired)
	}
	q.exec(`UPDATE audit_position SET run = 0`)
	if r := q.sweep(); r.Repaired != 0 {
		t.Fatalf("sweep repaired %d sound runs", r.Repaired)
	}
}

func TestS7TheAuditFindsARunningRunOfADeadWorkerWithoutAReceipt(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	dead, live := q.register(), q.register()
	q.starts(2, jobs.StartParams{})
	lost, held := q.claimOne(dead), q.claimOne(live)
	q.exec(`DELETE FROM receipt`)
	q.expire(dead)
	if r := q.sweep(); r.Repaired != 1 {
		t.Fatalf("sweep did %+v, want the run of the dead worker repaired", r)
	}
	if r := q.sweep(); r.Recovered != 1 {
		t.Fatalf("sweep did %+v, want the run recovered", r)
	}
	q.wantPlace(lost.RunID, "pending", "ready")
	if s := q.status(held.RunID); s != "running" {
		t.Fatalf("the live worker's run is %s", s)
	}
}

func TestS7TheSweepMovesWaitingRunsWhoseTimeHasCome(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	due, later := q.start(jobs.StartParams{}), q.start(jobs.StartParams{})
	q.exec(`WITH d AS (DELETE FROM ready RETURNING *)
INSERT INTO waiting (id, pool, job_type, vstart, wake_at)
SELECT id, pool, job_type, vstart, clock_timestamp() + CASE id WHEN $1 THEN interval '-1 s' ELSE interval '1 h' END FROM d`, due)
	if r := q.sweep(); r.Promoted != 1 {
		t.Fatalf("sweep did %+v, want one run promoted", r)
	}
	q.wantPlace(due, "pending", "ready")
	q.wantPlace(later, "pending", "waiting")
}

func TestS7TheSweepAppliesRequestsToPendingRuns(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	if a, err := jobs.Cancel(t.Context(), q.db, jobs.CancelParams{Run: run, By: "me", Reason: "enough"}); err != nil || a != jobs.CancelAsked {
		t.Fatalf("cancel answered %q, %v", a, err)
	}
	// The handler fails before its worker has seen the request: the run is pending again.
	q.settle(inc, decide(c, errors.New("boom")))
	q.wantPlace(run, "pending", "scheduled")
	q.sweep()
	q.wantPlace(run, "cancelled", "none")
}

func TestS7ARequestForAnEarlierLifeCancelsNothing(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{})
	q.exec(`UPDATE run SET replays = 1`)
	q.exec(`INSERT INTO cancel_request (run, replay, requested_by, reason) VALUES ($1, 0, 'me', 'late')`, run)
	q.sweep()
	q.wantPlace(run, "pending", "ready")
	if n := one[int](q, `SELECT count(*) FROM cancel_request`); n != 0 {
		t.Fatal("a request for an earlier life is kept")
	}
}

// Whatever somebody has locked of what a sweep would do is left to a later one.
func TestS10ASweepPassesOverWhatSomebodyHas(t *testing.T) {
	t.Parallel()
	homeless := func(q *queue) {
		q.start(jobs.StartParams{})
		q.exec(`DELETE FROM ready`)
	}
	for what, c := range map[string]struct {
		prepare    func(*queue)
		lock, left string
	}{
		"a deadline": {func(q *queue) {
			q.start(jobs.StartParams{Deadline: time.Hour, Delay: 2 * time.Hour})
			q.exec(`UPDATE deadline SET at = clock_timestamp() - interval '1 s'`)
		}, `deadline FOR UPDATE`, `run WHERE status = 'pending'`},
		"a request": {func(q *queue) {
			q.exec(`INSERT INTO cancel_request (run, replay, requested_by, reason) VALUES (0, 0, '', '')`)
		}, `cancel_request FOR UPDATE`, `cancel_request`},
		"a pool": {func(q *queue) {
			q.exec(`INSERT INTO pool_delta (pool, leases_recovered) VALUES ($1, 1)`, pool)
		}, `pool FOR UPDATE`, `pool_delta`},
		"a lane with room": {func(q *queue) {
			q.starts(2, jobs.StartParams{Lane: "a"})
			inc := q.register()
			q.settle(inc, completed(q.claimOne(inc)))
			q.exec(`INSERT INTO blocked SELECT id, lane, pool, job_type, vstart FROM ready; DELETE FROM ready; DELETE FROM lane_hold`)
		}, `lane FOR UPDATE`, `blocked`},
		"a lane that nobody uses": {func(q *queue) {
			q.exec(`INSERT INTO lane (id, namespace, key, max_claims) VALUES (1, '', '', 1)`)
		}, `lane FOR UPDATE`, `lane`},
		"the place of the walk": {homeless, `audit_position FOR UPDATE`, `run WHERE NOT EXISTS (SELECT FROM ready)`},
		"a run in no place":     {homeless, `run FOR NO KEY UPDATE`, `run WHERE NOT EXISTS (SELECT FROM ready)`},
		"a wait": {func(q *queue) {
			homeless(q)
			q.exec(`INSERT INTO waiting SELECT id, pool, job_type, run_at, NULL, run_at FROM run`)
		}, `waiting FOR UPDATE`, `waiting`},
		"a receipt": {func(q *queue) {
			inc := q.register()
			q.start(jobs.StartParams{})
			q.claimOne(inc)
			q.expire(inc)
		}, `receipt FOR UPDATE`, `receipt`},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			c.prepare(q)
			q.impatient()
			tx := q.begin()
			if _, err := tx.Exec(t.Context(), `SELECT FROM `+c.lock); err != nil {
				t.Fatal(err)
			}
			wantLeft := func(want int) {
				t.Helper()
				if n := one[int](q, `SELECT count(*) FROM `+c.left); n != want {
					t.Fatalf("%d are left, want %d", n, want)
				}
			}
			q.sweep()
			wantLeft(1)
			commit(t, tx)
			q.sweep()
			q.sweep() // the walk begins anew
			wantLeft(0)
			q.check()
		})
	}
}

func TestADeadlineEndsAPendingRunAndLeavesARunningOneToItsWorker(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	running := q.start(jobs.StartParams{Deadline: time.Hour})
	before := time.Now()
	c := q.claimOne(inc)
	if left := c.Deadline.Sub(before); left <= 0 || left > time.Hour+time.Minute {
		t.Fatalf("deadline is in %s, want at most an hour", left)
	}
	pending := q.start(jobs.StartParams{Deadline: time.Hour, Delay: 2 * time.Hour})
	q.exec(`UPDATE deadline SET at = clock_timestamp() - interval '1 s'`)
	q.sweep()
	q.wantPlace(pending, "timed_out", "none")
	q.wantPlace(running, "running", "receipt")
	q.settle(inc, jobs.TypeConfig{}.Settle(c, nil, errors.New("stopped"), jobs.ErrDeadline))
	q.wantPlace(running, "timed_out", "none")
	q.exec(`UPDATE deadline SET at = clock_timestamp() - interval '1 s'`)
	q.sweep()
	if n := one[int](q, `SELECT count(*) FROM deadline`); n != 0 {
		t.Fatalf("%d deadlines of ended runs are left", n)
	}
}

func TestPromoteMovesDueRunsInOrderAndSaysWhenTheNextIsDueW52(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	if _, next, err := q.store.Promote(t.Context(), pool); err != nil || next >= 0 {
		t.Fatalf("next is %s, %v with nothing scheduled, want negative", next, err)
	}
	low := q.start(jobs.StartParams{Delay: time.Hour})
	high := q.start(jobs.StartParams{Delay: time.Hour, Priority: 10})
	later := q.start(jobs.StartParams{Delay: 2 * time.Hour})
	q.exec(`UPDATE scheduled SET run_at = run_at - interval '1 hour'`)
	q.exec(`UPDATE run SET run_at = run_at - interval '1 hour'`)
	q.await("both are due", func() bool {
		return one[bool](q, `SELECT count(*) = 2 FROM scheduled WHERE run_at <= clock_timestamp()`)
	})
	moved, next, err := q.store.Promote(t.Context(), pool)
	if err != nil || moved != 2 || next <= 59*time.Minute || next > time.Hour {
		t.Fatalf("promote moved %d, next in %s, error %v, want 2 and about an hour", moved, next, err)
	}
	first, second := q.claimOne(inc), q.claimOne(inc)
	if first.RunID != high || second.RunID != low {
		t.Fatalf("claimed %d and %d, want the higher priority %d and then %d", first.RunID, second.RunID, high, low)
	}
	q.wantPlace(later, "pending", "scheduled")
	q.check()
}

// What a lost lease makes of a run, beside pending: what was asked of this life of it, in the words of who asked first; and
// its deadline, if that has passed.
func TestS5ALostLeaseEndsWhatWasToEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, status, message string }{
		"nothing asked":             {`SELECT FROM run WHERE id = $1`, "pending", ""},
		"an earlier life cancelled": {`INSERT INTO cancel_request (run, replay, requested_by, reason) VALUES ($1, -1, 'ann', '')`, "pending", ""},
		"asked twice": {
			`INSERT INTO cancel_request (run, replay, requested_by, reason) VALUES ($1, 0, 'ann', 'old'), ($1, 0, 'bob', 'new')`,
			"cancelled", `cancel requested by "ann": old`,
		},
		"deadline passed": {
			`UPDATE run SET deadline_at = clock_timestamp() WHERE id = $1`, "timed_out", "worker 1 (pod pod) stopped renewing its lease",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			inc := q.register()
			run := q.start(jobs.StartParams{})
			q.claimOne(inc)
			q.exec(c.sql, run)
			q.exec(`DELETE FROM worker`)
			q.exec(`SELECT sweep_receipts(ARRAY(SELECT id FROM receipt), '{}', 3)`)
			got := one[string](q, `SELECT status || ' ' || coalesce(error, '') FROM run WHERE id = $1`, run)
			if want := c.status + " " + c.message; got != want {
				t.Errorf("the run is %q, want %q", got, want)
			}
		})
	}
}

func TestS8ASweepLeavesRunsOfLanesThatSomebodyHas(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Lane: "a"})
	q.claimOne(inc)
	q.exec(`DELETE FROM worker`)
	const sweep = `SELECT sweep_receipts(ARRAY(SELECT id FROM receipt), $1, 3)`
	q.exec(sweep, []int64{})
	q.wantPlace(run, "running", "receipt")
	q.exec(sweep, []int64{one[int64](q, `SELECT id FROM lane`)})
	q.wantPlace(run, "pending", "ready")
}

// A handler that ignores its deadline is looked for again when it has had the time, and not by every sweep.
func TestADeadlineOfARunningRunIsPutOff(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.start(jobs.StartParams{Deadline: time.Hour})
	q.claimOne(q.register())
	q.exec(`UPDATE deadline SET at = clock_timestamp()`)
	q.exec(`SELECT sweep_requests()`)
	if !one[bool](q, `SELECT at > clock_timestamp() FROM deadline`) {
		t.Error("the next sweep looks at the deadline again")
	}
}
