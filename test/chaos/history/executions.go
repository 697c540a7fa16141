package history

import (
	"cmp"
	"slices"
	"time"
)

// execution is what a process noted about one claim.
type execution struct {
	process string
	remote  bool // at an endpoint
	times   int
	began   time.Duration
	stopped time.Duration // 0: it never said so
}

func executions(marks []Mark) map[claim]*execution {
	all := map[claim]*execution{}
	for _, m := range marks {
		if !slices.Contains([]Event{Began, Stopped, Served, Answered}, m.Event) {
			continue
		}
		key := claim{m.Run, m.Token}
		x := all[key]
		if x == nil {
			x = &execution{process: m.Process, remote: m.Event == Served || m.Event == Answered}
			all[key] = x
		}
		if m.Event == Stopped || m.Event == Answered {
			x.stopped = m.At
			continue
		}
		x.began = m.At
		x.times++
	}
	return all
}

// end is when a handler stopped, at the latest with its process.
func (x *execution) end(e *Evidence) time.Duration {
	if x.stopped != 0 {
		return x.stopped
	}
	return e.died(x.process)
}

// tolerance is how late the end of an execution may have been noted: an endpoint has to hear first that its request is over.
func (x *execution) tolerance() time.Duration {
	if x.remote {
		return wakes
	}
	return tolerance
}

// executions wants every execution to be one of a committed claim, and every claim that was given up by its own process
// to have no handler any more.
func (c *checker) executions() {
	for key, x := range c.marks {
		k := c.claims[key]
		switch {
		case x.times > 1:
			c.blame(HandedOut, key.run, x.began, "token %d was handed out %d times", key.token, x.times)
		case k == nil:
			c.blame(HandedOut, key.run, x.began, "%s executed it under token %d, which was never claimed", x.process, key.token)
		case k.from > x.began+tolerance:
			c.blame(HandedOut, key.run, x.began, "%s executed it under token %d %v before the claim was committed", x.process, key.token, k.from-x.began)
		case k.left != 0 && !k.swept && !k.overdue && !k.byItself && x.end(c.Evidence) > k.written+x.tolerance():
			c.blame(StillExecutes, key.run, k.written, "token %d was settled while its handler executes in %s", key.token, x.process)
		case k.byItself:
			c.nextLife(key, k, x)
		}
	}
}

// nextLife wants a run that its handler has completed to begin no other life before that handler has stopped, or its
// worker's lease was lost.
func (c *checker) nextLife(key claim, k *claimed, x *execution) {
	until := x.end(c.Evidence)
	if w := c.workers[k.worker]; w.removed != 0 {
		until = min(until, w.removed)
	}
	y := c.marks[claim{key.run, key.token + 1}]
	if y != nil && y.began < until-x.tolerance() {
		c.blame(StillExecutes, key.run, y.began, "token %d began in %s while the handler of token %d executes in %s",
			key.token+1, y.process, key.token, x.process)
	}
}

// lateEffects wants no effect outside the database after a newer claim's handler began, of processes that were awake. An
// endpoint goes on while the worker that posted the run is frozen.
func (c *checker) lateEffects() {
	for _, m := range c.Marks {
		if m.Event != Acted && m.Event != Reached {
			continue
		}
		for key, x := range c.marks {
			late := key.run == m.Run && key.token > m.Token && x.began < m.At-c.hears(m)
			if late && !c.frozen(m.Process, m.At) && !c.frozen(c.process(m), m.At) {
				c.blame(NoLateEffect, m.Run, m.At, "%s acted under token %d, %v after token %d began in %s",
					m.Process, m.Token, m.At-x.began, key.token, x.process)
			}
		}
	}
}

// hears is how long whoever had an effect may take to hear that it was to have none.
func (c *checker) hears(m Mark) time.Duration {
	if m.Event == Reached {
		return wakes
	}
	return 0
}

// process is the worker whose claim a mark is about.
func (c *checker) process(m Mark) string {
	if k := c.claims[claim{m.Run, m.Token}]; k != nil && c.workers[k.worker] != nil {
		return c.workers[k.worker].writer
	}
	return m.Process
}

// lanesInUse wants no more handlers of a lane at once than its limit: a hold belongs to a claim until its handler has
// stopped, or its lease was lost.
func (c *checker) lanesInUse() {
	type edge struct {
		at    time.Duration
		count int
		key   claim
	}
	edges := map[int64][]edge{}
	for key, x := range c.marks {
		k := c.claims[key]
		if k == nil || k.lane == 0 {
			continue
		}
		end := x.end(c.Evidence)
		if k.swept {
			end = min(end, k.left)
		}
		if w := c.workers[k.worker]; w != nil && w.removed != 0 { // a sweep frees holds of completed runs too
			end = min(end, w.removed)
		}
		edges[k.lane] = append(edges[k.lane], edge{x.began, 1, key}, edge{max(end-x.tolerance(), x.began), -1, key})
	}
	for lane, all := range edges {
		slices.SortFunc(all, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.count, b.count)) })
		n := 0
		for _, e := range all {
			if n += e.count; e.count > 0 && int64(n) > c.lanes[lane] {
				c.blame(LaneLimit, e.key.run, e.at, "%d handlers of its lane execute, the limit is %d", n, c.lanes[lane])
			}
		}
	}
}

// recoveries wants runs to leave an ended lease within the bound, counted while somebody could look after them.
func (c *checker) recoveries() {
	for key, k := range c.claims {
		w := c.workers[k.worker]
		if w == nil {
			continue
		}
		left := k.left
		if left == 0 {
			left = c.End
		}
		expired := w.lease(left)
		if expired >= left {
			continue
		}
		bound := c.Bound(c.runs[key.run].row.Pool)
		if waited := c.attended(expired, left); waited > bound {
			c.blame(RecoveredInTime, key.run, left, "token %d stood %v under a lease that had ended, want at most %v",
				key.token, waited.Round(time.Millisecond), bound)
		}
	}
}

// final checks how everything stands at the end.
func (c *checker) final() {
	for _, s := range c.Started {
		if r := c.runs[s.Run]; r == nil || r.row == nil {
			c.blame(NoRunLost, s.Run, c.End, "its start was acknowledged and it is not there")
		}
	}
	c.startedOnce()
	for id, r := range c.runs {
		if r.row != nil && !r.row.ended() {
			c.blame(EveryRunEnds, id, c.End, "it is %s and stands in %v", r.row.Status, r.places)
		}
	}
	for id, h := range c.holds {
		c.blame(EveryRunEnds, id, c.End, "its hold of lane %d is left", h.Lane)
	}
	for _, receipt := range c.receipts {
		c.blame(EveryRunEnds, receipt.IDs[0], c.End, "receipt %d is left", receipt.ID)
	}
}
