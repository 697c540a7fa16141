package jobs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func (q *queue) cancelIn(tx jobs.Querier, run int64, want jobs.CancelAnswer) {
	q.t.Helper()
	if a, err := jobs.Cancel(q.t.Context(), tx, jobs.CancelParams{Run: run, By: "me", Reason: "enough"}); err != nil || a != want {
		q.t.Fatalf("cancel answered %q, %v, want %q", a, err, want)
	}
}

// impatient makes every later session fail at once instead of waiting for a lock. Nobody is notified from then on: transactions
// that notify commit one after the other, those of other tests on this server too.
func (q *queue) impatient() {
	q.t.Helper()
	q.exec(`UPDATE pool SET tuning = tuning || '{"wakeMode": "Poll"}'`)
	cfg := q.db.Config()
	cfg.ConnConfig.RuntimeParams["lock_timeout"] = "1"
	q.reconnect(cfg)
}

func TestS10NoWorkerWaitsForACallerWhoStays(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, dead, conn := q.register(), q.register(), q.renewal()
	places := map[string]int64{
		"ready": q.start(jobs.StartParams{Priority: 5}), "scheduled": q.start(jobs.StartParams{Delay: time.Hour}),
	}
	held := q.start(jobs.StartParams{Lane: "a"})
	places["blocked"] = q.start(jobs.StartParams{Lane: "a"})
	places["kept"] = q.start(jobs.StartParams{Lane: "b"})
	laned := q.start(jobs.StartParams{Lane: "a"})
	q.exec(`UPDATE scheduled SET run_at = clock_timestamp()`)

	// The first of the lanes are claimed: one keeps its lane for a retry, of the other the next two are blocked.
	byRun := map[int64]*jobs.Claim{}
	for _, c := range q.claim(inc, 10) {
		byRun[c.RunID] = c
	}
	hold := byRun[held]
	q.settle(inc, retried(byRun[places["kept"]], true))
	q.giveBack(inc, byRun[places["ready"]])
	q.wantPlace(places["blocked"], "pending", "blocked")
	q.wantPlace(laned, "pending", "blocked")

	caller := q.begin()
	for _, run := range places {
		q.cancelIn(caller, run, jobs.CancelDone)
	}
	if _, err := jobs.Start(t.Context(), caller, jobs.StartParams{Type: jobType, Pool: pool, Lane: "a"}); err != nil {
		t.Fatal(err)
	}

	q.impatient()
	free := q.start(jobs.StartParams{})
	q.claim(dead, 1)
	q.expire(dead)
	q.sweep()
	if _, _, err := q.store.Promote(t.Context(), pool); err != nil {
		t.Fatalf("promote waits for a caller: %v", err)
	}
	q.settle(inc, completed(hold))
	claims := q.claim(inc, 10)
	if got := ids(claims); len(got) != 2 || got[0] != laned || got[1] != free {
		t.Fatalf("claimed %v, want %d of the lane whose head a caller holds, and %d", got, laned, free)
	}
	if _, err := q.store.Reconcile(t.Context(), inc, nil); err != nil {
		t.Fatalf("reconcile waits for a caller: %v", err)
	}
	q.beat(conn, inc, jobs.BeatParams{Number: 1})
	q.sweep()
	if removed, err := q.store.Leave(t.Context(), inc); err != nil || !removed {
		t.Fatalf("leave answered %v, %v", removed, err)
	}
	commit(t, caller)
	for name, run := range places {
		if s := q.status(run); s != "cancelled" {
			t.Errorf("the run that was %s is %s, want cancelled", name, s)
		}
	}
	q.sweep()
	q.check()
}

func TestS10ARequestAboutARunningRunLocksNothing(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	first, second := q.begin(), q.begin()
	q.cancelIn(first, run, jobs.CancelAsked)
	q.cancelIn(second, run, jobs.CancelAsked)
	q.impatient()
	if r := q.settle(inc, completed(c))[0]; r != jobs.Done {
		t.Fatalf("settle answered %s, want done", r)
	}
	commit(t, first)
	commit(t, second)
	q.sweep()
	q.wantPlace(run, "completed", "none")
}

func TestS10CancelFollowsARunThatMoves(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		move   func(q *queue, tx pgx.Tx, inc *jobs.Incarnation)
		params jobs.StartParams
		end    func(pgx.Tx, context.Context) error
		want   jobs.CancelAnswer
	}{
		"claimed": {
			move: func(q *queue, tx pgx.Tx, inc *jobs.Incarnation) { rawClaim(q.t, tx, inc, 1) },
			end:  pgx.Tx.Commit, want: jobs.CancelAsked,
		},
		"claim rolled back": {
			move: func(q *queue, tx pgx.Tx, inc *jobs.Incarnation) { rawClaim(q.t, tx, inc, 1) },
			end:  pgx.Tx.Rollback, want: jobs.CancelDone,
		},
		"promoted": {
			move: func(q *queue, tx pgx.Tx, _ *jobs.Incarnation) {
				if _, err := tx.Exec(q.t.Context(), `SELECT promote($1)`, pool); err != nil {
					q.t.Fatal(err)
				}
			},
			params: jobs.StartParams{Delay: time.Hour}, end: pgx.Tx.Commit, want: jobs.CancelDone,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			inc := q.register()
			run := q.start(test.params)
			q.exec(`UPDATE scheduled SET run_at = clock_timestamp()`)
			tx := q.begin()
			test.move(q, tx, inc)
			var answer jobs.CancelAnswer
			done := background(func() (err error) {
				answer, err = jobs.Cancel(t.Context(), q.db, jobs.CancelParams{Run: run, By: "me", Reason: "enough"})
				return err
			})
			q.awaitWaiter()
			if err := test.end(tx, t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil || answer != test.want {
				t.Fatalf("cancel answered %q, %v, want %q", answer, err, test.want)
			}
			q.check()
		})
	}
}

