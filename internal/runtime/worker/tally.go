package worker

import (
	"sync"
	"sync/atomic"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// tally counts what the pool's row shows. The database takes the counts of an incarnation since it began; what an
// incarnation could not report any more, its successor reports.
type tally struct {
	completed, failed, fenced atomic.Int64

	mu       sync.Mutex
	base     counts // reported by earlier incarnations
	reported counts // confirmed altogether
}

type counts struct{ completed, failed, fenced int64 }

func (a counts) minus(b counts) counts {
	return counts{a.completed - b.completed, a.failed - b.failed, a.fenced - b.fenced}
}

// count adds one settled run.
func (t *tally) count(outcome jobs.Outcome, result jobs.SettleResult) {
	switch {
	case result == jobs.Lost:
		t.fenced.Add(1)
	case outcome == jobs.Completed:
		t.completed.Add(1)
	case outcome == jobs.Failed, outcome == jobs.TimedOut:
		t.failed.Add(1)
	}
}

// begin starts an incarnation.
func (t *tally) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.base = t.reported
}

// now is what has been counted so far, and what of it the present incarnation reports.
func (t *tally) now() (total, report counts) {
	total = counts{t.completed.Load(), t.failed.Load(), t.fenced.Load()}
	t.mu.Lock()
	defer t.mu.Unlock()
	return total, total.minus(t.base)
}

// confirm records that a total has reached the database.
func (t *tally) confirm(total counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reported = total
}
