package kill_test

import (
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/pgtest"
)

// The database is stopped, or killed, for longer than the lease, with runs in flight and pending: both workers stop
// their handlers, come back, and neither declares the other dead. Nothing is lost, nothing counts as a lease loss.
func TestDatabaseAwayForLongerThanTheLease(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*pgtest.Instance) error{"restarted": (*pgtest.Instance).Stop, "killed": (*pgtest.Instance).Kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := pgtest.New(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := server.Close(); err != nil {
					t.Error(err)
				}
			})
			w := newWorldOn(t, server)
			const length = 2 * brief // both have to be back before either may sweep, on a slow machine too
			w.lease(length)
			ids := w.start(30, task{Gate: true, Complete: true})
			a, b := w.worker("a"), w.worker("b")
			w.marked(10, "start", "a")
			w.marked(10, "start", "b")
			if err := end(server); err != nil {
				t.Fatal(err)
			}
			gone := time.Now()
			w.eventually("both workers stop by themselves", func() bool {
				return a.counted("self_fences_total") && b.counted("self_fences_total")
			})
			w.eventually("the lease has run out", func() bool { return time.Since(gone) > length })
			if err := server.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.queue.Reset()
			w.open()
			w.want(ids, fate{attempts: 1, losses: 0, effects: 1})
			if n := w.count("SELECT count(DISTINCT id) FROM worker"); n != 2 {
				t.Errorf("%d workers are registered, want the two", n)
			}
		})
	}
}

// A restart that takes less time than the lease is no more than a pause: handlers run on.
func TestDatabaseRestartedQuickly(t *testing.T) {
	t.Parallel()
	server, err := pgtest.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWorldOn(t, server)
	w.lease(time.Minute)
	ids := w.start(5, task{Gate: true, Complete: true})
	w.worker("a")
	w.marked(5, "start", "a")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.queue.Reset()
	w.open()
	w.want(ids, fate{attempts: 1, losses: 0, tokens: 1, effects: 1})
}
