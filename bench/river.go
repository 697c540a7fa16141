package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverArgs is River's form of a job.
type riverArgs struct {
	At int64 `json:"at"`
}

// Kind names the job type.
func (riverArgs) Kind() string { return "noop" }

type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	h *handler
}

// Work does one job.
func (w *riverWorker) Work(_ context.Context, job *river.Job[riverArgs]) error {
	w.h.handle(func() int64 { return job.Args.At })
	return nil
}

type riverSystem struct{}

func (riverSystem) name() string { return "river" }

func (riverSystem) setUp(ctx context.Context, db *database) error {
	m, err := rivermigrate.New(riverpgxv5.New(db.Pool), nil)
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (riverSystem) enqueue(ctx context.Context, db *database, n int) error {
	return db.exec(ctx, `INSERT INTO river_job (args, kind, max_attempts, queue)
SELECT '{"at": 0}', 'noop', 25, 'default' FROM generate_series(1, $1::bigint)`, n)
}

func (riverSystem) enqueueOne(ctx context.Context, conn *pgx.Conn, at int64) error {
	in, err := json.Marshal(riverArgs{At: at})
	if err != nil {
		return err
	}
	// What its client does for an insert: the row, and one notification for the queue.
	_, err = conn.Exec(ctx, `WITH j AS (
  INSERT INTO river_job (args, kind, max_attempts, queue) VALUES ($1, 'noop', 25, 'default')
)
SELECT pg_notify(current_schema() || '.river_insert', '{"queue": "default"}')`, string(in))
	return err
}

func (riverSystem) settledSQL() string {
	return `SELECT NOT EXISTS (SELECT FROM river_job WHERE state IN ('running', 'available'))`
}

func (riverSystem) keptSQL() string {
	return `SELECT count(*) FROM river_job WHERE state = 'completed'`
}

func (riverSystem) command(context.Context, *database, task) ([]string, error) {
	return goWorker(), nil
}

// runRiver is the body of a worker process with River's best settings.
func runRiver(ctx context.Context, t task) error {
	pool, err := pgxpool.New(ctx, t.URI)
	if err != nil {
		return err
	}
	defer pool.Close()
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverWorker{h: newHandler(t)})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:        map[string]river.QueueConfig{"default": {MaxWorkers: t.Concurrency}},
		Workers:       workers,
		FetchCooldown: time.Millisecond,
		Logger:        slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	<-ctx.Done()
	stop, end := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer end()
	return client.Stop(stop)
}
