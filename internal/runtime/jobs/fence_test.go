package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// stolen gives a claim whose lease was lost, and the claim that another worker has now.
func stolen(q *queue, p jobs.StartParams) (a *jobs.Incarnation, old *jobs.Claim, b *jobs.Incarnation, now *jobs.Claim) {
	q.t.Helper()
	a, b = q.register(), q.register()
	q.start(p)
	old = q.claimOne(a)
	q.expire(a)
	q.sweep()
	return a, old, b, q.claimOne(b)
}

func TestS2EveryWriteOfALostClaimChangesNothingW1(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	a, old, b, now := stolen(q, jobs.StartParams{})
	for _, s := range []jobs.Settlement{
		completed(old), retried(old, false),
		{Claim: old, Outcome: jobs.Failed},
		{Claim: old, Outcome: jobs.GivenBack},
		{Claim: old, Outcome: jobs.Cancelled},
	} {
		if r := q.settle(a, s)[0]; r != jobs.Lost {
			t.Errorf("settle of a lost claim as %s answered %s, want lost", s.Outcome, r)
		}
		q.wantPlace(now.RunID, "running", "receipt")
	}
	mustIs(t, jobs.Fence(t.Context(), q.begin(), old), jobs.ErrLeaseLost, "fence of a lost claim")
	mustIs(t, jobs.Complete(t.Context(), q.begin(), old, nil), jobs.ErrLeaseLost, "complete of a lost claim")
	if r := q.settle(b, completed(now))[0]; r != jobs.Done {
		t.Fatalf("settle of the new claim answered %s, want done", r)
	}
	q.check()
}

func TestS2AnOlderTokenOfTheSameWorkerMatchesNothing(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	old := q.claimOne(inc)
	if n, err := q.store.Reconcile(t.Context(), inc, nil); err != nil || n != 1 {
		t.Fatalf("reconcile gave back %d runs, error %v", n, err)
	}
	now := q.claimOne(inc)
	if now.Token <= old.Token {
		t.Fatalf("token went from %d to %d, want it to grow", old.Token, now.Token)
	}
	if r := q.settle(inc, completed(old))[0]; r == jobs.Done {
		t.Fatal("settled a claim under the token of an earlier one")
	}
	mustIs(t, jobs.Fence(t.Context(), q.begin(), old), jobs.ErrLeaseLost, "fence under an earlier token")
	mustIs(t, jobs.Complete(t.Context(), q.begin(), old, nil), jobs.ErrLeaseLost, "complete under an earlier token")
	q.wantPlace(run, "running", "receipt")
}

func TestS2AnotherWorkerWithTheTokenMatchesNothing(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	a, b := q.register(), q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(a)
	if r := q.settle(b, completed(c))[0]; r == jobs.Done {
		t.Fatal("a worker settled another worker's claim")
	}
	q.wantPlace(run, "running", "receipt")
}

func TestS2ASettleWhoseReplyWasLostIsAnsweredAlready(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]func(*jobs.Claim) jobs.Settlement{
		"completed": completed,
		"retried":   func(c *jobs.Claim) jobs.Settlement { return retried(c, false) },
		"failed":    func(c *jobs.Claim) jobs.Settlement { return jobs.Settlement{Claim: c, Outcome: jobs.Failed} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			inc := q.register()
			run := q.start(jobs.StartParams{})
			c := q.claimOne(inc)
			first, second := q.settle(inc, s(c))[0], q.settle(inc, s(c))[0]
			if first != jobs.Done || second != jobs.Already {
				t.Fatalf("settles answered %s and %s, want done and already", first, second)
			}
			if n := one[int](q, `SELECT attempts FROM run WHERE id = $1`, run); n != 1 {
				t.Fatalf("run has %d attempts, want 1", n)
			}
			q.check()
		})
	}
}

func TestS2AnEndedRunNeverChanges(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	q.settle(inc, completed(c))
	before := one[string](q, `SELECT to_jsonb(r)::text FROM run r WHERE id = $1`, run)
	q.settle(inc, retried(c, false))
	q.settle(inc, jobs.Settlement{Claim: c, Outcome: jobs.Failed})
	if a, err := jobs.Cancel(t.Context(), q.db, jobs.CancelParams{Run: run, By: "me", Reason: "late"}); err != nil || a != jobs.CancelEnded {
		t.Fatalf("cancel answered %q, %v, want ended", a, err)
	}
	mustIs(t, jobs.Complete(t.Context(), q.begin(), c, nil), jobs.ErrLeaseLost, "complete of an ended run")
	q.expire(inc)
	q.sweep()
	if after := one[string](q, `SELECT to_jsonb(r)::text FROM run r WHERE id = $1`, run); after != before {
		t.Fatalf("an ended run changed from %s to %s", before, after)
	}
	q.check()
}

func TestS2ASuccessorsHoldIsNeverFreed(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	a, old, _, now := stolen(q, jobs.StartParams{Lane: "x"})
	q.settle(a, completed(old))
	if n := one[int](q, `SELECT count(*) FROM lane_hold WHERE run = $1 AND token = $2`, now.RunID, now.Token); n != 1 {
		t.Fatal("the settle of a lost claim freed its successor's hold")
	}
	q.check()
}

