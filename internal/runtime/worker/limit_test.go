package worker

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// running counts the fake queue's running runs. The caller holds mu.
func (q *fakeQueue) running() (n int) {
	for r := range maps.Values(q.runs) {
		if r.status == "running" {
			n++
		}
	}
	return n
}

// W34: whatever wakes the loop while a claim is slow, no more handlers run than there are slots.
func TestConcurrencyIsNeverExceededW34(t *testing.T) {
	q := newFakeQueue(t, 60)
	q.tuning.Concurrency = 3
	q.before["claim"] = func(context.Context) error { <-time.After(20 * time.Millisecond); return nil }
	var now, most atomic.Int64
	handler := func(context.Context, *jobs.Claim) (json.RawMessage, error) {
		most.Store(max(most.Load(), now.Add(1)))
		<-time.After(30 * time.Millisecond)
		now.Add(-1)
		return nil, nil
	}
	inBubble(t, q, handler, func(b *bubble) {
		for i := range 2000 {
			b.at(time.Duration(i) * time.Millisecond)
			b.w.claimer.wake()
			b.w.claimer.freed(0)
		}
		if n := most.Load(); n != 3 {
			b.Errorf("%d handlers ran at once with 3 slots", n)
		}
		b.wantStatuses(map[string]int{"completed": 60})
	})
}

// W44: a slot that frees is claimed for at once, also when a limit of the pool had cut the last claim.
func TestARunThatEndsMakesRoomForTheNextAtOnceW44(t *testing.T) {
	for name, limit := range map[string]int{"by concurrency": 0, "by a limit of the pool": 5} {
		t.Run(name, func(t *testing.T) {
			q := newFakeQueue(t, 50)
			q.tuning.Concurrency = 5
			if limit > 0 {
				q.tuning.Concurrency = 50
				q.limit = func(slots int) (int, time.Duration) {
					if room := limit - q.running(); room < slots {
						return room, time.Second
					}
					return slots, 0
				}
			}
			inBubble(t, q, lasting(300*time.Millisecond), func(b *bubble) {
				b.at(3100 * time.Millisecond) // ten rounds of five
				b.wantStatuses(map[string]int{"completed": 50})
				if n := q.count("claim"); n > 60 {
					b.Errorf("%d claims for 50 runs in ten rounds", n)
				}
			})
		})
	}
}

// A limit that lets nothing through is asked again soon at first, then ever less often, but not less than an idle pool.
func TestALimitThatGrantsNothingIsAskedLessAndLess(t *testing.T) {
	q := newFakeQueue(t, 1)
	open := false
	q.limit = func(slots int) (int, time.Duration) {
		if open {
			return slots, 0
		}
		return 0, 5 * time.Millisecond
	}
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(100 * time.Millisecond)
		if n := q.count("claim"); n < 4 {
			b.Errorf("%d claims within 100 ms of meeting another claim, want a few", n)
		}
		b.at(time.Minute)
		if n := q.count("claim"); n > 140 {
			b.Errorf("%d claims within a minute in which a limit let nothing through, want about one a second", n)
		}
		q.mu.Lock()
		open = true
		q.mu.Unlock()
		b.at(time.Minute + 1500*time.Millisecond)
		b.wantStatuses(map[string]int{"completed": 1})
	})
}

// A start rate is kept up with: what is allowed is claimed when it is allowed, not at the next poll.
func TestAStartRateIsKeptUpWith(t *testing.T) {
	q := newFakeQueue(t, 200)
	q.tuning.PollMillis = 60_000
	tokens, filled := 1.0, time.Time{}
	q.limit = func(int) (int, time.Duration) {
		if filled.IsZero() {
			filled = time.Now()
		}
		tokens = min(1, tokens+20*time.Since(filled).Seconds())
		filled = time.Now()
		if tokens < 1 {
			return 0, time.Duration((1-tokens)/20*float64(time.Second)) + time.Millisecond
		}
		tokens--
		return 1, 50 * time.Millisecond
	}
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(5 * time.Second)
		if n := q.statuses()["completed"]; n < 70 || n > 101 {
			b.Errorf("%d runs in 5 s at 20 a second", n)
		}
	})
}

