package worker

import "time"

// gatherTime is how long a busy worker lets freed slots gather before it claims fewer than a quarter of them at once: a
// small claim costs the database as much as a large one, a slot that waits longer costs throughput.
const gatherTime = 3 * time.Millisecond

// load is how full a worker is.
type load struct {
	// concurrency is the number of handlers that may run at once.
	concurrency int
	// running handlers have not stopped.
	running int
	// unsettled runs have a result that the database has not confirmed.
	unsettled int
}

// free is the number of runs that the worker could start now. Results under way do not occupy a slot, up to as many as
// there are slots: beyond that the database is slower than the handlers, and claiming more would only pile up results.
func (l load) free() int {
	return max(0, min(l.concurrency-l.running, 2*l.concurrency-l.running-l.unsettled))
}

// ask is the number of runs to claim now: all free slots, or none when they are few, the worker is busy (its last claim
// came back full, so more will free soon) and has not waited for gatherTime yet.
func (l load) ask(busy bool, waited time.Duration) int {
	free := l.free()
	if busy && 4*free < l.concurrency && waited < gatherTime {
		return 0
	}
	return free
}

// enough is the highest number of running handlers at which ask may give another answer than now, when that is none; -1
// when no handler that stops can change it: then results must be confirmed first.
func (l load) enough(busy bool) int {
	switch {
	case l.free() > 0 && busy:
		return l.concurrency - (l.concurrency+3)/4
	case l.running >= l.concurrency:
		return l.concurrency - 1
	}
	return -1
}
