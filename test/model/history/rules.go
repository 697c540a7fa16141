package history

import "fmt"

// rules are the transitions by kind. Each gets the run as it was, nil for events about none.
var rules = map[Kind]func(*Relation, *runState, Event) error{
	Started: (*Relation).started, Claimed: (*Relation).claimed, Settled: (*Relation).settled, Completed: (*Relation).completed,
	Returned: (*Relation).returned, Parked: (*Relation).parked, Recovered: (*Relation).recovered, Overran: (*Relation).overran,
	Closing: (*Relation).closing, Ended: (*Relation).endedPending,
	Replayed: (*Relation).replayed, Purged: (*Relation).purged,
	Registered: (*Relation).registered, Removed: (*Relation).workerRemoved,
	Placed: (*Relation).placed, Unplaced: (*Relation).unplaced,
	Receipted: (*Relation).receipted, Unreceipted: (*Relation).unreceipted,
	Held: (*Relation).held, Kept: (*Relation).kept, Inherited: (*Relation).inherited, Freed: (*Relation).freed, Widened: (*Relation).widened,
	Requested: (*Relation).requested, Stepped: (*Relation).stepped, Executing: (*Relation).executing, Stopped: (*Relation).stopped,
	Wrote: (*Relation).wrote,
}

// runless are the kinds of events about no run, or about one that was not there.
var runless = map[Kind]bool{Started: true, Registered: true, Removed: true, Receipted: true, Unreceipted: true, Widened: true}

// fenced is S2: a write of a claim matches only while the run is running under it.
func (r *Relation) fenced(run *runState, e Event) error {
	switch {
	case run.status != Running:
		return r.refuse("S2", fmt.Sprintf("the run is %s, and only a running one takes a write of a claim", run.status))
	case run.claim != Claim{e.Worker, e.Token}:
		return r.refuse("S2", fmt.Sprintf("the run is running under worker %d and token %d", run.claim.Worker, run.claim.Token))
	}
	return r.written(e, run.claim.Worker)
}

// written is S2 as a process sees it: only the process that is the claim's worker writes in its name.
func (r *Relation) written(e Event, by int64) error {
	w := r.workers[by]
	if w != nil && w.writer != "" && e.Writer != "" && w.writer != e.Writer {
		return r.refuse("S2", fmt.Sprintf("worker %d is the process %q", by, w.writer))
	}
	return nil
}

func (r *Relation) started(known *runState, e Event) error {
	switch {
	case known != nil:
		return r.refuse("protocol", "the run is there already")
	case e.Status != Pending:
		return r.refuse("protocol", "a run begins pending")
	}
	r.runs[e.Run] = &runState{
		status: Pending, places: map[string]int{}, lane: e.Lane, parent: e.Parent, policy: e.Policy,
		children: map[spawnKey]int64{}, asked: map[int64]bool{}, steps: map[stepKey]step{},
	}
	if e.Lane != 0 && r.lanes[e.Lane] == nil {
		r.lanes[e.Lane] = &laneState{limit: e.Limit}
	}
	if e.Parent != 0 && e.Key != "" {
		return r.spawned(e)
	}
	return nil
}

// spawned is S2 for a child: its parent is running, and nobody has asked for its end; a key names one child.
func (r *Relation) spawned(e Event) error {
	parent, key := r.runs[e.Parent], spawnKey{e.Life, e.Key}
	switch {
	case parent == nil:
		return r.refuse("spawn", "there is no such parent")
	case parent.status != Running:
		return r.refuse("spawn", fmt.Sprintf("the parent is %s, and only a running one has children", parent.status))
	case e.Token != 0 && parent.claim != Claim{e.Worker, e.Token}:
		return r.refuse("spawn", fmt.Sprintf("the parent is running under worker %d and token %d", parent.claim.Worker, parent.claim.Token))
	case e.Life != parent.life:
		return r.refuse("spawn", fmt.Sprintf("the parent is in life %d", parent.life))
	case parent.children[key] != 0:
		return r.refuse("spawn", fmt.Sprintf("the parent has run %d for this key", parent.children[key]))
	}
	parent.children[key] = e.Run
	return r.written(e, parent.claim.Worker)
}

// claimed is S2 (the token grows with every claim and is never reset) and S3 (an incarnation is claimed for once).
func (r *Relation) claimed(run *runState, e Event) error {
	w := r.workers[e.Worker]
	switch {
	case run.status != Pending:
		return r.refuse("S7", fmt.Sprintf("the run is %s, and only a pending one is claimed", run.status))
	case run.end != "":
		return r.refuse("closing", "the run waits for its children to end, and is not claimed again")
	case w == nil || w.gone:
		return r.refuse("S3", "the worker has no row")
	case e.Token != run.claim.Token+1:
		return r.refuse("S2", fmt.Sprintf("the run's last token was %d", run.claim.Token))
	case run.doing != nil:
		return r.refuse("W26", "the handler of an earlier claim may still execute")
	}
	run.status, run.claim = Running, Claim{e.Worker, e.Token}
	return r.written(e, e.Worker)
}

