package history

import (
	"fmt"
	"maps"
	"slices"
)

// Refusal is the error of a history that no run of the protocol explains.
type Refusal struct {
	// Event is the first one that does not fit; at the end of a transaction, its last one.
	Event Event
	// Rule is the sentence of docs/leases.md that is broken: S1 to S10, or a word for what stands beside them.
	Rule string
	// Reason says what was found.
	Reason string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s (%s)", r.Rule, r.Reason, r.Event) }

// Accept says whether the rules of the protocol allow a history that begins with an empty database; a *Refusal says
// where they do not. Events with the same Tx in a row are one transaction: rules about several rows hold at its end.
func Accept(events []Event) error {
	r := NewRelation()
	for _, e := range events {
		if err := r.Apply(e); err != nil {
			return err
		}
	}
	return r.Commit()
}

// Relation is the protocol's state after the events so far. It is not safe for concurrent use.
type Relation struct {
	runs     map[int64]*runState
	workers  map[int64]*workerState
	lanes    map[int64]*laneState
	receipts map[int64]map[int64]Claim
	tx       unfinished
	last     Event
}

// unfinished is what the transaction under way did and must have made good when it commits.
type unfinished struct {
	touched  map[int64]bool // runs whose row or surroundings it changed
	replayed map[int64]bool // runs that it gave another life
	closed   map[int64]bool // runs that it ended without completing them
	freed    []Event        // holds of claims that it freed
	copied   []Event        // memos that it wrote for runs that do not run
}

func newUnfinished() unfinished {
	return unfinished{touched: map[int64]bool{}, replayed: map[int64]bool{}, closed: map[int64]bool{}}
}

// runState is what the protocol knows of one run.
type runState struct {
	status   Status
	claim    Claim // the last one, also when it has ended
	life     int64
	end      Status // of a closing run, the status that it will have
	places   map[string]int
	lane     int64
	parent   int64
	policy   string
	children map[spawnKey]int64
	asked    map[int64]bool // lives that somebody wants to end
	steps    map[stepKey]step
	hold     *hold
	doing    *Claim // its handler has completed it and may still execute
	wrote    Claim  // the claim whose handler's rows are there
	finished Claim  // the claim that completed it
}

// spawnKey names a child: each life of a parent has its own.
type spawnKey struct {
	life int64
	key  string
}

type stepKey struct {
	life int64
	name string
}

type step struct {
	status Status
	token  int64
}

// hold is a slot of a lane; worker 0 is kept for the run's next claim.
type hold struct {
	lane  int64
	claim Claim
}

type workerState struct {
	writer string
	gone   bool
}

type laneState struct {
	limit int64
	holds int64
}

// NewRelation begins with an empty database.
func NewRelation() *Relation {
	return &Relation{
		runs: map[int64]*runState{}, workers: map[int64]*workerState{}, lanes: map[int64]*laneState{}, receipts: map[int64]map[int64]Claim{},
		tx: newUnfinished(),
	}
}

// Apply takes the next event. An event of another transaction than the last one commits that first.
func (r *Relation) Apply(e Event) error {
	if r.last.Kind != "" && e.Tx != r.last.Tx {
		if err := r.Commit(); err != nil {
			return err
		}
	}
	r.last = e
	rule, ok := rules[e.Kind]
	if !ok {
		return r.refuse("protocol", "no rule allows this change")
	}
	run := r.runs[e.Run]
	if run == nil && !runless[e.Kind] {
		return r.refuse("protocol", "there is no such run")
	}
	r.tx.touched[e.Run] = true
	return rule(r, run, e)
}

// Commit ends the transaction under way: what holds between transactions must hold now.
func (r *Relation) Commit() error {
	for _, id := range slices.Sorted(maps.Keys(r.tx.touched)) {
		if err := r.sound(id); err != nil {
			return err
		}
	}
	for _, e := range r.tx.freed {
		if err := r.freedRightly(e); err != nil {
			return err
		}
	}
	for _, e := range r.tx.copied {
		if run := r.runs[e.Run]; !r.tx.replayed[e.Run] || run.life != e.Life {
			return r.refuse("S2", fmt.Sprintf("a step of run %d was written, which is %s in life %d", e.Run, run.status, run.life))
		}
	}
	r.tx = newUnfinished()
	return nil
}

// Quiet says whether everything has ended: every run, every claim's receipt and hold. It is the claim that every run
// ends, for a history whose workers were left alone long enough.
func (r *Relation) Quiet() error {
	for _, id := range slices.Sorted(maps.Keys(r.runs)) {
		run := r.runs[id]
		switch {
		case !run.status.ended():
			return r.refuse("liveness", fmt.Sprintf("run %d is still %s", id, run.status))
		case run.hold != nil:
			return r.refuse("liveness", fmt.Sprintf("run %d has ended and still holds lane %d", id, run.hold.lane))
		case run.doing != nil:
			return r.refuse("liveness", fmt.Sprintf("run %d has ended and is still noted as executing", id))
		}
	}
	if len(r.receipts) > 0 {
		return r.refuse("liveness", fmt.Sprintf("%d receipts are left", len(r.receipts)))
	}
	return nil
}

func (r *Relation) refuse(rule, reason string) error {
	return &Refusal{Event: r.last, Rule: rule, Reason: reason}
}

// sound says whether one run stands as it must between transactions.
func (r *Relation) sound(id int64) error {
	run := r.runs[id]
	if run == nil {
		return nil
	}
	for _, check := range []func(int64, *runState) error{r.onePlace, r.holdFits, r.writesFit, r.closesLast, r.childrenKnow} {
		if err := check(id, run); err != nil {
			return err
		}
	}
	return nil
}
