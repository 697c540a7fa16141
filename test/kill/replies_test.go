package kill_test

import (
	"testing"

	"github.com/syncline-dev/syncline/test/kill/proxy"
)

// statements as they stand in the queue's SQL.
const (
	claimStatement  = "FROM claim("
	settleStatement = "FROM settle("
	beatStatement   = "UPDATE worker w"
)

// A claim that took runs and whose reply never came: the runs go back by the reconcile, without a lease loss or an
// attempt, and are executed once. Cut and silent connections alike.
func TestClaimReplyLost(t *testing.T) {
	t.Parallel()
	for name, effect := range map[string]proxy.Effect{"cut": proxy.LoseReply, "silent": proxy.LoseReplySilently} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ids := w.start(3, task{})
			lost := w.proxy.Arm(claimStatement, effect)
			w.proxied()
			w.hit(lost)
			w.want(ids, fate{attempts: 1, losses: 0, tokens: 2, effects: 1})
			if n := w.count("SELECT count(*) FROM attempt WHERE outcome = 'given_back' AND error_code = 'reconciled'"); n != 3 {
				t.Errorf("%d claims were given back by a reconcile, want 3", n)
			}
			if n := w.count("SELECT count(*) FROM public.mark WHERE event = 'start'"); n != 3 {
				t.Errorf("handlers started %d times, want once a run", n)
			}
		})
	}
}

// A claim that the worker has given up reaches the database late and takes runs that nobody will execute: the next beats
// show its receipt, and the reconcile gives the runs back. The worker lives, so nothing else would find them.
func TestClaimArrivesLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	late := w.proxy.Arm(claimStatement, proxy.HoldRequest)
	a := w.proxied()
	w.hit(late)
	w.eventually("the worker gives the claim up and reconciles", func() bool { return a.counted("reconciles_total") })
	w.abandoned(late) // its cancel request, which a busy machine delays, would end the late claim
	busy := w.start(10, task{Gate: true})
	w.marked(10, "start", "a") // no slot is free, so no other claim is on its way and none comes
	ids := w.start(5, task{})
	late.Release()
	w.eventually("the late claim has taken the runs and they have been given back", func() bool {
		return w.count("SELECT count(*) FROM attempt WHERE outcome = 'given_back'") == 5
	})
	w.open()
	w.want(ids, fate{attempts: 1, losses: 0, tokens: 2, effects: 1})
	w.want(busy, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
}

// A settle that was written and whose reply never came is asked again, and nothing moves: no second attempt, no second
// execution, each run counted once.
func TestSettleReplyLost(t *testing.T) {
	t.Parallel()
	for name, effect := range map[string]proxy.Effect{"cut": proxy.LoseReply, "silent": proxy.LoseReplySilently} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ids := w.start(4, task{})
			lost := w.proxy.Arm(settleStatement, effect)
			w.proxied()
			w.hit(lost)
			w.want(ids, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
			w.eventually("each run is counted once", func() bool {
				return w.text("SELECT completed || ' ' || failed || ' ' || fenced_writes FROM pool") == "4 0 0"
			})
		})
	}
}

// A settle that never reached the database is written again; one that arrives late, after it was written again, changes
// nothing.
func TestSettleArrivesLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(4, task{})
	late := w.proxy.Arm(settleStatement, proxy.HoldRequest)
	w.proxied()
	w.hit(late)
	w.want(ids, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
	before := w.versions(ids)
	late.Release()
	more := w.start(4, task{})
	w.want(more, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
	if after := w.versions(ids); after != before {
		t.Errorf("a late settle changed ended runs:\nbefore %s\nafter  %s", before, after)
	}
}

// versions are the row versions of runs: they change with every write.
func (w *world) versions(ids []int64) string {
	w.t.Helper()
	return w.text("SELECT string_agg(format('%s:%s', id, xmin), ' ' ORDER BY id) FROM run WHERE id = ANY ($1)", ids)
}

// The commit of a handler's own completion is lost on the way: the worker asks the database instead of guessing.
func TestReplyToAHandlersCommitLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(1, task{Complete: true})
	lost := w.proxy.Arm("commit", proxy.LoseReply)
	w.proxied()
	w.hit(lost)
	w.want(ids, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
}

// A handler called complete, its transaction was rolled back, and it returned as if all were well: its worker does not
// believe it, and the run is executed again.
func TestCompletionThatWasRolledBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(2, task{Complete: true, Forget: true})
	w.worker("a")
	w.want(ids, fate{attempts: 2, losses: 0, tokens: 2, effects: 1})
}

// A beat whose reply is lost is followed by another in time: nobody notices.
func TestBeatReplyLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(2, task{Gate: true})
	a := w.proxied()
	w.marked(2, "start", "")
	for range 3 {
		lost := w.proxy.Arm(beatStatement, proxy.LoseReply)
		w.hit(lost)
	}
	w.open()
	w.want(ids, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
	if a.counted("self_fences_total") || w.count("SELECT count(*) FROM worker") != 1 {
		t.Error("a worker that lost single replies to beats gave up its lease")
	}
}
