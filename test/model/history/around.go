package history

import "fmt"

// What stands around a run: its place, its receipt, its lane, its steps and children.

func (r *Relation) placed(run *runState, e Event) error {
	run.places[e.Place]++
	if e.Place == "waiting" {
		run.end = e.End
	}
	return nil
}

func (r *Relation) unplaced(run *runState, e Event) error {
	if run.places[e.Place]--; run.places[e.Place] == 0 {
		delete(run.places, e.Place)
	}
	return nil
}

func (r *Relation) receipted(_ *runState, e Event) error {
	r.receipts[e.Receipt] = e.Claims
	r.touch(e.Claims)
	return nil
}

func (r *Relation) unreceipted(_ *runState, e Event) error {
	r.touch(r.receipts[e.Receipt])
	delete(r.receipts, e.Receipt)
	return nil
}

func (r *Relation) touch(claims map[int64]Claim) {
	for id := range claims {
		r.tx.touched[id] = true
	}
}

// onePlace is S7 and S6: a pending run stands in one side table, a running one in one receipt of its worker, an ended
// one in neither.
func (r *Relation) onePlace(id int64, run *runState) error {
	n := 0
	for _, rows := range run.places {
		n += rows
	}
	switch {
	case run.status == Pending && n != 1:
		return r.refuse("S7", fmt.Sprintf("run %d is pending and stands in %d side tables %v", id, n, run.places))
	case run.status != Pending && n != 0:
		return r.refuse("S7", fmt.Sprintf("run %d is %s and stands in a side table %v", id, run.status, run.places))
	case run.status != Running:
		return nil
	}
	if n = r.named(id, run.claim); n != 1 {
		return r.refuse("S6", fmt.Sprintf("run %d is running and %d receipts of its worker name it", id, n))
	}
	return nil
}

func (r *Relation) named(id int64, c Claim) (receipts int) {
	for _, claims := range r.receipts {
		if claims[id] == c {
			receipts++
		}
	}
	return receipts
}

// held is S8: a lane never has more claims than its limit.
func (r *Relation) held(run *runState, e Event) error {
	l := r.laneOf(e.Lane)
	if run.hold != nil {
		return r.refuse("S8", "the run has a hold already")
	}
	run.hold = &hold{lane: e.Lane, claim: Claim{e.Worker, e.Token}}
	if l.holds++; l.holds > l.limit {
		return r.refuse("S8", fmt.Sprintf("lane %d has %d claims, its limit is %d", e.Lane, l.holds, l.limit))
	}
	return nil
}

func (r *Relation) laneOf(id int64) *laneState {
	l := r.lanes[id]
	if l == nil {
		l = &laneState{}
		r.lanes[id] = l
	}
	return l
}

func (r *Relation) kept(run *runState, e Event) error {
	if run.hold == nil || run.hold.claim.Worker == 0 {
		return r.refuse("S8", "only the hold of a claim is kept")
	}
	run.hold.claim = Claim{Token: e.Token}
	return nil
}

func (r *Relation) inherited(run *runState, e Event) error {
	if run.hold == nil || run.hold.claim.Worker != 0 {
		return r.refuse("S8", "only a hold that was kept is taken over")
	}
	run.hold.claim = Claim{e.Worker, e.Token}
	return nil
}

func (r *Relation) freed(run *runState, e Event) error {
	if run.hold == nil || run.hold.claim != (Claim{e.Worker, e.Token}) {
		return r.refuse("S8", "there is no such hold")
	}
	run.hold = nil
	r.laneOf(e.Lane).holds--
	if e.Worker != 0 {
		r.tx.freed = append(r.tx.freed, e)
	}
	return nil
}

// freedRightly is S8: a hold is freed when its claim runs no more and its handler has stopped, or its worker has.
func (r *Relation) freedRightly(e Event) error {
	run, c := r.runs[e.Run], Claim{e.Worker, e.Token}
	w := r.workers[e.Worker]
	switch {
	case run == nil:
		return nil
	case run.status == Running && run.claim == c:
		return r.refuse("S8", fmt.Sprintf("the hold of run %d was freed while its claim runs", e.Run))
	case run.doing != nil && *run.doing == c && w != nil && !w.gone:
		return r.refuse("S8", fmt.Sprintf("the hold of run %d was freed while its handler may still execute", e.Run))
	}
	return nil
}

