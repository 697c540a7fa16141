package history

import (
	"fmt"
	"slices"
	"time"
)

// checker replays the committed changes and keeps what they say about every run, claim, worker and lane.
type checker struct {
	*Evidence
	found []Violation

	runs     map[int64]*run
	claims   map[claim]*claimed
	workers  map[int64]*incarnation
	holds    map[int64]*row // by run
	receipts map[int64]*row
	lanes    map[int64]int64 // limits
	held     map[int64]held  // by run
	touched  map[int64]bool  // runs of the transaction under way
	leaving  []*incarnation  // removed by themselves in the transaction under way
	marks    map[claim]*execution
}

// run is a run as of the changes so far.
type run struct {
	row    *row
	places map[string]int
	// endedIn is the transaction in which it ended last.
	endedIn int64
	// effects are the claims whose effects are there, completed the one under which the run was completed by its handler.
	effects   []int64
	completed int64
	steps     map[string]int64
}

// claimed is one claim in the database.
type claimed struct {
	worker   int64
	lane     int64
	from     time.Duration // committed
	left     time.Duration // committed; 0 while the run runs under it
	swept    bool
	overdue  bool
	byItself bool // its handler completed it, inside a transaction of its own
	written  time.Duration
}

// incarnation is one worker's row.
type incarnation struct {
	id      int64
	writer  string
	removed time.Duration // 0 while it is there
	leases  []leaseEnd
}

// leaseEnd says what a renewal promised.
type leaseEnd struct {
	committed, expires time.Duration
}

func newChecker(e *Evidence) *checker {
	return &checker{
		Evidence: e, runs: map[int64]*run{}, claims: map[claim]*claimed{}, workers: map[int64]*incarnation{}, holds: map[int64]*row{},
		receipts: map[int64]*row{}, lanes: map[int64]int64{}, held: map[int64]held{}, touched: map[int64]bool{}, marks: executions(e.Marks),
	}
}

func (c *checker) blame(i Invariant, run int64, at time.Duration, format string, args ...any) {
	c.found = append(c.found, Violation{Invariant: i, Run: run, At: at, Detail: fmt.Sprintf(format, args...)})
}

// replay walks through the changes, transaction by transaction.
func (c *checker) replay() error {
	for i, ch := range c.Changes {
		before, err := readRow(ch.Old)
		if err != nil {
			return err
		}
		after, err := readRow(ch.New)
		if err != nil {
			return err
		}
		if before == nil && after == nil {
			return fmt.Errorf("a change of %s in transaction %d has neither an old row nor a new one", ch.Table, ch.Tx)
		}
		if err := c.change(ch, before, after); err != nil {
			return err
		}
		if i == len(c.Changes)-1 || c.Changes[i+1].Tx != ch.Tx {
			c.commit(ch)
		}
	}
	return nil
}

func (c *checker) change(ch Change, before, after *row) error {
	switch ch.Table {
	case "run":
		c.runChanged(ch, before, after)
	case "ready", "scheduled", "blocked", "waiting":
		c.placeChanged(ch, before, after)
	case "worker":
		c.workerChanged(ch, before, after)
	case "receipt":
		c.receiptChanged(before, after)
	case "lane_hold":
		c.holdChanged(before, after)
	case "effect":
		c.effectWritten(ch, after)
	case "fenced":
		c.fencedWritten(ch, after)
	case "step_effect":
		c.stepWritten(ch, after)
	case "dedupe":
		c.dedupeChanged(after)
	case "lane", "cancel_request", "step", "completing":
	default:
		return fmt.Errorf("table %q is not known here", ch.Table)
	}
	return nil
}

// of is what is known of a run; side rows and effects may come before the run itself.
func (c *checker) of(id int64) *run {
	c.touched[id] = true
	r := c.runs[id]
	if r == nil {
		r = &run{places: map[string]int{}, steps: map[string]int64{}}
		c.runs[id] = r
	}
	return r
}

func (c *checker) placeChanged(ch Change, before, after *row) {
	if before != nil {
		r := c.of(before.ID)
		if r.places[ch.Table]--; r.places[ch.Table] == 0 {
			delete(r.places, ch.Table)
		}
	}
	if after != nil {
		c.of(after.ID).places[ch.Table]++
	}
}

func (c *checker) receiptChanged(before, after *row) {
	if before != nil {
		delete(c.receipts, before.ID)
		c.touch(before.IDs)
	}
	if after != nil {
		c.receipts[after.ID] = after
		c.touch(after.IDs)
	}
}

func (c *checker) touch(ids []int64) {
	for _, id := range ids {
		c.touched[id] = true
	}
}

func (c *checker) holdChanged(before, after *row) {
	if before != nil {
		delete(c.holds, before.Run)
		c.touched[before.Run] = true
	}
	if after != nil {
		c.holds[after.Run] = after
		c.touched[after.Run] = true
	}
}

// workerChanged follows incarnations: an id is inserted once, and only its own process takes a living one away.
func (c *checker) workerChanged(ch Change, before, after *row) {
	if after != nil {
		c.renewed(ch, before, after)
		return
	}
	w := c.workers[before.ID]
	w.removed = ch.Committed
	if ch.Writer == w.writer {
		c.leaving = append(c.leaving, w)
		return
	}
	if expires := before.ExpiresAt.Sub(c.Origin); expires > ch.At {
		c.blame(LiveLease, 0, ch.At, "worker %d was removed by %q %v before its lease ended", w.id, ch.Writer, expires-ch.At)
	}
}

func (c *checker) renewed(ch Change, before, after *row) {
	w := c.workers[after.ID]
	switch {
	case w == nil:
		w = &incarnation{id: after.ID, writer: ch.Writer}
		c.workers[after.ID] = w
	case before == nil || w.removed != 0:
		c.blame(IncarnationOnce, 0, ch.At, "worker %d was there before", after.ID)
		w.removed = 0
	}
	w.leases = append(w.leases, leaseEnd{ch.Committed, after.ExpiresAt.Sub(c.Origin)})
}

// lease is when the lease of a worker ended, as the database knew at an instant.
func (w *incarnation) lease(at time.Duration) time.Duration {
	i := slices.IndexFunc(w.leases, func(l leaseEnd) bool { return l.committed > at })
	if i < 0 {
		i = len(w.leases)
	}
	return w.leases[max(i-1, 0)].expires
}
