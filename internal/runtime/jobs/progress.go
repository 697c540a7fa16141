package jobs

import (
	"context"
	"encoding/json"
	"fmt"
)

// MaxProgress bounds one report of progress in bytes, as PostgreSQL prints it.
const MaxProgress = 64 << 10

const progressSQL = `SELECT progress($1, $2, $3, $4::jsonb)`

// Progress keeps what a handler reports about its run, in place of the report before. It returns ErrLeaseLost when the
// claim does not hold and ErrBusy when a transaction of the handler holds the run's row longer than the lock timeout.
func Progress(ctx context.Context, q Querier, c *Claim, value json.RawMessage) error {
	if len(value) > MaxProgress {
		return fmt.Errorf("report progress of run %d: %d bytes, want at most %d: report a summary", c.RunID, len(value), MaxProgress)
	}
	if _, err := q.Exec(ctx, progressSQL, c.RunID, c.Worker, c.Token, string(value)); err != nil {
		return fmt.Errorf("report progress of run %d: %w", c.RunID, typed(err))
	}
	return nil
}
