package history_test

import (
	"errors"
	"testing"

	"github.com/syncline-dev/syncline/test/model/history"
)

// E is an event; each is a transaction of its own unless together groups them.
type E = history.Event

var (
	born     = E{Kind: history.Registered, Worker: 1}
	other    = E{Kind: history.Registered, Worker: 2}
	gone     = E{Kind: history.Removed, Worker: 1}
	start    = together(E{Kind: history.Started, Run: 1, Status: history.Pending}, placed(1))
	claim    = claimedBy(1, 1, 1, 1)
	forget   = E{Kind: history.Unreceipted, Receipt: 1}
	complete = E{Kind: history.Settled, Run: 1, Worker: 1, Token: 1, Status: history.Done}
	finish   = E{Kind: history.Completed, Run: 1, Worker: 1, Token: 1, Status: history.Done}
	executes = E{Kind: history.Executing, Run: 1, Worker: 1, Token: 1}
	stops    = E{Kind: history.Stopped, Run: 1, Worker: 1, Token: 1}
	replay   = together(E{Kind: history.Replayed, Run: 1, Status: history.Pending}, placed(1))
	giveBack = together(E{Kind: history.Returned, Run: 1, Worker: 1, Token: 1, Status: history.Pending}, placed(1), forget)
	recover1 = together(E{Kind: history.Recovered, Run: 1, Worker: 1, Token: 1, Status: history.Pending}, placed(1), forget)
	again    = claimedBy(1, 2, 2, 2)
	laned    = together(E{Kind: history.Started, Run: 1, Status: history.Pending, Lane: 7, Limit: 1}, placed(1))
	hold     = E{Kind: history.Held, Run: 1, Lane: 7, Worker: 1, Token: 1}
	free     = E{Kind: history.Freed, Run: 1, Lane: 7, Worker: 1, Token: 1}
	begun    = []any{born, other, start, claim}
)

func placed(run int64) E   { return E{Kind: history.Placed, Run: run, Place: "ready"} }
func unplaced(run int64) E { return E{Kind: history.Unplaced, Run: run, Place: "ready"} }

// claimedBy is a whole claim of one run.
func claimedBy(run, worker, token, receipt int64) []E {
	return together(unplaced(run), E{Kind: history.Claimed, Run: run, Worker: worker, Token: token, Status: history.Running},
		E{Kind: history.Receipted, Receipt: receipt, Worker: worker, Claims: map[int64]history.Claim{run: {Worker: worker, Token: token}}})
}

func together(events ...any) []E {
	var all []E
	for _, e := range events {
		switch e := e.(type) {
		case E:
			all = append(all, e)
		case []E:
			all = append(all, e...)
		}
	}
	return all
}

// play numbers the transactions of a history.
func play(steps []any) []E {
	var all []E
	for i, step := range steps {
		for _, e := range together(step) {
			e.Tx = int64(i + 1)
			all = append(all, e)
		}
	}
	return all
}

// child is a spawned child of run 1.
func child(run int64, policy string) []E {
	return together(E{Kind: history.Started, Run: run, Status: history.Pending, Parent: 1, Key: "k", Policy: policy}, placed(run))
}

// later is a child with the same key, of a later life of run 1.
func later(life int64) []E {
	c := child(3, "abandon")
	c[0].Life = life
	return c
}

func step(life, token int64, status history.Status) E {
	return E{Kind: history.Stepped, Run: 1, Life: life, Token: token, Key: "charge", Status: status}
}