func TestS10CancelTakesTheSideRowBeforeTheRun(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	// Somebody has the side row; the run's row must stay free for the claim that this might be.
	tx := q.begin()
	if _, err := tx.Exec(t.Context(), `SELECT FROM ready WHERE id = $1 FOR UPDATE`, run); err != nil {
		t.Fatal(err)
	}
	done := background(func() error {
		_, err := jobs.Cancel(t.Context(), q.db, jobs.CancelParams{Run: run, By: "me", Reason: "enough"})
		return err
	})
	q.awaitWaiter()
	q.exec(`SELECT FROM run WHERE id = $1 FOR UPDATE NOWAIT`, run)
	commit(t, tx)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	q.wantClaims(inc, 1)
}

func TestS10ALateCommitCannotCancelTheNextLife(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, conn := q.register(), q.renewal()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	late := q.begin()
	q.cancelIn(late, run, jobs.CancelAsked)
	q.settle(inc, completed(c))
	q.exec(`UPDATE run SET status = 'pending', replays = replays + 1, claimed_by = NULL, finished_at = NULL`)
	q.exec(`INSERT INTO ready (id, pool, job_type, vstart) SELECT id, pool, job_type, run_at FROM run`)
	commit(t, late)
	again := q.claimOne(inc)
	if r := q.beat(conn, inc, jobs.BeatParams{Number: 1}); len(r.Cancels) != 0 {
		t.Fatalf("the next life hears of %+v", r.Cancels)
	}
	q.settle(inc, retried(again, false))
	q.sweep()
	q.wantPlace(run, "pending", "ready")
}

func TestS10ABusyRunDoesNotHoldUpItsBatch(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	runs := q.starts(3, jobs.StartParams{})
	claims := q.claim(inc, 3)
	busy := claims[1]
	tx := q.begin()
	if err := jobs.Fence(t.Context(), tx, busy); err != nil {
		t.Fatal(err)
	}
	var results []jobs.SettleResult
	done := background(func() (err error) {
		results, err = q.store.Settle(t.Context(), inc, []jobs.Settlement{completed(claims[0]), completed(busy), completed(claims[2])})
		return err
	})
	q.awaitWaiter()
	if n := one[int](q, `SELECT count(*) FROM run WHERE status = 'completed'`); n != 2 {
		t.Fatalf("%d of the runs are settled while one is busy, want 2", n)
	}
	q.check()
	commit(t, tx)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r != jobs.Done || q.status(runs[i]) != "completed" {
			t.Errorf("run %d: settle answered %s and it is %s", runs[i], r, q.status(runs[i]))
		}
	}
}

func TestS10ARunThatStaysBusyIsAnsweredBusyAndStillHeld(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Lane: "a"})
	c := q.claimOne(inc)
	tx := q.begin()
	if err := jobs.Fence(t.Context(), tx, c); err != nil {
		t.Fatal(err)
	}
	q.impatient()
	if r := q.settle(inc, completed(c))[0]; r != jobs.Busy {
		t.Fatalf("settle answered %s, want busy", r)
	}
	q.wantPlace(run, "running", "receipt")
	q.check()
	commit(t, tx)
	if r := q.settle(inc, completed(c))[0]; r != jobs.Done {
		t.Fatalf("settle answered %s, want done", r)
	}
	q.check()
}

func TestS10StartAndCancelNeedNoLane(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first := q.start(jobs.StartParams{Lane: "a"})
	q.wantClaims(inc, 1, first)
	lane := q.begin()
	if _, err := lane.Exec(t.Context(), `SELECT FROM lane FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	q.impatient()
	second := q.start(jobs.StartParams{Lane: "a"})
	q.cancelIn(q.db, second, jobs.CancelDone)
	q.cancelIn(q.db, first, jobs.CancelAsked)
}

func TestS10AStartMeetsACallersKeyForABoundedTime(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	keyed := jobs.StartParams{Type: jobType, Pool: pool, IdempotencyKey: "slot"}
	caller := q.begin()
	if _, err := jobs.Start(t.Context(), caller, keyed); err != nil {
		t.Fatal(err)
	}
	q.impatient()
	_, err := jobs.Start(t.Context(), q.db, keyed)
	mustIs(t, err, jobs.ErrBusy, "start with the key of an open transaction")
	commit(t, caller)
	r, err := jobs.Start(t.Context(), q.db, keyed)
	if err != nil || r.Created {
		t.Fatalf("start answered %+v, %v, want the caller's run", r, err)
	}
}

func TestCancelOfAnUnknownRunSaysSo(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.cancelIn(q.db, 4711, jobs.CancelUnknown)
}

func TestACancelledHandlersRunEndsAsCancelledW19(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	cause := &jobs.CancelRequested{By: "me", Reason: "enough"}
	q.settle(inc, jobs.TypeConfig{}.Settle(c, nil, errors.New("context canceled"), cause))
	q.wantPlace(run, "cancelled", "none")
}
