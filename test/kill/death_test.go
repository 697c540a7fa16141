package kill_test

import (
	"syscall"
	"testing"
)

// SIGKILL with runs in flight: every one is executed again by somebody else, costs a lease loss and no attempt, and has
// one effect.
func TestKilledWithRunsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(6, task{Gate: true, Complete: true})
	w.lease(brief)
	a := w.worker("a")
	w.marked(6, "start", "a")
	a.signal(syscall.SIGKILL)
	w.lease(lasting)
	w.worker("b")
	w.marked(6, "start", "b")
	w.open()
	w.want(ids, fate{attempts: 1, losses: 1, tokens: 2, effects: 1})
	w.eventually("recovered leases are counted", func() bool { return w.text("SELECT leases_recovered::text FROM pool") == "6" })
	if n := w.count("SELECT count(*) FROM attempt WHERE outcome = 'lost' AND pod = 'a'"); n != 6 {
		t.Errorf("%d attempts say that worker a lost them, want 6", n)
	}
}

// Killed after the effect and the completion were written but before the commit: neither is there.
func TestKilledBeforeTheCommitOfACompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(3, task{Gate: true, Complete: true, Linger: true})
	w.lease(brief)
	a := w.worker("a")
	w.marked(3, "completing", "a")
	a.signal(syscall.SIGKILL)
	w.lease(lasting)
	w.worker("b")
	w.marked(3, "completing", "b")
	w.open()
	w.want(ids, fate{attempts: 1, losses: 1, tokens: 2, effects: 1})
}

// The zombie: a process frozen past its lease comes back with results, and changes nothing. Its handlers' completions
// raise and roll their effects back, its settles are answered as lost, and it goes on as a new incarnation.
func TestFrozenPastTheLeaseChangesNothingW1W2(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	completing := w.start(3, task{Gate: true, Ignore: true, Complete: true})
	settling := w.start(3, task{Gate: true, Ignore: true})
	all := append(append([]int64{}, completing...), settling...)
	w.lease(brief)
	a := w.worker("a")
	w.marked(6, "start", "a")
	a.signal(syscall.SIGSTOP)
	w.lease(lasting)
	w.worker("b")
	w.marked(6, "start", "b")
	w.open()
	w.want(all, fate{attempts: 1, losses: 1, tokens: 2, effects: 1})
	before := w.versions(all)
	a.signal(syscall.SIGCONT)
	w.eventually("the zombie's handlers come to their end", func() bool {
		return w.count("SELECT count(*) FROM public.mark WHERE worker = 'a' AND event <> 'start' AND event <> 'completing'") == 6
	})
	w.eventually("the zombie lives on as a new incarnation that holds nothing", func() bool {
		return w.count("SELECT count(*) FROM worker WHERE pod = 'a' AND in_flight = 0 AND beat > 2") == 1
	})
	if after := w.versions(all); after != before {
		t.Errorf("the zombie changed runs that had ended:\nbefore %s\nafter  %s", before, after)
	}
	if n := w.count("SELECT count(*) FROM public.effect WHERE worker = 'a' AND run = ANY ($1)", completing); n != 0 {
		t.Errorf("%d effects of the zombie's completions were committed", n)
	}
	w.eventually("the writes that were fenced off are counted", func() bool {
		return w.count("SELECT count(*) FROM pool WHERE fenced_writes >= 3") == 1
	})
	more := w.start(12, task{})
	w.want(more, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
}

// The zombie comes back while its successor is still at work on the same runs: no completion, no settle and no give-back
// of it may end them or take them away from the successor.
func TestFrozenAndBackWhileItsSuccessorRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(3, task{Gate: true, Ignore: true, Complete: true})
	ids = append(ids, w.start(3, task{Gate: true, Ignore: true})...)
	w.lease(brief)
	a := w.worker("a")
	w.marked(6, "start", "a")
	a.signal(syscall.SIGSTOP)
	w.lease(lasting)
	w.worker("b")
	w.marked(6, "start", "b")
	before := w.versions(ids)
	a.signal(syscall.SIGCONT)
	w.openTo("a")
	w.eventually("the zombie's handlers come to their end", func() bool {
		return w.count("SELECT count(*) FROM public.mark WHERE worker = 'a' AND event IN ('stopped', 'failed', 'done')") == 6
	})
	w.eventually("the zombie lives on as a new incarnation, and what was fenced off is counted", func() bool {
		return w.count("SELECT count(*) FROM worker WHERE pod = 'a' AND in_flight = 0") == 1 &&
			w.count("SELECT count(*) FROM pool WHERE fenced_writes = 6") == 1
	})
	if after := w.versions(ids); after != before {
		t.Errorf("the zombie changed runs of its successor:\nbefore %s\nafter  %s\n%s", before, after, w.story())
	}
	if n := w.count("SELECT count(*) FROM public.effect WHERE run = ANY ($1)", ids[:3]); n != 0 {
		t.Errorf("%d effects of the zombie's completions were committed", n)
	}
	w.openTo("b")
	w.want(ids[:3], fate{attempts: 1, losses: 1, tokens: 2, effects: 1})
	w.ended(ids)
	if n := w.count("SELECT count(*) FROM run WHERE id = ANY ($1) AND output->>'by' = 'b'", ids); n != 6 {
		t.Errorf("%d runs have the successor's output, want all 6", n)
	}
}

// Frozen inside its transaction, with the run's row locked: the database ends that transaction after a while, so that
// recovery is not blocked for ever, and the thawed commit fails.
func TestFrozenInsideItsTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(2, task{Gate: true, Ignore: true, Complete: true, Linger: true})
	w.lease(brief)
	a := w.worker("a")
	w.marked(2, "completing", "a")
	a.signal(syscall.SIGSTOP)
	w.lease(lasting)
	w.worker("b")
	w.marked(2, "completing", "b")
	w.open()
	w.want(ids, fate{attempts: 1, losses: 1, tokens: 2, effects: 1})
	a.signal(syscall.SIGCONT)
	w.eventually("the zombie's handlers come to their end", func() bool {
		return w.count("SELECT count(*) FROM public.mark WHERE worker = 'a' AND event IN ('stopped', 'failed', 'done')") == 2
	})
	if n := w.count("SELECT count(*) FROM public.effect WHERE worker <> 'b'"); n != 0 {
		t.Errorf("%d effects of the zombie were committed", n)
	}
}

// Cut off from the database but alive, a worker cancels its handlers before anybody else may start the same runs.
func TestCutOffStopsBeforeOthersStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(4, task{Gate: true})
	w.lease(brief)
	w.proxied()
	w.marked(4, "start", "a")
	w.proxy.Silence()
	w.lease(lasting)
	w.worker("b")
	w.marked(4, "start", "b")
	if n := w.count(`SELECT count(*) FROM public.mark s JOIN public.mark e USING (run)
		WHERE s.worker = 'b' AND s.event = 'start' AND e.worker = 'a' AND e.event = 'stopped' AND e.at < s.at`); n != 4 {
		t.Errorf("%d of 4 handlers stopped before their run was started elsewhere\n%s", n, w.story())
	}
	w.proxy.Resume()
	w.open()
	w.want(ids, fate{attempts: 1, losses: 1, tokens: 2, effects: 1})
	w.eventually("the worker lives on as a new incarnation", func() bool {
		return w.count("SELECT count(*) FROM worker WHERE pod = 'a' AND in_flight = 0 AND expires_at > clock_timestamp()") == 1
	})
}
