package integration

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// retainBatch is how many rows one transaction removes: few enough to hold no lock for long.
const retainBatch = 5000

const (
	// retainLockSQL lets one process at a time remove, so that several do not wait for each other's rows.
	retainLockSQL = `SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || ' audit retention', 0))`

	// expiredSQL finds attempts whose time is over, and those of subscriptions that are gone. The last attempt of a
	// subscription stays, so that its status can be read. It relies on the index (subscription_id, started_at).
	expiredSQL = `
SELECT r.id
FROM subscription s
CROSS JOIN LATERAL (
  SELECT r.id FROM sync_run r
  WHERE r.subscription_id = s.id AND r.outcome <> 'running' AND r.id IS DISTINCT FROM s.last_sync_run
    AND r.started_at < clock_timestamp() - make_interval(secs => (s.spec->>'auditRetentionSeconds')::float8)
  ORDER BY r.started_at
  LIMIT $1) AS r
UNION ALL
SELECT r.id FROM sync_run r WHERE NOT EXISTS (SELECT FROM subscription s WHERE s.id = r.subscription_id)
LIMIT $1`

	// removeItemsSQL relies on the index sync_item (sync_run_id).
	removeItemsSQL = `
DELETE FROM sync_item
WHERE id = ANY (ARRAY(SELECT i.id FROM sync_item i WHERE i.sync_run_id = ANY ($1::bigint[]) LIMIT $2))`

	// removeRunsSQL comes when the items are gone.
	removeRunsSQL = `
DELETE FROM sync_run r
WHERE r.id = ANY ($1::bigint[]) AND NOT EXISTS (SELECT FROM sync_item i WHERE i.sync_run_id = r.id)`

	// removeQuarantineSQL leaves what is still set aside.
	removeQuarantineSQL = `
DELETE FROM quarantine
WHERE id = ANY (ARRAY(
  SELECT q.id FROM quarantine q LEFT JOIN subscription s ON s.id = q.subscription_id
  WHERE s.id IS NULL
     OR q.resolved_at < clock_timestamp() - make_interval(secs => (s.spec->>'auditRetentionSeconds')::float8)
  LIMIT $1))`
)

// Retain removes attempts, items and resolved quarantine rows that are older than their subscription keeps them, and all
// of subscriptions that are gone, in short transactions. It returns the number of rows removed; it does nothing while
// another process does it. Workers call it now and then.
func Retain(ctx context.Context, db *pgxpool.Pool) (removed int64, err error) {
	for {
		n, err := retainOnce(ctx, db, retainBatch)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("remove old audit: %w", err)
		}
		if n == 0 {
			return removed, nil
		}
	}
}

func retainOnce(ctx context.Context, db *pgxpool.Pool, batch int) (removed int64, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, retainLockSQL).Scan(&mine); err != nil || !mine {
			return err
		}
		rows, err := tx.Query(ctx, expiredSQL, batch)
		if err != nil {
			return err
		}
		runs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return err
		}
		removed, err = removeAll(ctx, tx, runs, batch)
		return err
	})
	return removed, err
}

func removeAll(ctx context.Context, tx pgx.Tx, runs []int64, batch int) (removed int64, err error) {
	for _, s := range []struct {
		sql  string
		args []any
	}{
		{removeItemsSQL, []any{runs, batch}}, {removeRunsSQL, []any{runs}}, {removeQuarantineSQL, []any{batch}},
	} {
		tag, err := tx.Exec(ctx, s.sql, s.args...)
		if err != nil {
			return 0, err
		}
		removed += tag.RowsAffected()
	}
	return removed, nil
}
