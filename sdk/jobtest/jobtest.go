// Package jobtest runs handlers in tests, in a worker of their own against a real PostgreSQL: what a test sees is what
// production does, leases, steps, retries and all.
//
//	func TestGreet(t *testing.T) {
//		b := jobtest.New(t, databaseURI(t), job.Handle("greet", greet))
//		got, err := jobtest.Output[greeting](b.Do("greet", person{Name: "Ann"}))
//		if err != nil || got.Text != "hello Ann, attempt 1" {
//			t.Errorf("the output is %+v, %v", got, err)
//		}
//	}
//
// databaseURI is the test's own: it gives each test an empty database.
package jobtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/reads"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
	"github.com/syncline-dev/syncline/sdk/job"
)

// Pool is the name of the pool that a Bench works for.
const Pool = "test"

// patience is how long Wait waits for a run to end.
const patience = time.Minute

// Bench is a database with the engine's schema and a worker that serves some types.
type Bench struct {
	t  testing.TB
	db *pgxpool.Pool
	// Caller starts, cancels, signals and replays.
	job.Caller
}

// New migrates the database at uri, whose role must be allowed to create the schema syncline in it, and starts a worker for
// the types; both end with the test. Give each test a database of its own.
func New(t testing.TB, uri string, types ...job.Type) *Bench {
	t.Helper()
	address := func() (string, error) { return uri, nil }
	migrate(t, uri)
	db, err := schema.Connect(t.Context(), address, job.DefaultSchema, 20)
	if err != nil {
		t.Fatalf("jobtest: %v", err)
	}
	t.Cleanup(db.Close)
	b := &Bench{t: t, db: db, Caller: job.Over(db, job.DefaultSchema)}
	b.declare()
	b.work(address, types)
	return b
}

func migrate(t testing.TB, uri string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatalf("jobtest: %v", err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := schema.Migrate(t.Context(), conn, job.DefaultSchema); err != nil {
		t.Fatalf("jobtest: %v", err)
	}
}

// declare makes the pool, with short periods, so that retries, sleeps and cancellations of a test are soon over.
func (b *Bench) declare() {
	b.t.Helper()
	tuning := spec.DefaultPool()
	tuning.PollMillis, tuning.HeartbeatMillis = 50, 500
	doc, err := json.Marshal(tuning)
	if err == nil {
		_, err = b.db.Exec(b.t.Context(), `INSERT INTO pool (name, tuning) VALUES ($1, $2) ON CONFLICT DO NOTHING`, Pool, string(doc))
	}
	if err != nil {
		b.t.Fatalf("jobtest: declare the pool: %v", err)
	}
}

func (b *Bench) work(address func() (string, error), types []job.Type) {
	b.t.Helper()
	registered, err := job.Registrations(job.DefaultSchema, types...)
	if err != nil {
		b.t.Fatalf("jobtest: %v", err)
	}
	log := slog.New(slog.NewTextHandler(logWriter{b.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w, err := worker.New(worker.Config{
		Pool: Pool, Pod: "jobtest", Build: "test", Types: registered, Store: jobs.NewStore(b.db).LendTo(b.db, log),
		Dial: func(ctx context.Context) (*pgx.Conn, error) {
			return schema.Dial(ctx, address, job.DefaultSchema)
		},
		WakeChannel: schema.WakeChannel(job.DefaultSchema), PoolChannel: schema.PoolChannel(job.DefaultSchema),
		Log: log, Metrics: telemetry.NewWorker(prometheus.NewRegistry(), Pool),
	})
	if err != nil {
		b.t.Fatalf("jobtest: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	b.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.t.Errorf("jobtest: the worker did not stop cleanly: %v", err)
		}
	})
}

// logWriter sends a worker's warnings to the test's log.
type logWriter struct{ t testing.TB }

// Write logs one line.
func (w logWriter) Write(line []byte) (int, error) {
	w.t.Logf("%s", line)
	return len(line), nil
}

var _ io.Writer = logWriter{}

// Begin starts a run of a type with an input and returns its id.
func (b *Bench) Begin(jobType string, input any) int64 {
	b.t.Helper()
	raw, err := json.Marshal(input)
	if err != nil {
		b.t.Fatalf("jobtest: input of %s: %v", jobType, err)
	}
	r, err := b.Start(b.t.Context(), job.StartParams{Type: jobType, Pool: Pool, Input: raw})
	if err != nil {
		b.t.Fatalf("jobtest: %v", err)
	}
	return r.RunID
}

// Do starts a run and waits for its end.
func (b *Bench) Do(jobType string, input any) job.Detail {
	b.t.Helper()
	return b.Wait(b.Begin(jobType, input))
}

// Wait waits until a run has ended, a minute at most.
func (b *Bench) Wait(run int64) job.Detail {
	b.t.Helper()
	return b.Until(run, func(d job.Detail) bool { return d.Status != "pending" && d.Status != "running" })
}

// Until waits until a run is as the test wants it, a minute at most.
func (b *Bench) Until(run int64, is func(job.Detail) bool) job.Detail {
	b.t.Helper()
	ctx, end := context.WithTimeoutCause(b.t.Context(), patience, errors.New("still not as the test wants it"))
	defer end()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		d, err := reads.Get(ctx, b.db, job.AnyTenant(), run)
		if err == nil && is(d) {
			return d
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.t.Fatalf("jobtest: run %d is %s %s, attempt %d: %v, %v", run, d.Status, d.Place, d.Attempts, context.Cause(ctx), err)
		}
	}
}

// Steps reads the memoised steps of a run.
func (b *Bench) Steps(run int64) []job.StepRecord {
	b.t.Helper()
	steps, err := reads.Steps(b.t.Context(), b.db, job.AnyTenant(), run)
	if err != nil {
		b.t.Fatalf("jobtest: %v", err)
	}
	return steps
}

// Output decodes the output of a completed run.
func Output[T any](d job.Detail) (v T, err error) {
	if d.Status != "completed" {
		return v, fmt.Errorf("run %d is %s, not completed: %s", d.ID, d.Status, d.Error)
	}
	return v, json.Unmarshal(d.Output, &v)
}
