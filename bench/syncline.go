package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
	"github.com/syncline-dev/syncline/internal/runtime/worker/process"
)

const (
	ourSchema = "syncline"
	ourPool   = "bench"
	ourType   = "noop"
)

type synclineSystem struct{}

func (synclineSystem) name() string { return "syncline" }

func (synclineSystem) setUp(ctx context.Context, db *database) error {
	conn, err := pgx.Connect(ctx, db.URI)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return schema.Migrate(ctx, conn, ourSchema)
}

// tune declares the pool, as an operator would.
func (synclineSystem) tune(ctx context.Context, db *database, tuning spec.Pool) error {
	raw, err := json.Marshal(tuning)
	if err != nil {
		return err
	}
	return db.exec(ctx, `INSERT INTO syncline.pool (name, tuning) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET tuning = excluded.tuning, tuning_generation = pool.tuning_generation + 1`, ourPool, string(raw))
}

// enqueueSQL writes what the function start writes, for many runs at once.
const enqueueSQL = `
WITH r AS (
  INSERT INTO syncline.run (id, job_type, pool, root, input)
  SELECT id, $1, $2, id, '{"at": 0}'
  FROM (SELECT nextval('syncline.run_id_seq') AS id FROM generate_series(1, $3::bigint)) AS n
  RETURNING id, pool, job_type, run_at
)
INSERT INTO syncline.ready (id, pool, job_type, vstart) SELECT id, pool, job_type, run_at FROM r`

func (s synclineSystem) enqueue(ctx context.Context, db *database, n int) error {
	return db.exec(ctx, enqueueSQL, ourType, ourPool, n)
}

func (synclineSystem) enqueueOne(ctx context.Context, conn *pgx.Conn, at int64) error {
	in, err := json.Marshal(input{At: at})
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `SELECT syncline.start($1, $2::jsonb, $3::jsonb)`, ourType, string(in), `{"pool": "`+ourPool+`"}`)
	return err
}

func (synclineSystem) settledSQL() string { return `SELECT NOT EXISTS (SELECT FROM syncline.receipt)` }

func (synclineSystem) keptSQL() string {
	return `SELECT count(*) FROM syncline.run WHERE status = 'completed'`
}

func (s synclineSystem) command(ctx context.Context, db *database, t task) ([]string, error) {
	tuning := spec.DefaultPool()
	tuning.Concurrency = t.Concurrency
	return goWorker(), s.tune(ctx, db, tuning)
}

// runSyncline is the body of a worker process: the same one that the product's own worker command runs.
func runSyncline(ctx context.Context, t task) error {
	h := newHandler(t)
	handle := jobs.HandlerFunc(func(_ context.Context, c *jobs.Claim) (json.RawMessage, error) {
		h.handle(func() int64 { return inputAt(c.Input) })
		return nil, nil
	})
	return process.Run(ctx, process.Options{
		Pool: ourPool, Schema: ourSchema, URI: func() (string, error) { return t.URI, nil }, MaxConns: 4,
		DrainTimeout: 10 * time.Second, HTTPAddress: "127.0.0.1:0",
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Wire: func(*pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
			return map[string]worker.Registration{ourType: {Handler: handle}}, nil, nil
		},
	})
}
