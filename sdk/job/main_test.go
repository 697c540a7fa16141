package job_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
	"github.com/syncline-dev/syncline/internal/runtime/worker/process"
	"github.com/syncline-dev/syncline/sdk/job"
)

// The examples run beside one server, each with a database and a worker of its own; all end with the tests.
var (
	server  = sync.OnceValue(func() *pgtest.Instance { return must(pgtest.New(context.Background())) })
	running bool
	stop    = make(chan struct{})
	workers sync.WaitGroup
)

func TestMain(m *testing.M) {
	code := m.Run()
	close(stop)
	workers.Wait()
	if running {
		if err := server().Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close the server:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// serve runs a worker of the pool batch for some types, as worker.Main does, and gives the address of its database.
func serve(types ...job.Type) (uri func() (string, error)) {
	uri = newDatabase()
	ctx, cancel := context.WithCancel(context.Background())
	workers.Go(func() { <-stop; cancel() })
	workers.Go(func() {
		err := process.Run(ctx, process.Options{
			Pool: "batch", Schema: job.DefaultSchema, URI: uri, MaxConns: 4, DrainTimeout: time.Second,
			HTTPAddress: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
			Wire: func(*pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
				registered, err := job.Registrations(job.DefaultSchema, types...)
				return registered, nil, err
			},
		})
		if err != nil {
			panic(err)
		}
	})
	return uri
}

// newDatabase makes a database with the engine's schema and the pool batch.
func newDatabase() (uri func() (string, error)) {
	running = true
	ctx := context.Background()
	db := must(server().CreateDatabase(ctx))
	defer db.Pool.Close()
	conn := must(pgx.Connect(ctx, db.URI))
	defer func() { _ = conn.Close(ctx) }()
	if err := schema.Migrate(ctx, conn, job.DefaultSchema); err != nil {
		panic(err)
	}
	tuning := must(json.Marshal(spec.DefaultPool()))
	must(conn.Exec(ctx, `INSERT INTO syncline.pool (name, tuning) VALUES ('batch', $1)`, string(tuning)))
	return func() (string, error) { return db.URI, nil }
}

func connect(uri func() (string, error)) *pgxpool.Pool {
	return must(pgxpool.New(context.Background(), must(uri())))
}

// ended waits until a run has ended.
func ended(c *job.Client, run int64) job.Detail {
	ctx, end := context.WithTimeout(context.Background(), time.Minute)
	defer end()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		d := must(c.Get(ctx, job.AnyTenant(), run))
		if d.Status != "pending" && d.Status != "running" {
			return d
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			panic(fmt.Sprintf("run %d is still %s", run, d.Status))
		}
	}
}