func (r *Relation) widened(_ *runState, e Event) error {
	r.laneOf(e.Lane).limit = e.Limit
	return nil
}

// holdFits is S8 between transactions: a running run of a lane has the hold of its own claim; a hold that is kept is a
// pending run's, or one that a sweep will find.
func (r *Relation) holdFits(id int64, run *runState) error {
	if run.status == Running && run.lane != 0 && (run.hold == nil || run.hold.claim != run.claim) {
		return r.refuse("S8", fmt.Sprintf("run %d is running without the hold of its claim", id))
	}
	return nil
}

func (r *Relation) requested(run *runState, e Event) error {
	run.asked[e.Life] = true
	return nil
}

// stepped is S2 for a step: its memo is written by the run's claim, once. A replay may carry memos over.
func (r *Relation) stepped(run *runState, e Event) error {
	key := stepKey{e.Life, e.Key}
	before := run.steps[key]
	run.steps[key] = step{status: e.Status, token: e.Token}
	switch {
	case run.status != Running && before == (step{}):
		r.tx.copied = append(r.tx.copied, e)
		return nil
	case run.status != Running || run.claim.Token != e.Token || e.Life != run.life:
		return r.refuse("S2", fmt.Sprintf("the run is %s under token %d in life %d", run.status, run.claim.Token, run.life))
	case before.status == Done:
		return r.refuse("step", "the step was completed before")
	}
	return r.written(e, run.claim.Worker)
}

func (r *Relation) executing(run *runState, e Event) error {
	run.doing = &Claim{e.Worker, e.Token}
	if run.claim != *run.doing {
		return r.refuse("S2", "the claim is not the run's last one")
	}
	return nil
}

// stopped is W26: only the claim's own worker says that the handler has stopped, or the sweep after the worker's end.
func (r *Relation) stopped(run *runState, e Event) error {
	if run.doing == nil || *run.doing != (Claim{e.Worker, e.Token}) {
		return r.refuse("W26", "no such handler was executing")
	}
	run.doing = nil
	if w := r.workers[e.Worker]; w != nil && w.gone {
		return nil
	}
	return r.written(e, e.Worker)
}

// wrote is caller-owned completion: a handler's rows are there if and only if its completion is.
func (r *Relation) wrote(run *runState, e Event) error {
	if run.wrote != (Claim{}) {
		return r.refuse("completion", "the handler's row was there already")
	}
	run.wrote = Claim{Token: e.Token}
	return nil
}

// writesFit is caller-owned completion between transactions.
func (r *Relation) writesFit(id int64, run *runState) error {
	if run.wrote.Token != 0 && (run.status != Done || run.finished.Token != run.wrote.Token) {
		return r.refuse("completion", fmt.Sprintf("rows of run %d's handler are there, and its completion is not", id))
	}
	return nil
}

// closesLast is the close policy cancel: a run that has not completed ends after such children, however it ends. A child
// that is replayed lives on its own.
func (r *Relation) closesLast(id int64, run *runState) error {
	if !r.tx.closed[id] || !run.status.ended() || run.status == Done {
		return nil
	}
	for _, c := range run.children {
		child := r.runs[c]
		if child != nil && child.policy == "cancel" && child.life == 0 && !child.status.ended() {
			return r.refuse("closing", fmt.Sprintf("run %d has ended, and its child %d is still %s", id, c, child.status))
		}
	}
	return nil
}

// childrenKnow is the close policy: when a run ends without having completed, its children end too, or are asked to. A
// run may also be cancelled alone, which the rows do not tell; a child that is replayed lives on its own.
func (r *Relation) childrenKnow(id int64, run *runState) error {
	if !r.tx.closed[id] || run.status == Cancelled || run.end == Cancelled {
		return nil
	}
	for _, c := range run.children {
		child := r.runs[c]
		if child == nil || child.policy == "abandon" || child.status.ended() || child.end != "" || child.life > 0 {
			continue
		}
		if !child.asked[child.life] {
			return r.refuse("close policy", fmt.Sprintf("run %d has ended, and nobody asked its child %d to", id, c))
		}
	}
	return nil
}
