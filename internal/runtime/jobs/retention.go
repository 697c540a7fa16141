package jobs

import (
	"context"
	"fmt"
)

// retireBatch is how many runs of a pool one transaction walks: few enough to hold no lock for long.
const retireBatch = 1000

const (
	retireSQL   = `SELECT removed, more FROM retire($1)`
	unservedSQL = `SELECT job_type, runs FROM unserved($1, $2)`
)

// Retire removes runs of all pools that have outlived their pool's retention, with their attempts, steps and signals, in
// short transactions, until nothing is left to remove or ctx ends. It returns how many went. Several processes may do it
// at once: they share the work and wait for nobody.
func Retire(ctx context.Context, q Querier) (removed int64, err error) {
	for more := true; more; {
		var n int64
		if err := q.QueryRow(ctx, retireSQL, retireBatch).Scan(&n, &more); err != nil {
			return removed, fmt.Errorf("remove old runs: %w", typed(err))
		}
		removed += n
	}
	return removed, nil
}

// Unserved counts the due runs of a pool whose job type no live worker of the pool serves, by type: at most 100 types,
// each count exact up to limit.
func Unserved(ctx context.Context, q Querier, pool string, limit int64) (map[string]int64, error) {
	rows, err := q.Query(ctx, unservedSQL, pool, limit)
	if err != nil {
		return nil, fmt.Errorf("count runs that nobody serves: %w", typed(err))
	}
	defer rows.Close()
	counts := map[string]int64{}
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, fmt.Errorf("count runs that nobody serves: %w", typed(err))
		}
		counts[name] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("count runs that nobody serves: %w", typed(err))
	}
	return counts, nil
}
