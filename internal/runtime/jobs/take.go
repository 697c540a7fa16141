package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const claimSQL = `
SELECT receipt, run, token, job_type, tenant, scope, attempts, max_attempts, lease_losses, parent, root,
       trigger_source, trigger_ref, tags, input, remaining_ms, lane, retry_ms
FROM claim($1, $2, $3, $4)`

// Claim takes up to slots due runs, in order, in one statement. The claims may be handed out: the statement has ended
// and so the claim has committed. When a limit of the pool, and not a lack of due runs, may be why there are not more,
// again is when it is worth asking again, sooner when a run of the pool ends; otherwise it is 0. Claim returns ErrLeaseLost
// when the incarnation's row is gone or expired. When it returns any other error the outcome is unknown: the caller
// reconciles before it claims again.
func (s *Store) Claim(ctx context.Context, inc *Incarnation, slots int) (claims []*Claim, again time.Duration, err error) {
	sent := time.Now()
	rows, err := s.db.Query(ctx, claimSQL, inc.ID, inc.Pool, inc.Types, slots)
	if err != nil {
		return nil, 0, fmt.Errorf("claim runs of pool %q: %w", inc.Pool, typed(err))
	}
	claims, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*Claim, error) { return scanClaim(row, inc, sent, &again) })
	if err != nil {
		return nil, 0, fmt.Errorf("claim runs of pool %q: %w", inc.Pool, typed(err))
	}
	if again > 0 { // the last row says so and is no claim
		claims = claims[:len(claims)-1]
	}
	inc.claimed(claims)
	return claims, again, nil
}

// scanClaim reads one row. The deadline counts from the moment the claim was sent, so that it is never late.
func scanClaim(row pgx.CollectableRow, inc *Incarnation, sent time.Time, again *time.Duration) (*Claim, error) {
	c := &Claim{Worker: inc.ID, Pool: inc.Pool, access: inc.access}
	var tenant, scope, triggerRef *string
	var parent, lane, remaining, retry *int64
	var maxAttempts *int
	var tags, input []byte
	err := row.Scan(&c.receipt, &c.RunID, &c.Token, &c.Type, &tenant, &scope, &c.Attempt, &maxAttempts, &c.LeaseLosses,
		&parent, &c.Root, &c.TriggerSource, &triggerRef, &tags, &input, &remaining, &lane, &retry)
	if err != nil {
		return nil, err
	}
	if retry != nil {
		*again = time.Duration(*retry) * time.Millisecond
	}
	c.Attempt++
	c.Input = input
	c.Tenant, c.Scope, c.TriggerRef = value(tenant), value(scope), value(triggerRef)
	c.Parent, c.lane, c.MaxAttempts = value(parent), value(lane), value(maxAttempts)
	if remaining != nil {
		c.Deadline = sent.Add(time.Duration(*remaining) * time.Millisecond)
	}
	if tags != nil {
		return c, json.Unmarshal(tags, &c.Tags)
	}
	return c, nil
}

// value is what p points to, the zero value for SQL null.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// claimed notes how many settles each receipt waits for.
func (i *Incarnation) claimed(claims []*Claim) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range claims {
		i.receipts[c.receipt]++
	}
}

const reconcileSQL = `SELECT given_back FROM reconcile($1, $2, $3)`

// Reconcile gives back what the database says this incarnation runs and the process does not hold, without spending an
// attempt or a lease loss, and deletes receipts in which nothing runs any more. It first waits out a claim in flight.
// The caller makes sure that no claim of this incarnation is under way that it has not given up. It returns the number
// of runs given back, and ErrLeaseLost when the incarnation has no row any more.
func (s *Store) Reconcile(ctx context.Context, inc *Incarnation, held []Held) (int, error) {
	runs, tokens := make([]int64, len(held)), make([]int64, len(held))
	for i, h := range held {
		runs[i], tokens[i] = h.RunID, h.Token
	}
	var n int
	if err := s.db.QueryRow(ctx, reconcileSQL, inc.ID, runs, tokens).Scan(&n); err != nil {
		return 0, fmt.Errorf("reconcile worker %d: %w", inc.ID, typed(err))
	}
	return n, nil
}
