package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Invariant is a sentence that every history must obey.
type Invariant string

// The invariants.
const (
	NoRunLost       Invariant = "no run is lost"
	SettledOnce     Invariant = "no run is settled by two claims"
	EffectOnce      Invariant = "an effect is there once, if and only if its claim held"
	LaneLimit       Invariant = "a lane never has more claims than its limit"
	PoolLimit       Invariant = "a pool never has more runs in flight than its limit"
	Admission       Invariant = "a lane that rejects never has more live runs than its limit"
	StartedOnce     Invariant = "starts with one key make one run"
	EndedStays      Invariant = "ended runs never change"
	EveryRunEnds    Invariant = "every run ends"
	OnePlace        Invariant = "a pending run has exactly one side row"
	RecoveredInTime Invariant = "leases are recovered in time"
	NoLateEffect    Invariant = "no effect outside the database after a newer claim began"
	LiveLease       Invariant = "no live lease is taken"
	IncarnationOnce Invariant = "an incarnation is used once"
	TokenGrows      Invariant = "the token grows with every claim"
	HandedOut       Invariant = "nothing is executed but a committed claim, once"
	StillExecutes   Invariant = "nothing is given up while its handler executes"
	// These two are not in a history: who plays an episode sees them.
	NobodyWaits Invariant = "no worker waits for a caller"
	NoDeadlock  Invariant = "nothing deadlocks"
)

// Violation is one breach of an invariant.
type Violation struct {
	Invariant Invariant
	// Run is 0 when it is about none.
	Run int64
	// At is when it showed.
	At     time.Duration
	Detail string
}

func (v Violation) String() string {
	if v.Run == 0 {
		return fmt.Sprintf("%s: %s (at %.3f s)", v.Invariant, v.Detail, v.At.Seconds())
	}
	return fmt.Sprintf("%s: run %d: %s (at %.3f s)", v.Invariant, v.Run, v.Detail, v.At.Seconds())
}

// Check reads the evidence and returns what is wrong with it, in the order of time. The error is about evidence that
// cannot be read.
func Check(e Evidence) ([]Violation, error) {
	c := newChecker(&e)
	if err := c.replay(); err != nil {
		return nil, err
	}
	c.final()
	c.executions()
	c.lateEffects()
	c.lanesInUse()
	c.recoveries()
	slices.SortStableFunc(c.found, func(a, b Violation) int { return cmp.Compare(a.At, b.At) })
	return c.found, nil
}

// Story is what is known of one run, a line each, in the order of time.
func (e *Evidence) Story(run int64) string {
	type line struct {
		at   time.Duration
		text string
	}
	var lines []line
	for _, c := range e.Changes {
		if about(c, run) {
			lines = append(lines, line{c.At, fmt.Sprintf("%9.3f tx %d by %q (committed %.3f) %s: %s -> %s",
				c.At.Seconds(), c.Tx, c.Writer, c.Committed.Seconds(), c.Table, brief(c.Old), brief(c.New))})
		}
	}
	for _, m := range e.Marks {
		if m.Run == run {
			lines = append(lines, line{m.At, fmt.Sprintf("%9.3f %s: %s token %d worker %d %s", m.At.Seconds(), m.Process, m.Event, m.Token, m.Worker, m.Note)})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.String()
}
