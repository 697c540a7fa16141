package jobs

import (
	"context"
	"fmt"
)

const spawnSQL = `SELECT child, created FROM spawn($1, $2, $3, $4, $5::jsonb, $6::jsonb)`

// Spawn enqueues a child of a claimed run, in the handler's own transaction when q is one: then the child is born with the
// transaction's writes. The key, 1 to 512 bytes, names the child within its parent: a retry that spawns it again gets the
// child that is there. It returns ErrLeaseLost when the claim does not hold, ErrCancelling when the run is being
// cancelled, and otherwise the errors of Start. Tenant, IdempotencyKey, DedupeKey, TriggerSource and TriggerRef are not
// the child's to choose.
func Spawn(ctx context.Context, q Querier, c *Claim, key string, p StartParams) (StartResult, error) {
	options, err := p.options()
	if err != nil {
		return StartResult{}, fmt.Errorf("spawn child %q of run %d: %w", key, c.RunID, err)
	}
	var r StartResult
	if err := q.QueryRow(ctx, spawnSQL, c.RunID, c.Token, key, p.Type, p.input(), options).Scan(&r.RunID, &r.Created); err != nil {
		return StartResult{}, fmt.Errorf("spawn child %q of run %d: %w", key, c.RunID, typedStart(err))
	}
	return r, nil
}
