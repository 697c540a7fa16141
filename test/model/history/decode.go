package history

import "fmt"

// Decode turns the changes of a history, in the order in which their transactions committed, into events.
func Decode(changes []Change) ([]Event, error) {
	var events []Event
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && changes[n].Tx == changes[0].Tx {
			n++
		}
		tx, err := decodeTransaction(changes[:n])
		if err != nil {
			return nil, err
		}
		events = append(events, tx...)
		changes = changes[n:]
	}
	return events, nil
}

// transaction is what the meaning of a run's change depends on: what else was written with it.
type transaction struct {
	waits     map[int64]Status // runs that were put into waiting, with the end that closing ones will have
	completes map[int64]bool   // runs that their handlers completed
}

func decodeTransaction(changes []Change) ([]Event, error) {
	tx := transaction{waits: map[int64]Status{}, completes: map[int64]bool{}}
	rows := make([]decoded, len(changes))
	for i, c := range changes {
		d, err := c.read()
		if err != nil {
			return nil, err
		}
		rows[i] = d
		switch {
		case d.new == nil:
		case c.Table == "waiting":
			tx.waits[d.new.ID] = d.new.EndStatus
		case c.Table == "completing":
			tx.completes[d.new.Run] = true
		}
	}
	var events []Event
	for _, d := range rows {
		e, err := tx.event(d)
		if err != nil {
			return nil, err
		}
		if e.Kind != "" {
			e.Tx, e.Writer = d.Tx, d.Writer
			events = append(events, e)
		}
	}
	return events, nil
}

// event is what one change means; the zero event when it means nothing to the protocol.
func (tx transaction) event(d decoded) (Event, error) {
	switch d.Table {
	case "run":
		e := tx.runEvent(d)
		if d.By != nil && e.Kind != Claimed {
			e.Worker, e.Token = d.By.Worker, d.By.Token
		}
		return e, nil
	case "ready", "scheduled", "blocked", "waiting":
		return placeEvent(d), nil
	case "worker":
		return insertedOrDeleted(d, Registered, Removed, Event{Worker: d.either().ID}), nil
	case "receipt":
		return receiptEvent(d), nil
	case "lane_hold":
		return holdEvent(d), nil
	case "lane":
		return laneEvent(d), nil
	case "cancel_request":
		return insertedOrDeleted(d, Requested, "", Event{Run: d.either().Run, Life: d.either().Replay}), nil
	case "step":
		return stepEvent(d), nil
	case "completing":
		c := d.either()
		e := insertedOrDeleted(d, Executing, Stopped, Event{Run: c.Run, Worker: c.Worker, Token: c.Token})
		if d.old != nil && d.new != nil {
			e.Kind = Executing
		}
		return e, nil
	case "effect":
		return insertedOrDeleted(d, Wrote, "", Event{Run: d.either().Run, Token: d.either().Token}), nil
	}
	return Event{}, fmt.Errorf("transaction %d changed the table %q, which is not recorded", d.Tx, d.Table)
}

// either is the new row, or the old one of a delete.
func (d decoded) either() *row {
	if d.new != nil {
		return d.new
	}
	return d.old
}

func insertedOrDeleted(d decoded, inserted, deleted Kind, e Event) Event {
	switch {
	case d.old == nil:
		e.Kind = inserted
	case d.new == nil:
		e.Kind = deleted
	}
	return e
}

// runEvent names the transition of a run's row by its two ends and by the counters that only one kind of it moves.
func (tx transaction) runEvent(d decoded) Event {
	if d.old == nil {
		n := d.new
		return Event{
			Kind: born(n), Run: n.ID, Status: n.Status, Lane: n.Lane, Limit: n.LaneLimit,
			Parent: n.Parent, Key: n.SpawnKey, Life: n.SpawnReplay, Policy: n.ClosePolicy,
		}
	}
	e := Event{Run: d.old.ID, Worker: d.old.ClaimedBy, Token: d.old.ClaimToken, Life: d.old.Replays}
	if d.new == nil {
		e.Kind = Purged
		return e
	}
	e.Status, e.Attempted = d.new.Status, d.new.Attempts > d.old.Attempts
	e.Kind = tx.transition(d.old, d.new)
	switch e.Kind {
	case Claimed:
		e.Worker, e.Token = d.new.ClaimedBy, d.new.ClaimToken
	case Parked, Closing:
		e.End = tx.waits[d.old.ID]
	}
	return e
}

