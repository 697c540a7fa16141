package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// renewal opens a worker's own connection.
func (q *queue) renewal() *pgx.Conn {
	q.t.Helper()
	conn, err := schema.Dial(q.t.Context(), q.address, "syncline")
	if err != nil {
		q.t.Fatalf("dial: %v", err)
	}
	q.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (q *queue) beat(conn *pgx.Conn, inc *jobs.Incarnation, p jobs.BeatParams) jobs.BeatResult {
	q.t.Helper()
	if p.Lease == 0 {
		p.Lease = longTime
	}
	if p.Heartbeat == 0 {
		p.Heartbeat = time.Minute
	}
	r, err := q.store.Beat(q.t.Context(), conn, inc, p)
	if err != nil {
		q.t.Fatalf("beat: %v", err)
	}
	return r
}

// rawClaim claims inside a transaction, as a claim in flight whose reply nobody reads.
func rawClaim(t testing.TB, tx pgx.Tx, inc *jobs.Incarnation, slots int) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), `SELECT FROM claim($1, $2, $3, $4)`, inc.ID, inc.Pool, inc.Types, slots); err != nil {
		t.Fatalf("claim: %v", err)
	}
}

func commit(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func TestS1EveryInstantIsTheStatementsNotTheTransactionsW4W51(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	tx := q.begin()
	if _, err := tx.Exec(t.Context(), `SELECT now()`); err != nil {
		t.Fatal(err)
	}
	later := one[time.Time](q, `SELECT clock_timestamp()`)
	r, err := jobs.Start(t.Context(), tx, jobs.StartParams{Type: jobType, Pool: pool, Deadline: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, tx)
	early := one[[]string](q, `
SELECT coalesce(array_agg(n), '{}')
FROM run r
JOIN ready x USING (id)
JOIN deadline d ON d.run = r.id
CROSS JOIN LATERAL (VALUES ('created_at', created_at), ('run_at', run_at), ('vstart', vstart),
  ('deadline_at', deadline_at - interval '1 hour'), ('deadline', d.at - interval '1 hour')) AS v (n, at)
WHERE r.id = $1 AND v.at < $2`, r.RunID, later)
	if len(early) > 0 {
		t.Fatalf("%v were taken at the transaction's begin", early)
	}
}

func TestS1NoFunctionUsesTheTransactionsTime(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	bad := one[[]string](q, `
SELECT coalesce(array_agg(proname::text), '{}') FROM pg_proc
WHERE pronamespace = 'syncline'::regnamespace AND prosrc ~* '\m(now|transaction_timestamp)\(|\m(current_timestamp|localtimestamp|current_date)\M'`)
	if len(bad) > 0 {
		t.Fatalf("functions %v use the transaction's time, want the statement's", bad)
	}
}

func TestS3AClaimNeedsItsWorkersRowUnexpired(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{})
	expired, gone := q.register(), q.register()
	q.expire(expired)
	q.exec(`DELETE FROM worker WHERE id = $1`, gone.ID)
	for _, inc := range []*jobs.Incarnation{expired, gone} {
		_, _, err := q.store.Claim(t.Context(), inc, 1)
		mustIs(t, err, jobs.ErrLeaseLost, "claim")
	}
	q.wantPlace(run, "pending", "ready")
}

func TestS3AClaimThatWaitedForTheSweepTakesNothing(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run, laned := q.start(jobs.StartParams{}), q.start(jobs.StartParams{Lane: "x"})
	sweep := q.begin()
	if _, err := sweep.Exec(t.Context(), `DELETE FROM worker WHERE id = $1`, inc.ID); err != nil {
		t.Fatal(err)
	}
	claim := background(func() error {
		_, _, err := q.store.Claim(t.Context(), inc, 10)
		return err
	})
	q.awaitWaiter()
	commit(t, sweep)
	mustIs(t, <-claim, jobs.ErrLeaseLost, "claim")
	q.wantPlace(run, "pending", "ready")
	q.wantPlace(laned, "pending", "ready")
}

func TestS3TheSweepPassesAWorkerWithAClaimInFlight(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	claim := q.begin()
	rawClaim(t, claim, inc, 1)
	q.expire(inc)
	if r := q.sweep(); r.Workers != 0 {
		t.Fatal("the sweep deleted a worker whose claim was in flight")
	}
	commit(t, claim)
	if r := q.sweep(); r.Workers != 1 || r.Recovered != 1 {
		t.Fatalf("sweep after the claim did %+v, want one worker and its run", r)
	}
	q.wantPlace(run, "pending", "ready")
}

func TestS3ABeatNeverRevivesARowW2(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, conn := q.register(), q.renewal()
	q.expire(inc)
	if r := q.beat(conn, inc, jobs.BeatParams{Number: 1}); !r.Confirmed || r.Gone {
		t.Fatalf("beat of a row that is there answered %+v, want it renewed though expired", r)
	}
	q.expire(inc)
	q.sweep()
	if r := q.beat(conn, inc, jobs.BeatParams{Number: 2}); r.Confirmed || !r.Gone {
		t.Fatalf("beat without a row answered %+v, want gone", r)
	}
	if n := one[int](q, `SELECT count(*) FROM worker`); n != 0 {
		t.Fatal("a beat inserted a row")
	}
	if again := q.register(); again.ID <= inc.ID {
		t.Fatalf("incarnation %d follows %d, want ids that are never reused", again.ID, inc.ID)
	}
}

func TestS4ALateBeatChangesNothing(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, conn := q.register(), q.renewal()
	q.beat(conn, inc, jobs.BeatParams{Number: 2, Lease: longTime})
	before := one[time.Time](q, `SELECT expires_at FROM worker`)
	r := q.beat(conn, inc, jobs.BeatParams{Number: 1, Lease: time.Second})
	if r.Confirmed || r.Gone {
		t.Fatalf("late beat answered %+v, want neither confirmed nor gone", r)
	}
	if after := one[time.Time](q, `SELECT expires_at FROM worker`); !after.Equal(before) {
		t.Fatal("a late beat moved the lease")
	}
}

func TestS6AClaimWhoseReplyWasLostIsGivenBack(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, conn := q.register(), q.renewal()
	held := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	if r := q.beat(conn, inc, jobs.BeatParams{Number: 1}); r.NeedsReconcile {
		t.Fatal("a beat asks for a reconcile though every receipt is known")
	}
	lost, laned := q.start(jobs.StartParams{}), q.start(jobs.StartParams{Lane: "x"})
	tx := q.begin()
	rawClaim(t, tx, inc, 5)
	commit(t, tx)
	if r := q.beat(conn, inc, jobs.BeatParams{Number: 2}); !r.NeedsReconcile {
		t.Fatal("a beat does not report a receipt that the process does not know")
	}
	n, err := q.store.Reconcile(t.Context(), inc, []jobs.Held{{RunID: c.RunID, Token: c.Token}})
	if err != nil || n != 2 {
		t.Fatalf("reconcile gave back %d runs, error %v, want 2", n, err)
	}
	q.wantPlace(held, "running", "receipt")
	for _, run := range []int64{lost, laned} {
		q.wantPlace(run, "pending", "ready")
		if n := one[int](q, `SELECT attempts + lease_losses FROM run WHERE id = $1`, run); n != 0 {
			t.Fatalf("giving run %d back spent an attempt or a lease loss", run)
		}
	}
	if n := one[int](q, `SELECT count(*) FROM receipt`); n != 1 {
		t.Fatalf("%d receipts are left, want the one that is held", n)
	}
	if n := one[int](q, `SELECT count(*) FROM lane_hold`); n != 0 {
		t.Fatal("the lane of a run that was given back is still held")
	}
	q.check()
}

func TestS6ReconcileWaitsOutAClaimInFlight(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	tx := q.begin()
	rawClaim(t, tx, inc, 1)
	var n int
	done := background(func() (err error) {
		n, err = q.store.Reconcile(t.Context(), inc, nil)
		return err
	})
	q.awaitWaiter()
	commit(t, tx)
	if err := <-done; err != nil || n != 1 {
		t.Fatalf("reconcile gave back %d runs, error %v, want the run of the claim it waited for", n, err)
	}
	q.wantPlace(run, "pending", "ready")
}

func TestS6ReconcileWaitsForNoLane(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{Lane: "a"})
	q.claimOne(inc)
	other := q.begin()
	if _, err := other.Exec(t.Context(), `SELECT FROM lane FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	q.impatient()
	for _, want := range []int{0, 1} {
		if n, err := q.store.Reconcile(t.Context(), inc, nil); err != nil || n != want {
			t.Fatalf("reconcile gave back %d runs, error %v, want %d", n, err, want)
		}
		q.check()
		_ = other.Rollback(t.Context())
	}
}

func TestS6HeldIsByRunAndToken(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	n, err := q.store.Reconcile(t.Context(), inc, []jobs.Held{{RunID: run, Token: c.Token - 1}})
	if err != nil || n != 1 {
		t.Fatalf("reconcile gave back %d runs, error %v, want 1: what is held is an older claim", n, err)
	}
}

func TestS6ReconcileDeletesReceiptsInWhichNothingRuns(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.exec(`INSERT INTO receipt (worker, pod, ids, tokens) VALUES ($1, '', '{99}', '{1}')`, inc.ID)
	if n, err := q.store.Reconcile(t.Context(), inc, nil); err != nil || n != 0 {
		t.Fatalf("reconcile gave back %d runs, error %v, want none", n, err)
	}
	if n := one[int](q, `SELECT count(*) FROM receipt`); n != 0 {
		t.Fatal("a receipt in which nothing runs is left")
	}
	q.exec(`DELETE FROM worker`)
	_, err := q.store.Reconcile(t.Context(), inc, nil)
	mustIs(t, err, jobs.ErrLeaseLost, "reconcile without a row")
}

func TestS6AReceiptStaysWhileARunInItIsNotSettled(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.starts(2, jobs.StartParams{})
	claims := q.claim(inc, 2)
	q.settle(inc, completed(claims[0]))
	if n := one[int](q, `SELECT count(*) FROM receipt`); n != 1 {
		t.Fatalf("%d receipts after the first of two settles, want 1", n)
	}
	q.check()
	q.settle(inc, completed(claims[1]))
	if n := one[int](q, `SELECT count(*) FROM receipt`); n != 0 {
		t.Fatalf("%d receipts after the last settle, want none", n)
	}
}

func TestS6ALostSettleKeepsTheReceiptOfLiveRuns(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	live := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	// The settle names a token that is not current, and with it, as the last one, the receipt.
	r := one[string](q, `
SELECT result FROM settle(p_worker => $1, p_runs => ARRAY[$2::bigint], p_tokens => ARRAY[$3::bigint], p_outcomes => $4, p_outputs => $4,
  p_codes => $4, p_messages => $4, p_delays => $5, p_keep => $6, p_lanes => $5, p_receipts => (SELECT array_agg(id) FROM receipt), p_wait => false)`,
		inc.ID, c.RunID, c.Token+1, []string(nil), []int64(nil), []bool(nil))
	if r != "lost" {
		t.Fatalf("settle answered %q, want lost", r)
	}
	q.wantPlace(live, "running", "receipt")
}

func TestS9GiveBackSpendsNoAttempt(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.starts(3, jobs.StartParams{})
	claims := q.claim(inc, 3)
	order := one[string](q, `SELECT string_agg(id::text, ',' ORDER BY run_at, id) FROM run`)
	if r, err := q.store.GiveBack(t.Context(), inc, claims...); err != nil || r[0] != jobs.Done {
		t.Fatalf("give back answered %v, %v", r, err)
	}
	if n := one[int](q, `SELECT sum(attempts + lease_losses) FROM run`); n != 0 {
		t.Fatal("giving runs back spent attempts or lease losses")
	}
	if again := one[string](q, `SELECT string_agg(id::text, ',' ORDER BY vstart, id) FROM ready`); again != order {
		t.Fatalf("runs stand as %s, want them at their old place %s", again, order)
	}
	if n := one[int](q, `SELECT count(*) FROM attempt WHERE outcome = 'given_back' AND pod = 'pod'`); n != 3 {
		t.Fatalf("%d attempts say who gave back, want 3", n)
	}
	q.check()
}

func TestS9LeaveOnlyWithoutReceipts(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	if removed, err := q.store.Leave(t.Context(), inc); err != nil || removed {
		t.Fatalf("leave with a receipt answered %v, %v, want false", removed, err)
	}
	q.settle(inc, completed(c))
	if removed, err := q.store.Leave(t.Context(), inc); err != nil || !removed {
		t.Fatalf("leave answered %v, %v, want true", removed, err)
	}
	if n := one[int](q, `SELECT count(*) FROM worker`); n != 0 {
		t.Fatal("the lease is still there")
	}
}

func TestS9LeaveLocksFirstAndThenLooks(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	tx := q.begin()
	rawClaim(t, tx, inc, 1)
	var removed bool
	done := background(func() (err error) {
		removed, err = q.store.Leave(t.Context(), inc)
		return err
	})
	q.awaitWaiter()
	commit(t, tx)
	if err := <-done; err != nil || removed {
		t.Fatalf("leave answered %v, %v though a claim in flight has left a receipt", removed, err)
	}
}
