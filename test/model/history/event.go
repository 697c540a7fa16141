package history

import (
	"fmt"
	"strings"
)

// Kind says what one event did.
type Kind string

// The kinds of events. A run's row changes by those from Started to Purged; the others are about what stands around it.
const (
	// Started is the birth of a run, by a caller or, with a parent, by the parent's handler.
	Started Kind = "started"
	// Claimed makes a pending run running under (Worker, Token).
	Claimed Kind = "claimed"
	// Settled ends a run by its worker's settle.
	Settled Kind = "settled"
	// Completed ends a run by its handler, inside the handler's own transaction.
	Completed Kind = "completed"
	// Returned makes a running run pending again by its own claim: a retry, a snooze, a give-back.
	Returned Kind = "returned"
	// Parked makes a running run wait without a slot, by its own claim.
	Parked Kind = "parked"
	// Recovered takes a run away from a worker whose row is gone.
	Recovered Kind = "recovered"
	// Overran ends a running run whose deadline is over and whose handler has not stopped; the handler may still execute.
	Overran Kind = "overran"
	// Closing makes a run that this transaction has ended wait for its children first: it ends when they have.
	Closing Kind = "closing"
	// Ended ends a pending run: a cancel, a deadline, the end that a closing run was waiting for.
	Ended Kind = "ended"
	// Replayed gives an ended run another life.
	Replayed Kind = "replayed"
	// Purged removes the row of an ended run.
	Purged Kind = "purged"
	// Altered is every other change of what the protocol reads in a run's row; no rule allows one.
	Altered Kind = "altered"

	// Registered is the birth of a worker, one incarnation of one process.
	Registered Kind = "registered"
	// Removed is the end of a worker: its own leave, or the sweep.
	Removed Kind = "removed"
	// Placed puts a run into a side table, Unplaced takes it out; a park and a wake are such moves.
	Placed   Kind = "placed"
	Unplaced Kind = "unplaced"
	// Receipted writes down a claim of several runs, Unreceipted forgets it.
	Receipted   Kind = "receipted"
	Unreceipted Kind = "unreceipted"
	// Held gives a claim a slot of its lane; Kept leaves it to the run's next claim, Inherited is that claim taking it
	// over, Freed gives it up.
	Held      Kind = "held"
	Kept      Kind = "kept"
	Inherited Kind = "inherited"
	Freed     Kind = "freed"
	// Widened sets how many claims a lane may have.
	Widened Kind = "widened"
	// Requested asks for the end of one life of a run.
	Requested Kind = "requested"
	// Stepped writes the memo of a step.
	Stepped Kind = "stepped"
	// Executing notes that a handler which has completed its run may still execute, Stopped that it does not.
	Executing Kind = "executing"
	Stopped   Kind = "stopped"
	// Wrote is a handler's own row, which stands or falls with its completion.
	Wrote Kind = "wrote"
)

// Status is a run's status, as the column run.status has it.
type Status string

// The statuses of a run.
const (
	Pending   Status = "pending"
	Running   Status = "running"
	Done      Status = "completed"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
	TimedOut  Status = "timed_out"
	Lost      Status = "lost"
)

// ended says that a run's life is over.
func (s Status) ended() bool { return s != Pending && s != Running }

// Claim names one claim of a run: the worker's id, and the token that no other claim of the run has.
type Claim struct{ Worker, Token int64 }

// Event is one step of the protocol. Fields that a kind does not need are zero.
type Event struct {
	// Tx names the transaction: events in a row with the same number are committed together.
	Tx   int64
	Kind Kind
	// Run is 0 for events about workers, receipts and lanes.
	Run int64
	// Worker and Token name the claim that acted, or that lost the run; Worker is 0 in a hold that is kept. With Started they
	// name the parent's claim, when it is known.
	Worker, Token int64
	// Writer is the process that wrote, empty when that is not known.
	Writer string
	// Status is the run's status afterwards, or the step's.
	Status Status
	// Place is the side table.
	Place string
	// Lane is the run's or the hold's, 0 for none. Limit is how many claims the lane may have.
	Lane, Limit int64
	// Parent is the run that spawned this one, Key the spawn key or the step's name, Policy the close policy.
	Parent int64
	Key    string
	Policy string
	// Life is the number of replays before: which life a request, a step or a replay means; with Started, the parent's life.
	Life int64
	// End is the status that a closing run will have.
	End Status
	// Attempted says that the event spent an attempt.
	Attempted bool
	// Receipt and Claims are a receipt's id and what it names, by run.
	Receipt int64
	Claims  map[int64]Claim
}

// String is the event as a line of a report.
func (e Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tx %d: %s", e.Tx, e.Kind)
	number := func(name string, n int64) {
		if n != 0 {
			fmt.Fprintf(&b, " %s=%d", name, n)
		}
	}
	text := func(name, s string) {
		if s != "" {
			fmt.Fprintf(&b, " %s=%s", name, s)
		}
	}
	number("run", e.Run)
	number("worker", e.Worker)
	number("token", e.Token)
	text("status", string(e.Status))
	text("place", e.Place)
	number("lane", e.Lane)
	number("parent", e.Parent)
	text("key", e.Key)
	number("life", e.Life)
	number("receipt", e.Receipt)
	text("by", e.Writer)
	return b.String()
}