var (
	writes    = E{Kind: history.Wrote, Run: 1, Token: 1}
	finish2   = E{Kind: history.Completed, Run: 1, Worker: 2, Token: 2, Status: history.Done}
	costly    = E{Kind: history.Parked, Run: 1, Worker: 1, Token: 1, Status: history.Pending, Attempted: true}
	unwaits   = E{Kind: history.Unplaced, Run: 1, Place: "waiting"}
	bornA     = E{Kind: history.Registered, Worker: 1, Writer: "pod a"}
	completeB = E{Kind: history.Settled, Run: 1, Worker: 1, Token: 1, Status: history.Done, Writer: "pod b"}
	cancelled = E{Kind: history.Settled, Run: 1, Worker: 1, Token: 1, Status: history.Cancelled}
	fails     = E{Kind: history.Settled, Run: 1, Worker: 1, Token: 1, Status: history.Failed}
	asks      = E{Kind: history.Requested, Run: 2}
	park      = together(E{Kind: history.Parked, Run: 1, Worker: 1, Token: 1, Status: history.Pending},
		E{Kind: history.Placed, Run: 1, Place: "waiting"}, forget)
	wake    = together(unwaits, placed(1))
	closing = together(E{Kind: history.Parked, Run: 1, Worker: 1, Token: 1, Status: history.Pending, End: history.Failed, Attempted: true},
		E{Kind: history.Placed, Run: 1, Place: "waiting", End: history.Failed}, forget, asks)
	twoSteps = together(fails, E{Kind: history.Closing, Run: 1, Status: history.Pending, End: history.Failed},
		E{Kind: history.Placed, Run: 1, Place: "waiting", End: history.Failed}, forget, asks)
	cutShort  = E{Kind: history.Overran, Run: 1, Worker: 1, Token: 1, Status: history.Failed}
	overruns  = together(E{Kind: history.Overran, Run: 1, Worker: 1, Token: 1, Status: history.TimedOut}, executes)
	closed    = together(E{Kind: history.Ended, Run: 1, Status: history.Failed}, unwaits)
	revived   = together(E{Kind: history.Replayed, Run: 2, Status: history.Pending}, placed(2))
	childEnds = together(E{Kind: history.Ended, Run: 2, Status: history.Cancelled}, unplaced(2))
)

func TestAcceptAllowsWhatTheProtocolDoes(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]any{
		"nothing":                             {},
		"claim and settle":                    append(begun, together(complete, forget)),
		"the receipt goes later":              append(begun, complete, forget),
		"complete by the handler":             append(begun, together(finish, executes), together(stops, forget)),
		"with rows of the handler":            append(begun, together(writes, finish)),
		"give back and claim again":           append(begun, giveBack, again),
		"recovered after the worker's end":    append(begun, together(gone, recover1), again),
		"recovered by a later sweep":          append(begun, gone, recover1, again),
		"lost for good":                       append(begun, together(gone, E{Kind: history.Recovered, Run: 1, Worker: 1, Token: 1, Status: history.Lost}, forget)),
		"replayed":                            append(begun, together(complete, forget), replay, again),
		"replayed after its handler stopped":  append(begun, together(finish, executes), together(stops, forget), replay, again),
		"cancelled while pending":             {start, together(E{Kind: history.Ended, Run: 1, Status: history.Cancelled}, unplaced(1))},
		"parked and woken":                    append(begun, park, wake, again),
		"a step, its second attempt, a claim": append(begun, step(0, 1, history.Running), step(0, 1, history.Failed), step(0, 1, history.Done), complete),
		"steps carried over by a replay":      append(begun, step(0, 1, history.Done), together(complete, forget), together(replay, step(1, 1, history.Done)), again),
		"a lane":                              {born, laned, together(claim, hold), together(complete, free, forget)},
		"a lane kept for the retry": {
			born, other, laned, together(claim, hold), together(giveBack, E{Kind: history.Kept, Run: 1, Lane: 7, Token: 1}),
			together(again, E{Kind: history.Inherited, Run: 1, Lane: 7, Worker: 2, Token: 2}),
		},
		"a lane held by a handler that completed":       {born, laned, together(claim, hold), together(finish, executes), together(stops, free, forget)},
		"a lane freed by the sweep":                     {born, laned, together(claim, hold), together(finish, executes), together(gone, free, stops, forget)},
		"a child that is asked to end":                  append(begun, child(2, "terminate"), together(fails, forget, asks)),
		"a child that ends with its parent":             append(begun, child(2, "terminate"), together(fails, forget, childEnds)),
		"a child that is let go":                        append(begun, child(2, "abandon"), together(fails, forget)),
		"a child of a completed parent":                 append(begun, child(2, "terminate"), together(complete, forget)),
		"a parent that ends after its child":            append(begun, child(2, "cancel"), closing, childEnds, closed),
		"a parent whose end is taken back to close":     append(begun, child(2, "cancel"), twoSteps, childEnds, closed),
		"a parent that has not seen its child's replay": append(begun, child(2, "cancel"), childEnds, revived, together(fails, forget)),
		"a child of the parent's next life":             append(begun, child(2, "abandon"), together(complete, forget), replay, again, later(1)),
		"ended under a handler that does not stop":      append(begun, overruns, together(stops, forget), replay, again),
		"a run forgotten":                               append(begun, together(complete, forget), E{Kind: history.Purged, Run: 1}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := history.Accept(play(steps)); err != nil {
				t.Errorf("Accept() refuses a history that the protocol makes: %v", err)
			}
		})
	}
}

