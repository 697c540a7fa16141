package jobs

import (
	"context"
	"fmt"
	"time"
)

// MaxLeaseLosses is how often a run may lose its worker before it ends as lost.
const MaxLeaseLosses = 5

const (
	sweepSQL   = `SELECT workers, recovered, ended, holds, promoted, repaired FROM sweep($1)`
	promoteSQL = `SELECT moved, next_ms FROM promote($1)`
)

// Sweep takes over what dead incarnations of all pools held, and repairs. Any worker calls it, and the operator for
// pools without workers; several at once are harmless. A process sweeps only after its own contact with the database
// has been unbroken for BeatResult.LongestHeartbeat.
func (s *Store) Sweep(ctx context.Context) (SweepResult, error) { return Sweep(ctx, s.db) }

// Sweep is Store.Sweep for callers without a Store.
func Sweep(ctx context.Context, q Querier) (SweepResult, error) {
	var r SweepResult
	err := q.QueryRow(ctx, sweepSQL, MaxLeaseLosses).
		Scan(&r.Workers, &r.Recovered, &r.Ended, &r.Holds, &r.Promoted, &r.Repaired)
	if err != nil {
		return r, fmt.Errorf("sweep: %w", typed(err))
	}
	return r, nil
}

// Promote makes due runs of the pool claimable, in batches, and says how long it is until the next one is due; next is
// negative when none is scheduled.
func (s *Store) Promote(ctx context.Context, pool string) (moved int, next time.Duration, err error) {
	var ms *int64
	if err := s.db.QueryRow(ctx, promoteSQL, pool).Scan(&moved, &ms); err != nil {
		return 0, 0, fmt.Errorf("promote due runs of pool %q: %w", pool, typed(err))
	}
	if ms == nil {
		return moved, -1, nil
	}
	return moved, time.Duration(*ms) * time.Millisecond, nil
}
