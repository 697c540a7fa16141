package kill_test

import (
	"syscall"
	"testing"
	"time"
)

// draining starts a worker that drains for as long.
func (w *world) draining(name string, timeout time.Duration) *workerProcess {
	w.t.Helper()
	return launch(w.t, settings{Name: name, URI: w.db.URI, Direct: w.db.URI, DrainTimeout: timeout})
}

// SIGTERM with time enough: what runs finishes, nothing more is claimed, the lease goes and the process ends with 0.
func TestDrainFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(14, task{Gate: true})
	a := w.draining("a", 20*time.Second)
	w.marked(10, "start", "a")
	a.signal(syscall.SIGTERM)
	w.eventually("the drain shows", func() bool { return w.count("SELECT count(*) FROM worker WHERE draining") == 1 })
	w.open()
	if code := a.exit(); code != 0 {
		t.Errorf("the drained worker ended with %d, want 0", code)
	}
	if n := w.count("SELECT count(*) FROM worker"); n != 0 {
		t.Error("the drained worker left its lease behind")
	}
	if n := w.count("SELECT count(*) FROM run WHERE status = 'completed'"); n != 10 {
		t.Errorf("%d runs completed, want the 10 that ran when the drain began", n)
	}
	w.worker("b")
	w.want(ids, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
}

// SIGTERM while one handler ignores its context and another obeys: the one that obeys is given back by its token, free of
// charge; the other stays claimed under the lease, never given back while it runs, and is recovered when the lease ends.
func TestDrainWithAHandlerThatIgnoresItW7(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	polite := w.start(1, task{Gate: true})
	deaf := w.start(1, task{Gate: true, Ignore: true})
	deaf = append(deaf, w.start(1, task{Gate: true, Ignore: true, Complete: true, Linger: true})...) // keeps a connection
	w.lease(brief)
	a := w.draining("a", 300*time.Millisecond)
	w.marked(3, "start", "a")
	w.marked(1, "completing", "a")
	a.signal(syscall.SIGTERM)
	if code := a.exit(); code != 1 {
		t.Errorf("a worker that left a handler behind ended with %d, want 1", code)
	}
	if n := w.count("SELECT count(*) FROM run WHERE id = ANY ($1) AND status = 'running'", deaf); n != 2 {
		t.Error("the run of a handler that had not stopped was given back")
	}
	if n := w.count("SELECT count(*) FROM worker WHERE pod = 'a'"); n != 1 {
		t.Error("the lease was removed though a handler had not stopped")
	}
	w.open()
	w.lease(lasting)
	w.worker("b")
	w.want(polite, fate{attempts: 1, losses: 0, tokens: 2, effects: 1})
	w.want(deaf, fate{attempts: 1, losses: 1, tokens: 2, effects: 1})
	if s := w.text("SELECT string_agg(outcome || ' ' || error, ',') FROM attempt WHERE run = ANY ($1)", polite); s != "given_back worker is draining" {
		t.Errorf("the attempt of the polite handler is %q, want it given back because its worker drains", s)
	}
}

// A drain longer than the lease keeps the lease.
func TestLongDrainKeepsTheLeaseW5(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.start(2, task{Gate: true})
	const length = 2 * brief
	w.lease(length)
	a := w.draining("a", 30*time.Second)
	w.marked(2, "start", "a")
	w.worker("b")
	a.signal(syscall.SIGTERM)
	w.eventually("the drain shows", func() bool { return w.count("SELECT count(*) FROM worker WHERE draining") == 1 })
	at := w.text("SELECT (clock_timestamp() + $1)::text", length+time.Second)
	w.eventually("the drain outlasts the lease", func() bool { return w.count("SELECT (clock_timestamp() > $1::text::timestamptz)::int", at) == 1 })
	w.open()
	w.want(ids, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
	if code := a.exit(); code != 0 {
		t.Errorf("the drained worker ended with %d, want 0", code)
	}
}