func (r *Relation) settled(run *runState, e Event) error {
	if err := r.fenced(run, e); err != nil {
		return err
	}
	if !e.Status.ended() || e.Status == Lost {
		return r.refuse("protocol", "a settle does not write this status")
	}
	r.setStatus(run, e)
	return nil
}

// setStatus also notes how a run ends.
func (r *Relation) setStatus(run *runState, e Event) {
	run.status = e.Status
	switch {
	case e.Status == Done:
		run.finished = run.claim
	case e.Status.ended():
		r.tx.closed[e.Run] = true
	}
}

func (r *Relation) completed(run *runState, e Event) error {
	if err := r.fenced(run, e); err != nil {
		return err
	}
	if e.Status != Done {
		return r.refuse("protocol", "a handler only completes")
	}
	r.setStatus(run, e)
	return nil
}

func (r *Relation) returned(run *runState, e Event) error {
	if err := r.fenced(run, e); err != nil {
		return err
	}
	run.status = Pending
	return nil
}

func (r *Relation) parked(run *runState, e Event) error {
	if e.End != "" {
		r.tx.closed[e.Run] = true
	} else if e.Attempted {
		return r.refuse("park", "waiting without a slot spends no attempt")
	}
	return r.returned(run, e)
}

// recovered is S5: a run is taken only from a worker whose row is gone.
func (r *Relation) recovered(run *runState, e Event) error {
	w := r.workers[e.Worker]
	switch {
	case run.status != Running || run.claim != Claim{e.Worker, e.Token}:
		return r.refuse("S5", "the run is not running under the claim that was swept")
	case w == nil || !w.gone:
		return r.refuse("S5", "the worker still has its row")
	case e.Status == Done || e.Status == Failed:
		return r.refuse("protocol", "a sweep does not write this status")
	}
	r.setStatus(run, e)
	return nil
}

// overran ends a run under a live worker. The note that its handler executes keeps it from being replayed.
func (r *Relation) overran(run *runState, e Event) error {
	switch {
	case run.status != Running || run.claim != Claim{e.Worker, e.Token}:
		return r.refuse("S2", "the run is not running under this claim")
	case e.Status != TimedOut:
		return r.refuse("protocol", "only a deadline ends a run under its handler")
	}
	r.setStatus(run, e)
	return nil
}

// closing is a run whose end waits for its children: nobody has seen it ended.
func (r *Relation) closing(run *runState, e Event) error {
	if !r.tx.closed[e.Run] || run.status != e.End {
		return r.refuse("closing", fmt.Sprintf("the run was %s before this transaction", run.status))
	}
	run.status = Pending
	return nil
}

// endedPending is S10: only a pending run ends without its claim. A closing one ends as it was going to.
func (r *Relation) endedPending(run *runState, e Event) error {
	if e.Status == Done {
		return r.refuse("S10", "nobody but a claim completes a run")
	}
	if run.end != "" && e.Status != run.end {
		return r.refuse("closing", fmt.Sprintf("the run was going to be %s", run.end))
	}
	run.end = ""
	r.setStatus(run, e)
	return nil
}

// replayed is the one way out of an ended run's status, and only when no handler of it executes any more (W26).
func (r *Relation) replayed(run *runState, e Event) error {
	if run.doing != nil {
		return r.refuse("W26", "the handler of the last claim may still execute")
	}
	run.status, run.end, run.finished, run.wrote = Pending, "", Claim{}, Claim{}
	run.life++
	r.tx.replayed[e.Run] = true
	return nil
}

func (r *Relation) purged(run *runState, e Event) error {
	if !run.status.ended() || run.hold != nil || run.doing != nil {
		return r.refuse("protocol", "only a run that has ended altogether is forgotten")
	}
	delete(r.runs, e.Run)
	return nil
}

// registered is S3: an id is used once and never revived.
func (r *Relation) registered(_ *runState, e Event) error {
	if r.workers[e.Worker] != nil {
		return r.refuse("S3", "the id was used before")
	}
	r.workers[e.Worker] = &workerState{writer: e.Writer}
	return nil
}

func (r *Relation) workerRemoved(_ *runState, e Event) error {
	w := r.workers[e.Worker]
	if w == nil || w.gone {
		return r.refuse("S3", "there is no such worker")
	}
	w.gone = true
	return nil
}
