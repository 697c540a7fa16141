//go:build chaos

package chaos_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/syncline-dev/syncline/test/chaos/history"
	protocol "github.com/syncline-dev/syncline/test/model/history"
)

// relation asks the protocol's transition relation, which the model shares, whether it allows the history.
func relation(e history.Evidence) []string {
	var changes []protocol.Change
	for _, c := range e.Changes {
		if slices.Contains([]string{"fenced", "step_effect", "dedupe"}, c.Table) {
			continue
		}
		if c.Writer == history.Endpoint {
			c.Writer = "" // whoever has the token may complete a run
		}
		changes = append(changes, protocol.Change{Tx: c.Tx, Table: c.Table, Old: c.Old, New: c.New, Writer: c.Writer})
	}
	events, err := protocol.Decode(changes)
	if err == nil {
		err = protocol.Accept(events)
	}
	refused, ok := errors.AsType[*protocol.Refusal](err)
	switch {
	case err == nil:
		return nil
	case ok && refused.Event.Run != 0:
		return []string{fmt.Sprintf("the transition relation refuses the history: %v\n%s", err, e.Story(refused.Event.Run))}
	}
	return []string{fmt.Sprintf("the transition relation refuses the history: %v", err)}
}
