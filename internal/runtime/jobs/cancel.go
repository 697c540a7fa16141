package jobs

import (
	"context"
	"fmt"
)

const cancelSQL = `SELECT cancel($1, $2, $3)`

// CancelAnswer says what became of a wish to cancel.
type CancelAnswer string

const (
	// CancelDone says that the run was pending and has ended.
	CancelDone CancelAnswer = "cancelled"
	// CancelAsked says that the run is running; its worker learns with its next beat.
	CancelAsked CancelAnswer = "requested"
	// CancelEnded says that the run had ended before.
	CancelEnded CancelAnswer = "ended"
	// CancelUnknown says that there is no such run.
	CancelUnknown CancelAnswer = "unknown"
)

// Cancel ends a pending run, or asks the worker of a running one to stop it, in the caller's transaction when q is one.
// However long that transaction stays open, no worker waits for it.
func Cancel(ctx context.Context, q Querier, run int64, by, reason string) (CancelAnswer, error) {
	var a CancelAnswer
	if err := q.QueryRow(ctx, cancelSQL, run, clean(by), clean(reason)).Scan(&a); err != nil {
		return "", fmt.Errorf("cancel run %d: %w", run, typed(err))
	}
	return a, nil
}
