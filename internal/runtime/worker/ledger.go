package worker

import (
	"context"
	"sync"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// heldBy names a claim as the queue does.
func heldBy(c *jobs.Claim) jobs.Held { return jobs.Held{RunID: c.RunID, Token: c.Token} }

// ledger is what this process holds: every claim from its hand-out to the settle that the database has confirmed.
type ledger struct {
	mu      sync.Mutex
	flights map[jobs.Held]*flight
	running int
	changed chan struct{} // closed when something has stopped or left; nil while nobody waits
}

// flight is one held claim.
type flight struct {
	claim   *jobs.Claim
	ctx     context.Context // of its handler, which may begin later
	cancel  context.CancelCauseFunc
	stopped bool // its handler has returned
}

func newLedger() *ledger {
	return &ledger{flights: map[jobs.Held]*flight{}}
}

// add holds claims from now on. Whoever cancels what is held from now on reaches their handlers, started or not.
func (l *ledger) add(claims []*jobs.Claim) []*flight {
	added := make([]*flight, len(claims))
	for i, c := range claims {
		ctx, cancel := context.WithCancelCause(context.Background())
		added[i] = &flight{claim: c, ctx: ctx, cancel: cancel}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range added {
		l.flights[heldBy(f.claim)] = f
	}
	l.running += len(added)
	return added
}

// drop forgets claims whose handlers never start.
func (l *ledger) drop(flights []*flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range flights {
		f.cancel(nil)
		delete(l.flights, heldBy(f.claim))
	}
	l.running -= len(flights)
	l.announce()
}

// stop records that a claim's handler has returned, and says how many others run.
func (l *ledger) stop(h jobs.Held) (running int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.flights[h]; f != nil && !f.stopped {
		f.stopped = true
		l.running--
		l.announce()
	}
	return l.running
}

// leave forgets claims whose settle the database has confirmed.
func (l *ledger) leave(settled ...jobs.Held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range settled {
		delete(l.flights, h)
	}
	l.announce()
}

// load is how many runs are held.
func (l *ledger) load() (running, unsettled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running, len(l.flights) - l.running
}

// cancelAll tells the handlers of one incarnation, or of every one when worker is 0, to stop.
func (l *ledger) cancelAll(worker int64, cause error) (cancelled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.flights {
		if !f.stopped && (worker == 0 || f.claim.Worker == worker) {
			f.cancel(cause)
			cancelled++
		}
	}
	return cancelled
}

// cancel tells the handler of one claim to stop, if it is held.
func (l *ledger) cancel(h jobs.Held, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.flights[h]; f != nil && !f.stopped {
		f.cancel(cause)
	}
}

// held lists every held claim.
func (l *ledger) held() []jobs.Held {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]jobs.Held, 0, len(l.flights))
	for h := range l.flights {
		all = append(all, h)
	}
	return all
}

// await waits until what is held satisfies enough; false when ctx ended first.
func (l *ledger) await(ctx context.Context, enough func(running, unsettled int) bool) bool {
	for {
		l.mu.Lock()
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		running, unsettled, changed := l.running, len(l.flights)-l.running, l.changed
		l.mu.Unlock()
		if enough(running, unsettled) {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (l *ledger) announce() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}
