package jobs

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const (
	fenceSQL    = `SELECT fence($1, $2, $3)`
	completeSQL = `SELECT complete($1, $2, $3::jsonb)`
)

// Fence is the first statement of a transaction whose writes may stand only while the claim holds: it locks the run's
// row until the transaction ends, so that nobody can take the claim away in between, and bounds how long that
// transaction may idle. It returns ErrLeaseLost when the claim does not hold; the transaction is then aborted.
func Fence(ctx context.Context, tx pgx.Tx, c *Claim) error {
	if _, err := tx.Exec(ctx, fenceSQL, c.RunID, c.Worker, c.Token); err != nil {
		return fmt.Errorf("fence run %d: %w", c.RunID, typed(err))
	}
	return nil
}

// Complete ends the run inside the handler's own transaction: its writes and the completion commit together. It
// returns ErrLeaseLost when the claim does not hold; the transaction is then aborted. Once it has been called, only the
// database says how the run ended, whatever the commit returned.
func Complete(ctx context.Context, tx pgx.Tx, c *Claim, output json.RawMessage) error {
	c.owned.Store(true)
	var text *string
	if output != nil {
		text = new(string(output))
	}
	if _, err := tx.Exec(ctx, completeSQL, c.RunID, c.Token, text); err != nil {
		return fmt.Errorf("complete run %d: %w", c.RunID, typed(err))
	}
	return nil
}