func TestAcceptRefusesWhatTheProtocolForbids(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps []any
		rule  string
	}{
		"settled after the lease was lost":    {append(begun, together(gone, recover1), complete), "S2"},
		"settled under an older token":        {append(begun, together(gone, recover1), again, complete), "S2"},
		"settled twice":                       {append(begun, complete, complete), "S2"},
		"completed by a zombie":               {append(begun, together(gone, recover1), again, finish), "S2"},
		"given back by a zombie":              {append(begun, together(gone, recover1), again, giveBack), "S2"},
		"a step of a zombie":                  {append(begun, together(gone, recover1), again, step(0, 1, history.Done)), "S2"},
		"a step of an earlier life":           {append(begun, together(complete, forget), replay, again, step(0, 2, history.Done)), "S2"},
		"a step of an ended run":              {append(begun, complete, step(0, 1, history.Done)), "S2"},
		"a step completed twice":              {append(begun, step(0, 1, history.Done), step(0, 1, history.Done)), "step"},
		"a token that was used":               {append(begun, giveBack, claimedBy(1, 2, 1, 2)), "S2"},
		"claimed by a worker that is gone":    {[]any{born, start, gone, claim}, "S3"},
		"claimed by a worker that never was":  {[]any{start, claim}, "S3"},
		"a worker's id revived":               {[]any{born, gone, born}, "S3"},
		"a worker removed twice":              {[]any{born, gone, gone}, "S3"},
		"recovered while its worker is there": {append(begun, recover1), "S5"},
		"recovered under an older token":      {append(begun, together(gone, recover1), again, recover1), "S5"},
		"claimed without a receipt":           {[]any{born, start, together(claim, forget)}, "S6"},
		"a receipt forgotten too early":       {append(begun, forget), "S6"},
		"claimed while running":               {append(begun, together(placed(1), again)), "S7"},
		"pending in no place":                 {[]any{E{Kind: history.Started, Run: 1, Status: history.Pending}}, "S7"},
		"pending in two places":               {[]any{start, E{Kind: history.Placed, Run: 1, Place: "scheduled"}}, "S7"},
		"running in a side table":             {append(begun, placed(1)), "S7"},
		"ended in a side table":               {append(begun, together(complete, placed(1))), "S7"},
		"two claims in a lane": {[]any{
			born, laned, together(claim, hold), together(E{Kind: history.Started, Run: 2, Status: history.Pending, Lane: 7, Limit: 1}, placed(2)),
			together(claimedBy(2, 1, 1, 2), E{Kind: history.Held, Run: 2, Lane: 7, Worker: 1, Token: 1}),
		}, "S8"},
		"running without its hold":       {[]any{born, laned, claim}, "S8"},
		"a hold freed under its claim":   {[]any{born, laned, together(claim, hold), free}, "S8"},
		"a hold freed under its handler": {[]any{born, laned, together(claim, hold), together(finish, executes), free}, "S8"},
		"another's hold taken over": {[]any{
			born, other, laned, together(claim, hold), giveBack, together(again, E{Kind: history.Inherited, Run: 1, Lane: 7, Worker: 2, Token: 2}),
		}, "S8"},
		"completed by a caller":                     {[]any{start, together(E{Kind: history.Ended, Run: 1, Status: history.Done}, unplaced(1))}, "S10"},
		"replayed while its handler executes":       {append(begun, together(finish, executes), replay), "W26"},
		"a handler's row without its completion":    {append(begun, writes, giveBack), "completion"},
		"a handler's row of another claim":          {append(begun, giveBack, again, together(writes, finish2)), "completion"},
		"a handler's row committed twice":           {append(begun, together(finish, writes, writes)), "completion"},
		"an ended run altered":                      {append(begun, complete, E{Kind: history.Altered, Run: 1}), "protocol"},
		"a live run forgotten":                      {append(begun, E{Kind: history.Purged, Run: 1}), "protocol"},
		"a run that nobody started":                 {[]any{born, claim}, "protocol"},
		"an attempt spent by waiting":               {append(begun, costly), "park"},
		"a child of a parent that has ended":        {append(begun, together(complete, forget), child(2, "terminate")), "spawn"},
		"a child of a parent that waits":            {append(begun, giveBack, child(2, "terminate")), "spawn"},
		"a second child for a key":                  {append(begun, child(2, "terminate"), child(3, "terminate")), "spawn"},
		"a child that nobody tells":                 {append(begun, child(2, "terminate"), together(fails, forget)), "close policy"},
		"a parent that ends before its child":       {append(begun, child(2, "cancel"), closing, closed), "closing"},
		"a parent that does not wait for its child": {append(begun, child(2, "cancel"), together(fails, forget, asks)), "closing"},
		"a parent cancelled beside its child":       {append(begun, child(2, "cancel"), together(cancelled, forget, asks)), "closing"},
		"a pending parent that ends beside its child": {
			append(begun, child(2, "cancel"), giveBack, together(E{Kind: history.Ended, Run: 1, Status: history.Cancelled}, unplaced(1), asks)), "closing",
		},
		"a child of the life before":              {append(begun, together(complete, forget), replay, again, child(2, "abandon")), "spawn"},
		"an ended run that closes later":          {append(begun, fails, twoSteps[1:]), "closing"},
		"replayed under a handler that goes on":   {append(begun, overruns, replay), "W26"},
		"ended under its handler without a cause": {append(begun, together(cutShort, executes)), "protocol"},
		"a closing run claimed":                   {append(begun, child(2, "cancel"), closing, together(unwaits, again[1])), "closing"},
		"a settle by another process":             {[]any{bornA, start, claim, completeB}, "S2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := history.Accept(play(c.steps))
			refusal, ok := errors.AsType[*history.Refusal](err)
			if !ok || refusal.Rule != c.rule {
				t.Errorf("Accept() = %v, want a refusal by %s", err, c.rule)
			}
		})
	}
}