// born is the kind of a run's first row: pending, and without a claim.
func born(n *row) Kind {
	if n.Status != Pending || n.ClaimToken != 0 {
		return Altered
	}
	return Started
}

func (tx transaction) transition(old, now *row) Kind {
	switch {
	case now.Status == Running && old.Status == Pending:
		return Claimed
	case now.ClaimToken != old.ClaimToken:
		return Altered
	case old.Status == now.Status:
		return sameStatus(old, now)
	case old.Status == Running:
		return tx.fromRunning(old, now)
	case old.Status == Pending:
		return Ended
	case now.Status != Pending:
		return Altered
	case old.Replays == now.Replays && tx.waits[old.ID] != "":
		return Closing
	case old.Replays+1 == now.Replays:
		return Replayed
	}
	return Altered
}

func (tx transaction) fromRunning(old, now *row) Kind {
	_, waits := tx.waits[old.ID]
	switch {
	case now.LeaseLosses > old.LeaseLosses:
		return Recovered
	case now.Status == Pending && waits:
		return Parked
	case now.Status == Pending:
		return Returned
	case now.Status == Done && tx.completes[old.ID]:
		return Completed
	case tx.completes[old.ID]:
		return Overran
	}
	return Settled
}

// sameStatus is a change that left the status alone: nothing to the protocol, unless it touched the claim, a counter of
// the protocol, or a run that had ended.
func sameStatus(old, now *row) Kind {
	if *protocol(old) == *protocol(now) {
		return ""
	}
	return Altered
}

// columns are those of run that only a transition may change.
type columns struct {
	status                                               Status
	claimedBy, token, settled, attempts, losses, replays int64
}

func protocol(r *row) *columns {
	return &columns{r.Status, r.ClaimedBy, r.ClaimToken, r.SettledToken, r.Attempts, r.LeaseLosses, r.Replays}
}

func placeEvent(d decoded) Event {
	e := insertedOrDeleted(d, Placed, Unplaced, Event{Run: d.either().ID, Place: d.Table})
	if e.Kind == Placed {
		e.End = d.new.EndStatus
	}
	return e
}

func receiptEvent(d decoded) Event {
	r := d.either()
	claims := map[int64]Claim{}
	for i, id := range r.IDs {
		claims[id] = Claim{Worker: r.Worker, Token: r.Tokens[i]}
	}
	return insertedOrDeleted(d, Receipted, Unreceipted, Event{Receipt: r.ID, Worker: r.Worker, Claims: claims})
}

func holdEvent(d decoded) Event {
	h := d.either()
	e := Event{Run: h.Run, Lane: h.Lane, Worker: h.Worker, Token: h.Token}
	switch {
	case d.old == nil:
		e.Kind = Held
	case d.new == nil:
		e.Kind = Freed
	case d.new.Worker == 0:
		e.Kind = Kept
	default:
		e.Kind = Inherited
	}
	return e
}

func laneEvent(d decoded) Event {
	if d.new == nil || d.old != nil && d.old.MaxClaims == d.new.MaxClaims {
		return Event{}
	}
	return Event{Kind: Widened, Lane: d.new.ID, Limit: d.new.MaxClaims}
}

func stepEvent(d decoded) Event {
	if d.new == nil { // retention, or the steps of an ended run put away
		return Event{}
	}
	s := d.new
	return Event{Kind: Stepped, Run: s.Run, Token: s.Token, Key: s.Name, Life: s.Replay, Status: s.Status}
}
