package history

import (
	"encoding/json"
	"slices"
	"time"
)

// Evidence is everything that is known of one episode.
type Evidence struct {
	// Origin is the database's clock when the machine's stood at 0.
	Origin time.Time
	// Changes are in the order in which their transactions committed; those of one transaction stand together, in order.
	Changes []Change
	// Marks are what processes noted, in any order.
	Marks []Mark
	// Started are the starts that were acknowledged to a caller.
	Started []Start
	// Processes are the workers' lives, Faults what was done to them.
	Processes []Process
	Faults    []Fault
	// End is when the evidence was gathered.
	End time.Duration
	// Bound is how long after the end of a lease the runs of a pool may still stand under it: the sweep's period, the
	// transaction timeout of S10 and what a busy machine adds.
	Bound func(pool string) time.Duration
	// MaxRunning is how many runs pools may have in flight, those that have a limit.
	MaxRunning map[string]int
	// Warmup is how long a process may take after a fault until it looks after others again.
	Warmup time.Duration
}

// Start is an acknowledged start: the run that stands for it, and its idempotency key, empty without one.
type Start struct {
	Run    int64
	Tenant string
	Key    string
}

// Change is one row before and after a committed transaction: Old is empty for an insert, New for a delete.
type Change struct {
	// Tx is the transaction's number.
	Tx    int64           `json:"tx"`
	Table string          `json:"table"`
	Old   json.RawMessage `json:"old,omitempty"`
	New   json.RawMessage `json:"new,omitempty"`
	// Writer is the process that wrote, empty for callers.
	Writer string `json:"writer,omitempty"`
	// At is when the row was written, Committed when its transaction ended.
	At        time.Duration `json:"at"`
	Committed time.Duration `json:"committed"`
}

// Mark is something that a process noted.
type Mark struct {
	At      time.Duration `json:"at"`
	Wall    time.Time     `json:"wall"`
	Process string        `json:"process"`
	Event   Event         `json:"event"`
	Run     int64         `json:"run,omitempty"`
	Token   int64         `json:"token,omitempty"`
	Worker  int64         `json:"worker,omitempty"`
	// For is how long a stall lasted before At.
	For time.Duration `json:"for,omitempty"`
	// Note is free text for people.
	Note string `json:"note,omitempty"`
}

// Event is what a mark is about.
type Event string

const (
	// Began is a handler's first moment.
	Began Event = "began"
	// Stopped is its last.
	Stopped Event = "stopped"
	// Acted is an effect of a handler outside the database, of a handler that obeys its context.
	Acted Event = "acted"
	// Served is the first moment of a request at an endpoint. The process is the endpoint's: it finds out a moment later that
	// its worker has given the request up.
	Served Event = "served"
	// Answered is its last.
	Answered Event = "answered"
	// Reached is an effect outside the database in between.
	Reached Event = "reached"
	// Stalled says that the process had no processor for a while, whatever took it.
	Stalled Event = "stalled"
)

// Process is one worker's life; Died is 0 while it lives.
type Process struct {
	Name    string
	Started time.Duration
	Died    time.Duration
}

// Endpoint is the writer and the process of HTTP endpoints, which execute runs of workers elsewhere.
const Endpoint = "endpoint"

// Fault is something that kept one process, or all of them when Process is empty, from working.
type Fault struct {
	Process string
	Kind    string
	From    time.Duration
	To      time.Duration
	// Frozen says that the process did not execute at all.
	Frozen bool
}

// tolerance is how exactly the database's clock is known on the machine's.
const tolerance = 25 * time.Millisecond

// wakes is how long a process that was frozen needs to find out that its lease has ended.
const wakes = 500 * time.Millisecond

// frozen says whether a process stood still within a moment before an instant.
func (e *Evidence) frozen(process string, at time.Duration) bool {
	for _, f := range e.Faults {
		if f.Frozen && f.Process == process && f.From < at && f.To+wakes > at {
			return true
		}
	}
	return slices.ContainsFunc(e.Marks, func(m Mark) bool {
		return m.Event == Stalled && m.Process == process && m.At-m.For < at && m.At+wakes > at
	})
}

// died is when a process ended, the end of the evidence while it lives.
func (e *Evidence) died(process string) time.Duration {
	for _, p := range e.Processes {
		if p.Name == process && p.Died != 0 {
			return p.Died
		}
	}
	return e.End
}

// attended is how much of a stretch of time there was a process that could look after others.
func (e *Evidence) attended(from, to time.Duration) (sum time.Duration) {
	const step = 20 * time.Millisecond
	for at := from; at < to; at += step {
		if slices.ContainsFunc(e.Processes, func(p Process) bool { return e.well(p, at) }) {
			sum += min(step, to-at)
		}
	}
	return sum
}

// well says whether a process had been undisturbed for the time that it needs.
func (e *Evidence) well(p Process, at time.Duration) bool {
	if at-e.Warmup < p.Started || p.Died != 0 && at >= p.Died {
		return false
	}
	return !slices.ContainsFunc(e.Faults, func(f Fault) bool {
		return (f.Process == "" || f.Process == p.Name) && f.From <= at && f.To >= at-e.Warmup
	})
}