func TestQuietNamesWhatHasNotEnded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps []any
		quiet bool
	}{
		"ended":           {append(begun, together(complete, forget)), true},
		"pending":         {[]any{start}, false},
		"receipt left":    {append(begun, complete), false},
		"hold left":       {[]any{born, laned, together(claim, hold), together(complete, forget)}, false},
		"still executing": {append(begun, together(finish, executes, forget)), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := history.NewRelation()
			for _, e := range play(c.steps) {
				if err := r.Apply(e); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(r.Commit(), r.Quiet()); (err == nil) != c.quiet {
				t.Errorf("Quiet() = %v, want quiet: %v", err, c.quiet)
			}
		})
	}
}

func TestEveryEventOfAnUnknownRunIsRefused(t *testing.T) {
	t.Parallel()
	for _, kind := range []history.Kind{
		history.Claimed, history.Settled, history.Completed, history.Returned, history.Parked, history.Recovered, history.Ended,
		history.Replayed, history.Purged, history.Altered, history.Placed, history.Unplaced, history.Held, history.Kept,
		history.Inherited, history.Freed, history.Requested, history.Stepped, history.Executing, history.Stopped, history.Wrote,
	} {
		if err := history.Accept([]E{{Kind: kind, Run: 3}}); err == nil {
			t.Errorf("%s of a run that nobody started is accepted", kind)
		}
	}
}