func TestS2ALostFenceFreesTheRowAtOnce(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	_, old, _, now := stolen(q, jobs.StartParams{})
	for name, call := range map[string]func(pgx.Tx) error{
		"fence":    func(tx pgx.Tx) error { return jobs.Fence(t.Context(), tx, old) },
		"complete": func(tx pgx.Tx) error { return jobs.Complete(t.Context(), tx, old, nil) },
	} {
		// The claim is taken away while the call waits for the row: its update then fails the recheck, which would keep the lock.
		thief, tx := q.begin(), q.begin()
		if _, err := thief.Exec(t.Context(), `UPDATE run SET claimed_by = $2, claim_token = $3 WHERE id = $1`, old.RunID, old.Worker, old.Token); err != nil {
			t.Fatal(err)
		}
		if err := thief.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		thief = q.begin()
		if _, err := thief.Exec(t.Context(), `UPDATE run SET claimed_by = $2, claim_token = $3 WHERE id = $1`, now.RunID, now.Worker, now.Token); err != nil {
			t.Fatal(err)
		}
		lost := background(func() error { return call(tx) })
		q.awaitWaiter()
		if err := thief.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustIs(t, <-lost, jobs.ErrLeaseLost, name)
		q.exec(`SELECT FROM run WHERE id = $1 FOR NO KEY UPDATE NOWAIT`, old.RunID)
	}
}

func TestFenceHoldsTheClaimUntilTheTransactionEnds(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	tx := q.begin()
	if err := jobs.Fence(t.Context(), tx, c); err != nil {
		t.Fatalf("fence: %v", err)
	}
	q.expire(inc)
	if r := q.sweep(); r.Workers != 1 || r.Recovered != 0 {
		t.Fatalf("sweep did %+v, want the worker gone and its fenced run left", r)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := q.sweep(); r.Recovered != 1 {
		t.Fatalf("sweep recovered %d runs after the commit, want 1", r.Recovered)
	}
	q.wantPlace(run, "pending", "ready")
}

// decide settles as a worker does: from what the handler returned.
func decide(c *jobs.Claim, err error) jobs.Settlement {
	return jobs.TypeConfig{}.Settle(c, json.RawMessage(`{}`), err, nil)
}

func TestCompletionCommitsWithTheHandlersWrites(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.exec(`CREATE TABLE effect (run bigint)`)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	err := pgx.BeginFunc(t.Context(), q.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `INSERT INTO effect VALUES ($1)`, run); err != nil {
			return err
		}
		return jobs.Complete(t.Context(), tx, c, json.RawMessage(`{"n":1}`))
	})
	if err != nil {
		t.Fatalf("complete: %v", err)
	}
	if out := one[string](q, `SELECT output->>'n' FROM run WHERE id = $1 AND status = 'completed'`, run); out != "1" {
		t.Fatalf("output is %q, want 1", out)
	}
	if r := q.settle(inc, decide(c, nil))[0]; r != jobs.Already {
		t.Fatalf("settle after complete answered %s, want already", r)
	}
	if n := one[int](q, `SELECT count(*) FROM receipt`); n != 0 {
		t.Fatalf("%d receipts left, want none", n)
	}
}

func TestCompletionThatWasRolledBackFailsTheAttempt(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	tx := q.begin()
	q.complete(tx, c)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := decide(c, nil)
	if s.Outcome == jobs.Completed {
		t.Fatal("a run whose completion was asked for may not be settled as completed")
	}
	if r := q.settle(inc, s)[0]; r != jobs.Done {
		t.Fatalf("settle answered %s, want done", r)
	}
	q.wantPlace(run, "pending", "scheduled")
}

func TestCompletionInDoubtIsWaitedOut(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(pgx.Tx, context.Context) error{"commit": pgx.Tx.Commit, "rollback": pgx.Tx.Rollback} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			inc := q.register()
			run := q.start(jobs.StartParams{Lane: "x"})
			c := q.claimOne(inc)
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
			q.awaitWaiter()
			if err := end(tx, t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatalf("settle: %v", err)
			}
			want, status := jobs.Already, "completed"
			if name == "rollback" {
				want, status = jobs.Done, "pending"
			}
			if result != want || q.status(run) != status {
				t.Fatalf("settle answered %s and the run is %s, want %s and %s", result, q.status(run), want, status)
			}
			q.check()
		})
	}
}

func TestS10CompleteAndFenceBoundTheirTransactionsIdleTime(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for name, call := range map[string]func(pgx.Tx, *jobs.Claim) error{
		"fence":    func(tx pgx.Tx, c *jobs.Claim) error { return jobs.Fence(t.Context(), tx, c) },
		"complete": func(tx pgx.Tx, c *jobs.Claim) error { return jobs.Complete(t.Context(), tx, c, nil) },
	} {
		inc := q.register()
		q.exec(`UPDATE worker SET lease_millis = 300`)
		run := q.start(jobs.StartParams{})
		tx := q.begin()
		if _, err := tx.Exec(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
			t.Fatal(err)
		}
		if err := call(tx, q.claimOne(inc)); err != nil {
			t.Fatal(err)
		}
		var bound string
		if err := tx.QueryRow(t.Context(), `SELECT current_setting('idle_in_transaction_session_timeout')`).Scan(&bound); err != nil || bound != "100ms" {
			t.Fatalf("%s bounds idle time to %q, %v, want a third of the lease", name, bound, err)
		}
		// A process frozen here would do nothing: the server ends its transaction, and the row is free for the sweep.
		q.expire(inc)
		q.await(name+": the idle transaction is ended and the run recovered", func() bool {
			q.sweep()
			return q.status(run) == "pending"
		})
		if err := tx.Commit(t.Context()); err == nil {
			t.Errorf("%s: the idle transaction could still commit", name)
		}
		q.claimOne(q.register())
	}
}
