package kill_test

import (
	"context"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// A caller's transaction stays open on a pending run: claims pass over that run and nobody waits, neither for other runs
// nor for the recovery of a dead worker's. When it ends, the run is what the caller made of it.
func TestCallersTransactionStaysOpen(t *testing.T) {
	t.Parallel()
	for name, commits := range map[string]bool{"commits": true, "rolls back": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			wanted := w.start(1, task{})
			tx := w.cancelling(wanted[0])
			others := w.start(5, task{Gate: true, Complete: true})
			w.lease(brief)
			a := w.worker("a")
			w.marked(5, "start", "a")
			a.signal(syscall.SIGKILL)
			w.lease(lasting)
			w.worker("b")
			w.marked(5, "start", "b")
			w.open()
			w.want(others, fate{attempts: 1, losses: 1, tokens: 2, effects: 1})
			w.want(w.start(20, task{}), fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
			if n := w.count("SELECT count(*) FROM run WHERE id = ANY ($1) AND status = 'pending' AND claim_token = 0", wanted); n != 1 {
				t.Error("the run that the caller holds was claimed")
			}
			if !commits {
				if err := tx.Rollback(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.want(wanted, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
				return
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s := w.text("SELECT status FROM run WHERE id = $1", wanted[0]); s != "cancelled" {
				t.Errorf("the run is %s, want cancelled", s)
			}
			w.clean(wanted)
		})
	}
}

// cancelling cancels a run in a transaction that stays open.
func (w *world) cancelling(run int64) pgx.Tx {
	w.t.Helper()
	tx, err := w.queue.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	// Nothing ends a caller's transaction for it.
	if _, err := tx.Exec(w.t.Context(), "SET LOCAL idle_in_transaction_session_timeout = 0"); err != nil {
		w.t.Fatal(err)
	}
	answer, err := jobs.Cancel(w.t.Context(), tx, jobs.CancelParams{Run: run, By: "caller", Reason: "not needed"})
	if err != nil || answer != jobs.CancelDone {
		w.t.Fatalf("cancel of a pending run says %q, %v", answer, err)
	}
	return tx
}

// A caller's wish about a running run, in a transaction that stays open, keeps neither the run's handler nor its settle
// waiting; committed while the run runs, it reaches the handler.
func TestCancelOfARunningRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(2, task{Gate: true})
	w.worker("a")
	w.marked(2, "start", "")
	open, err := w.queue.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Rollback(context.Background()) }()
	if answer, err := jobs.Cancel(t.Context(), open, jobs.CancelParams{Run: ids[0], By: "caller", Reason: "too late"}); err != nil || answer != jobs.CancelAsked {
		t.Fatalf("cancel of a running run says %q, %v", answer, err)
	}
	if answer, err := jobs.Cancel(t.Context(), w.queue, jobs.CancelParams{Run: ids[1], By: "ann", Reason: "wrong"}); err != nil || answer != jobs.CancelAsked {
		t.Fatalf("cancel of a running run says %q, %v", answer, err)
	}
	w.eventually("the second run is cancelled", func() bool {
		return w.text("SELECT status FROM run WHERE id = $1", ids[1]) == "cancelled"
	})
	w.open()
	w.want(ids[:1], fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
}
