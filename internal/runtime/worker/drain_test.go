package worker

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// lasting is a handler that takes d, whatever its context does.
func lasting(d time.Duration) jobs.HandlerFunc {
	return func(context.Context, *jobs.Claim) (json.RawMessage, error) {
		<-time.After(d)
		return nil, nil
	}
}

func TestDrainLetsHandlersFinishWithinTheTimeout(t *testing.T) {
	q := newFakeQueue(t, 20)
	q.tuning.Concurrency = 3
	inBubble(t, q, lasting(10*time.Second), func(b *bubble) {
		b.at(5 * time.Second)
		if err := b.drain(); err != nil {
			b.Errorf("drain: %v", err)
		}
		b.wantStatuses(map[string]int{"completed": 3, "pending": 17})
		if took := time.Since(b.begin); took > 10*time.Second+time.Millisecond {
			b.Errorf("the drain ended at %v, want as soon as the last handler had finished at 10 s", took)
		}
		if !b.q.left {
			b.Error("the lease was not removed though nothing is left")
		}
	})
}

// A handler that is cancelled by the drain and stops is given back without spending an attempt, and the drain is clean.
func TestDrainCancelsAtTheTimeoutAndGivesBack(t *testing.T) {
	h := &blocking{}
	inBubble(t, newFakeQueue(t, 2), h.handle, func(b *bubble) {
		b.at(5 * time.Second)
		if err := b.drain(); err != nil {
			b.Errorf("drain: %v", err)
		}
		if took := time.Since(b.begin); took != 35*time.Second {
			b.Errorf("the drain ended at %v, want at 5 s + 30 s", took)
		}
		if causes := h.ended(); len(causes) != 2 || !errors.Is(causes[0], jobs.ErrDraining) {
			b.Errorf("handlers ended with %v, want two with ErrDraining", causes)
		}
		if r := b.q.run(1); r.status != "pending" || r.attempts != 0 {
			b.Errorf("the run is %s with %d attempts, want pending with none", r.status, r.attempts)
		}
	})
}

// S9: what has not stopped is not given back, and the lease stays until it expires; it is renewed to the end.
func TestDrainKeepsTheLeaseOfAHandlerThatIgnoresItW7(t *testing.T) {
	q := newFakeQueue(t, 1)
	inBubble(t, q, lasting(200*time.Second), func(b *bubble) {
		b.at(5 * time.Second)
		err := b.drain()
		if !errors.Is(err, ErrNotDrained) {
			b.Errorf("the drain says %v, want ErrNotDrained", err)
		}
		if took := time.Since(b.begin); took != 40*time.Second {
			b.Errorf("the drain ended at %v, want at 5 s + 30 s + 5 s", took)
		}
		if r := b.q.run(1); r.status != "running" || b.q.left {
			b.Errorf("the run is %s, lease removed: %v; want it running under the lease", r.status, b.q.left)
		}
		if last := b.q.params[len(b.q.params)-1]; last.InFlight != 1 || !last.Draining || last.Number < 3 {
			b.Errorf("the last beat is %+v, want one of the drain with a run in flight", last)
		}
		<-time.After(200 * time.Second) // lets the handler end before the bubble does
	})
}

// S9: a claim in flight when the drain begins is awaited and what it brings goes back, never to a handler.
func TestDrainGivesBackAClaimInFlight(t *testing.T) {
	q := newFakeQueue(t, 0)
	inBubble(t, q, func(context.Context, *jobs.Claim) (json.RawMessage, error) {
		t.Error("a claim was handed out after the drain had begun")
		return nil, nil
	}, func(b *bubble) {
		b.at(500 * time.Millisecond)
		q.hook(q.after, "claim", func(context.Context) error {
			q.hook(q.after, "claim", nil)
			<-time.After(2 * time.Second)
			return nil
		})
		q.mu.Lock()
		q.runs[1] = &fakeRun{status: "pending"}
		q.mu.Unlock()
		b.w.claimer.wake()
		b.at(time.Second)
		if err := b.drain(); err != nil {
			b.Errorf("drain: %v", err)
		}
		if r := b.q.run(1); r.status != "pending" || r.token != 1 || q.count("giveBack") != 1 {
			b.Errorf("the run is %s after %d claims, want one claim that was given back", r.status, r.token)
		}
	})
}

// A claim that stays silent does not outlast the drain timeout; what it did is found out before the lease goes.
func TestDrainGivesUpASilentClaim(t *testing.T) {
	q := newFakeQueue(t, 0)
	q.tuning.LeaseMillis = 600_000 // statements may take ten seconds
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(500 * time.Millisecond)
		q.hook(q.after, "claim", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		q.mu.Lock()
		q.runs[1] = &fakeRun{status: "pending"}
		q.mu.Unlock()
		b.w.claimer.wake()
		b.at(time.Second)
		if err := b.drain(); err != nil {
			b.Errorf("drain: %v", err)
		}
		if took := time.Since(b.begin); took > 4*time.Second {
			b.Errorf("the drain ended at %v, want soon after 1 s + 2 s", took)
		}
		if r := b.q.run(1); r.status != "pending" || q.count("reconcile") == 0 {
			b.Errorf("the run is %s after %d reconciles, want it given back by one", r.status, q.count("reconcile"))
		}
	}, func(c *Config) { c.DrainTimeout = 2 * time.Second })
}

// S9: results are written until they are confirmed, even when the database is away as the drain begins.
func TestDrainFlushesResults(t *testing.T) {
	q := newFakeQueue(t, 3)
	q.before["settle"] = func(context.Context) error { return errCut }
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(time.Second)
		go func() {
			<-time.After(20 * time.Second)
			q.hook(q.before, "settle", nil)
		}()
		if err := b.drain(); err != nil {
			b.Errorf("drain: %v", err)
		}
		b.wantStatuses(map[string]int{"completed": 3})
	})
}

func TestDrainEndsThoughResultsCannotBeWritten(t *testing.T) {
	q := newFakeQueue(t, 3)
	q.before["settle"] = func(context.Context) error { return errCut }
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(time.Second)
		if err := b.drain(); !errors.Is(err, ErrNotDrained) {
			b.Errorf("the drain says %v, want ErrNotDrained", err)
		}
		if q.left {
			b.Error("the lease was removed though results are not confirmed: others would wait for nothing, but a late settle would be lost")
		}
	})
}

// S9: a claim whose reply was lost is not forgotten by a drain: the lease goes only after a reconcile.
func TestDrainReconcilesALostClaim(t *testing.T) {
	q := newFakeQueue(t, 2)
	q.after["claim"] = func(context.Context) error { return errCut }
	q.before["reconcile"] = func(context.Context) error { return errCut }
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(100 * time.Millisecond)
		q.hook(q.before, "reconcile", nil)
		if err := b.drain(); err != nil {
			b.Errorf("drain: %v", err)
		}
		b.wantStatuses(map[string]int{"pending": 2})
	})
}

func TestStopBeforeRegistrationIsClean(t *testing.T) {
	q := newFakeQueue(t, 1)
	q.before["register"] = func(context.Context) error { return errCut }
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(30 * time.Second)
		if err := b.w.Ready(); !errors.Is(err, errCut) {
			b.Errorf("the worker says %v, want why it has no lease", err)
		}
		if err := b.drain(); err != nil {
			b.Errorf("a worker that never had a lease says %v", err)
		}
	})
}
