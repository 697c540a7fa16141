package jobs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// gate makes statements pause, with their snapshot taken, where they meet the SQL function pause, until goOn is called. What
// comes between two statements of one call, or between a statement's look and its write, happens meanwhile.
func (q *queue) gate() (arrived func() bool, goOn func()) {
	q.t.Helper()
	keeper, err := q.db.Acquire(q.t.Context())
	if err != nil {
		q.t.Fatal(err)
	}
	lock := func(sql string) {
		if _, err := keeper.Exec(q.t.Context(), sql); err != nil {
			q.t.Errorf("%s: %v", sql, err)
		}
	}
	lock(`SELECT pg_advisory_lock(1)`)
	q.t.Cleanup(keeper.Release)
	q.exec(`
CREATE FUNCTION pause() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(2);
  WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP -- no lock timeout ends this
    PERFORM pg_sleep(0.002);
  END LOOP;
END $$`)
	arrived = func() bool {
		return one[bool](q, `
SELECT EXISTS (
  SELECT FROM pg_locks
  WHERE locktype = 'advisory' AND objid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`)
	}
	return arrived, func() { lock(`SELECT pg_advisory_unlock(1)`) }
}

// gateBefore makes the first statement that deletes from a table pause.
func (q *queue) gateBefore(table string) (arrived func() bool, goOn func()) {
	q.t.Helper()
	arrived, goOn = q.gate()
	q.exec(`CREATE FUNCTION pause_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pause(); RETURN NULL; END $$`)
	q.exec(`CREATE TRIGGER pause BEFORE DELETE ON ` + table + ` FOR EACH STATEMENT EXECUTE FUNCTION pause_first()`)
	return arrived, goOn
}

// A settle has seen a run under its claim and free. Before it writes the run, a sweep puts it back, and a caller who stays
// cancels it: the settle waits for the caller's lock, but no longer than the lock timeout, and the next one does not.
func TestS10ASettleMeetsACallerForABoundedTime(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	caller := q.begin()
	arrived, goOn := q.gate()
	// The time is the first thing that an update asks for when it has found its row.
	q.exec(`
CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF current_setting('test.pauses', true) = 'yes' THEN
    PERFORM pause();
  END IF;
  RETURN pg_catalog.clock_timestamp();
END $$`)
	q.impatient()
	slow := *q
	cfg := q.db.Config()
	cfg.ConnConfig.RuntimeParams["test.pauses"] = "yes"
	slow.reconnect(cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := background(func() error {
		_, err := slow.store.Settle(ctx, inc, []jobs.Settlement{completed(c)})
		return err
	})
	q.await("the settle has found its row", arrived)
	q.expire(inc)
	q.sweep()
	q.wantPlace(run, "pending", "ready")
	q.cancelIn(caller, run, jobs.CancelDone)
	goOn()
	mustIs(t, <-done, jobs.ErrBusy, "a settle that meets a caller who stays")
	if r := q.settle(inc, completed(c))[0]; r != jobs.Lost {
		t.Fatalf("the next settle answered %s, want lost", r)
	}
	q.check()
}

// A handler's completion is in doubt when a settle passes its run over, and is committed before the settle answers. The settle
// has left the lane and the note that the handler executes, so it must not answer that all is done.
func TestS2ACompletionWithinASettleLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run, next := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	c := q.wantClaims(inc, 5, run)[0]
	arrived, goOn := q.gateBefore("completing")
	tx := q.begin()
	q.complete(tx, c)
	var result jobs.SettleResult
	done := background(func() error {
		r, err := q.store.Settle(t.Context(), inc, []jobs.Settlement{decide(c, errors.New("connection lost at commit"))})
		if err == nil {
			result = r[0]
		}
		return err
	})
	q.await("the settle has passed the run over", arrived)
	commit(t, tx)
	goOn()
	if err := <-done; err != nil || result != jobs.Already {
		t.Fatalf("settle answered %s, %v, want already: it tries a busy run once more alone", result, err)
	}
	if n := one[int](q, `SELECT count(*) FROM completing`) + one[int](q, `SELECT count(*) FROM receipt`); n != 0 {
		t.Errorf("%d notes and receipts of the stopped handler are left, want none", n)
	}
	q.wantClaims(inc, 5, next)
	q.check()
}

// A run that nobody here holds is completed by somebody who has its token, while a reconcile is about to free its lane. The
// reconcile has not seen it end, so the receipt must stay and lead the next one there.
func TestS6ACompletionWithinAReconcileLeavesTheReceipt(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, conn := q.register(), q.renewal()
	run, next := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	c := q.wantClaims(inc, 5, run)[0]
	inc.Forget(c)
	arrived, goOn := q.gateBefore("lane_hold")
	tx := q.begin()
	q.complete(tx, c)
	reconcile := func() error {
		_, err := q.store.Reconcile(t.Context(), inc, nil)
		return err
	}
	done := background(reconcile)
	q.await("the reconcile is about to free the lane", arrived)
	commit(t, tx)
	goOn()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !q.beat(conn, inc, jobs.BeatParams{Number: 1}).NeedsReconcile {
		t.Error("the next beat asks for no reconcile")
	}
	if err := reconcile(); err != nil {
		t.Fatal(err)
	}
	q.wantClaims(inc, 5, next)
	q.check()
}

// A zombie's settle has taken the note of its handler away and has not committed: the sweep, which has the zombie's receipt,
// does not wait for it, because the settle may wait for the receipt.
func TestS10TheSweepPassesANoteThatASettleHolds(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	tx := q.begin()
	q.complete(tx, c)
	commit(t, tx)
	settle := q.begin()
	if _, err := settle.Exec(t.Context(), `DELETE FROM completing`); err != nil {
		t.Fatal(err)
	}
	q.impatient()
	q.expire(inc)
	q.sweep()
	if err := settle.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.sweep()
	if n := one[int](q, `SELECT count(*) FROM completing`); n != 0 {
		t.Errorf("%d notes are left after the next sweep, want none", n)
	}
}
