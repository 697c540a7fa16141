package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

const (
	// ensurePoolSQL relies on the primary key of pool; it may wait for another insert of the same name, at most the
	// connection's lock timeout.
	ensurePoolSQL = `
INSERT INTO pool (name, tuning, tuning_generation)
VALUES ($1, $2::jsonb, 1)
ON CONFLICT (name) DO NOTHING`

	poolTuningSQL = `
SELECT tuning, tuning_generation
FROM pool
WHERE name = $1`

	registerSQL = `
INSERT INTO worker (pool, pod, namespace, build, types, lease_millis, heartbeat_millis, expires_at, started_at, tuning_generation)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $6::bigint * interval '1 millisecond', clock_timestamp(), $8)
RETURNING id`

	// registerTypesSQL keeps the pool that the first registration wrote, so that workers of two pools that serve one type
	// do not move its default to and fro. Rows are locked in key order.
	registerTypesSQL = `
INSERT INTO job_type (name, pool, build, last_seen)
SELECT t, $1, $2, clock_timestamp()
FROM unnest($3::text[]) AS t
ORDER BY t
ON CONFLICT (name) DO UPDATE
SET build = excluded.build, last_seen = excluded.last_seen`
)

// Register begins an incarnation: it inserts the worker's row, and the pool's with the default tuning when nobody has
// declared the pool.
func (s *Store) Register(ctx context.Context, info WorkerInfo) (*Incarnation, error) {
	inc := &Incarnation{Pool: info.Pool, Types: info.Types, receipts: map[int64]int{}, access: s.lend(info.Build)}
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error { return register(ctx, tx, info, inc) })
	if err != nil {
		return nil, fmt.Errorf("register worker of pool %q: %w", info.Pool, typed(err))
	}
	return inc, nil
}

func register(ctx context.Context, tx pgx.Tx, info WorkerInfo, inc *Incarnation) error {
	tuning, err := ensurePool(ctx, tx, info.Pool)
	if err != nil {
		return err
	}
	inc.Tuning, inc.TuningGeneration = tuning.doc, tuning.generation
	if _, err := tx.Exec(ctx, registerTypesSQL, info.Pool, info.Build, info.Types); err != nil {
		return err
	}
	return tx.QueryRow(ctx, registerSQL, info.Pool, info.Pod, info.Namespace, info.Build, info.Types,
		tuning.doc.LeaseMillis, tuning.doc.HeartbeatMillis, tuning.generation).Scan(&inc.ID)
}

type poolTuning struct {
	doc        spec.Pool
	generation int64
}

// ensurePool reads the pool's tuning and inserts the row when it is missing.
func ensurePool(ctx context.Context, tx pgx.Tx, name string) (poolTuning, error) {
	defaults, err := json.Marshal(spec.DefaultPool())
	if err != nil {
		return poolTuning{}, err
	}
	if _, err := tx.Exec(ctx, ensurePoolSQL, name, string(defaults)); err != nil {
		return poolTuning{}, err
	}
	var raw []byte
	var t poolTuning
	if err := tx.QueryRow(ctx, poolTuningSQL, name).Scan(&raw, &t.generation); err != nil {
		return poolTuning{}, err
	}
	t.doc, err = decodeTuning(raw)
	return t, err
}

func decodeTuning(raw []byte) (spec.Pool, error) {
	doc, err := spec.Decode[spec.Pool](raw)
	if err != nil {
		return doc, fmt.Errorf("tuning: %w", err)
	}
	if err := doc.Validate(); err != nil {
		return doc, fmt.Errorf("tuning: %w", err)
	}
	return doc, nil
}

const leaveSQL = `SELECT leave($1)`

// Leave removes the lease of a drained incarnation. It answers false, and leaves the row to expire, when a receipt of
// it is still there. The caller makes sure that no handler runs and no settle is unconfirmed.
func (s *Store) Leave(ctx context.Context, inc *Incarnation) (bool, error) {
	var removed bool
	if err := s.db.QueryRow(ctx, leaveSQL, inc.ID).Scan(&removed); err != nil {
		return false, fmt.Errorf("remove the lease of worker %d: %w", inc.ID, typed(err))
	}
	return removed, nil
}

// millis is a duration as the database takes it.
func millis(d time.Duration) int64 { return d.Milliseconds() }