// Whatever is tuned is in force, and reported to the database, within two heartbeats without any notification.
func TestTuningIsInForceAndVisibleWithinTwoHeartbeats(t *testing.T) {
	q := newFakeQueue(t, 40)
	q.tuning.Concurrency = 2
	h := &blocking{}
	inBubble(t, q, h.handle, func(b *bubble) {
		b.at(time.Second)
		b.wantStatuses(map[string]int{"pending": 38, "running": 2})
		two := 2 * q.tuning.Heartbeat()
		b.q.tune(func(p *spec.Pool) {
			p.Concurrency, p.MaxRunning, p.Fairness = 7, 100, spec.FairnessTenant
			p.StartRate = &spec.StartRate{PerSecond: 9, Burst: 9}
			p.Retention = spec.Retention{CompletedMillis: 1, FailedMillis: 2}
			p.LeaseMillis, p.HeartbeatMillis = 30_000, 10_000
		})
		b.at(time.Second + two)
		b.wantStatuses(map[string]int{"pending": 33, "running": 7})
		q.mu.Lock()
		last := q.params[len(q.params)-1]
		q.mu.Unlock()
		if last.TuningGeneration != 2 || last.Lease != 30*time.Second || last.Heartbeat != 10*time.Second {
			b.Errorf("two heartbeats later the worker reports generation %d with a lease of %v and a heartbeat of %v, want 2, 30 s, 10 s",
				last.TuningGeneration, last.Lease, last.Heartbeat)
		}
		b.q.tune(func(p *spec.Pool) { p.Concurrency, p.Hold = 40, true })
		b.at(time.Second + 2*two)
		b.wantStatuses(map[string]int{"pending": 33, "running": 7})
	})
}

// HoldAndDrain: nothing is claimed, what still runs at the drain timeout is given back, and the worker stays.
func TestHoldAndDrainGivesBackAtTheDrainTimeout(t *testing.T) {
	h := &blocking{}
	inBubble(t, newFakeQueue(t, 4), h.handle, func(b *bubble) {
		b.at(time.Second)
		b.q.tune(func(p *spec.Pool) { p.Hold, p.Drain = true, true })
		b.w.heart.poke.set()
		b.at(20 * time.Second)
		b.q.tune(func(p *spec.Pool) { p.PollMillis = 2000 }) // another change does not begin the wait anew
		b.w.heart.poke.set()
		b.at(31*time.Second - time.Millisecond)
		if n := len(h.ended()); n != 0 {
			b.Fatalf("%d handlers were cancelled before the drain timeout", n)
		}
		b.at(32 * time.Second)
		causes := h.ended()
		if len(causes) != 4 || !errors.Is(causes[0], jobs.ErrDraining) {
			b.Fatalf("handlers ended with %v, want four with ErrDraining", causes)
		}
		b.at(50 * time.Second)
		b.wantStatuses(map[string]int{"pending": 4})
		if r := b.q.run(1); r.attempts != 0 || r.token != 1 {
			b.Errorf("a drained run has spent %d attempts in %d claims, want none in one", r.attempts, r.token)
		}
		if err := b.w.Ready(); err != nil {
			b.Errorf("a held worker says that it is not ready: %v", err)
		}
		b.q.tune(func(p *spec.Pool) { p.Hold, p.Drain = false, false })
		b.w.heart.poke.set()
		b.at(55 * time.Second)
		b.wantStatuses(map[string]int{"running": 4})
	})
}

func TestAHoldThatIsLiftedInTimeCancelsNothing(t *testing.T) {
	h := &blocking{}
	inBubble(t, newFakeQueue(t, 2), h.handle, func(b *bubble) {
		b.at(time.Second)
		b.q.tune(func(p *spec.Pool) { p.Hold, p.Drain = true, true })
		b.w.heart.poke.set()
		b.at(30 * time.Second)
		b.q.tune(func(p *spec.Pool) { p.Drain = false })
		b.w.heart.poke.set()
		b.at(3 * time.Minute)
		if n := len(h.ended()); n != 0 {
			b.Errorf("%d handlers were cancelled though the drain was called off", n)
		}
	})
}
