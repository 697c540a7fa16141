package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
	"github.com/syncline-dev/syncline/internal/runtime/worker/process"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const patience = 30 * time.Second

// output is a log that can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// running is a worker process inside the test.
type running struct {
	t   *testing.T
	log *output
	end func() error
}

func run(t *testing.T, uri string, handler jobs.HandlerFunc) *running {
	t.Helper()
	r := &running{t: t, log: &output{}}
	log, err := telemetry.NewLogger(r.log, "info")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- process.Run(ctx, process.Options{
			Pool: "batch", Schema: "syncline", URI: func() (string, error) { return uri, nil }, MaxConns: 2,
			DrainTimeout: 10 * time.Second, HTTPAddress: "127.0.0.1:0", Pod: "w-1", Log: log,
			Wire: func(*pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
				return map[string]worker.Registration{"greet": {Handler: handler}}, nil, nil
			},
		})
	}()
	r.end = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := r.end(); err != nil {
			t.Errorf("the process ended with %v\n%s", err, r.log)
		}
	})
	return r
}

var servingAt = regexp.MustCompile(`"address":"([^"]+)"`)

// get asks the process's HTTP server.
func (r *running) get(path string) (status int, body string) {
	r.t.Helper()
	at := servingAt.FindStringSubmatch(r.log.String())
	if at == nil {
		return 0, ""
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+at[1]+path, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// becomes waits until a path answers with a status and a text.
func (r *running) becomes(path string, status int, text string) {
	r.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got, body := r.get(path)
		if got == status && strings.Contains(body, text) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("%s answers %d %q, want %d with %q\n%s", path, got, body, status, text, r.log)
		}
	}
}

func exec(t *testing.T, db *pgtest.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func migrate(t *testing.T, db *pgtest.DB) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URI)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := schema.Migrate(t.Context(), conn, "syncline"); err != nil {
		t.Fatal(err)
	}
}

func greet(_ context.Context, _ *jobs.Claim) (json.RawMessage, error) {
	return json.RawMessage(`{"hello": "world"}`), nil
}

// A worker that comes before the manager waits, alive, not ready, and says what for; then it works.
func TestWaitsForTheSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	r := run(t, db.URI, greet)
	r.becomes("/readyz", http.StatusServiceUnavailable, "schema is missing or too old")
	r.becomes("/healthz", http.StatusOK, "ok")
	migrate(t, db)
	r.becomes("/readyz", http.StatusOK, "ok")
	exec(t, db, "SELECT syncline.start('greet', '{}', '{}')")
	r.becomes("/metrics", http.StatusOK, `syncline_worker_settled_runs_total{outcome="completed",pool="batch",type="greet"} 1`)
	if n := strings.Count(r.log.String(), "no table schema_meta"); n != 1 {
		t.Errorf("the log says %d times that there is no schema, want once\n%s", n, r.log)
	}
}

// A pool that polls and beats once in ten minutes: only notifications and the worker's own knowledge of due times can be
// behind what happens at once.
func TestNotificationsAndDueTimesWakeTheWorker(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	migrate(t, db)
	exec(t, db, `INSERT INTO syncline.pool (name, tuning) VALUES ('batch', '{"version": 1, "concurrency": 1, "wakeMode": "Notify",
		"pollMillis": 600000, "leaseMillis": 1800000, "heartbeatMillis": 600000, "sweepMillis": 600000}')`)
	failing := func(_ context.Context, c *jobs.Claim) (json.RawMessage, error) {
		if c.Attempt == 1 {
			return nil, jobs.RetryAfter(200*time.Millisecond, errors.New("not yet"))
		}
		return nil, nil
	}
	r := run(t, db.URI, failing)
	r.becomes("/metrics", http.StatusOK, `syncline_worker_listener_connects_total{pool="batch"} 1`)
	r.becomes("/metrics", http.StatusOK, `syncline_worker_claims_total{pool="batch",result="empty"}`)
	exec(t, db, "SELECT syncline.start('greet', '{}', '{}')")
	r.becomes("/metrics", http.StatusOK, `syncline_worker_settled_runs_total{outcome="completed",pool="batch",type="greet"} 1`)
	exec(t, db, "UPDATE syncline.pool SET tuning = jsonb_set(tuning, '{concurrency}', '2'), tuning_generation = 7")
	exec(t, db, "SELECT pg_notify('syncline_pool', 'batch')")
	r.becomes("/metrics", http.StatusOK, `syncline_worker_tuning_generation{pool="batch"} 7`)
}

func TestWaitsWhileTheSchemaIsTooNew(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	migrate(t, db)
	exec(t, db, "UPDATE syncline.schema_meta SET version = 900, min_compatible = 900")
	r := run(t, db.URI, greet)
	r.becomes("/readyz", http.StatusServiceUnavailable, "update this process")
	exec(t, db, "UPDATE syncline.schema_meta SET version = $1, min_compatible = $2", schema.Current, schema.MinCompatible)
	r.becomes("/readyz", http.StatusOK, "ok")
}

// No password is in what a worker says about a database that it cannot reach.
func TestWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	r := run(t, "postgres://app:hunter2@127.0.0.1:1/db?sslmode=disable", greet)
	r.becomes("/readyz", http.StatusServiceUnavailable, "connection refused")
	if err := r.end(); err != nil {
		t.Errorf("a worker that was told to stop while it waited says %v", err)
	}
	if strings.Contains(r.log.String(), "hunter2") {
		t.Errorf("the log shows a password:\n%s", r.log)
	}
}

func TestTakenAddressIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	log, err := telemetry.NewLogger(io.Discard, "info")
	if err != nil {
		t.Fatal(err)
	}
	err = process.Run(t.Context(), process.Options{HTTPAddress: "256.0.0.1:1", Log: log})
	if err == nil || !strings.Contains(err.Error(), "serve probes and metrics") {
		t.Errorf("the error is %v, want one about the address", err)
	}
}

// Handlers that take every connection of theirs stop neither renewals nor claims nor settles.
func TestHandlersCannotExhaustTheQueuesConnectionsW49(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	migrate(t, db)
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	var pool *pgxpool.Pool
	r := &running{t: t, log: &output{}}
	log, err := telemetry.NewLogger(r.log, "info")
	if err != nil {
		t.Fatal(err)
	}
	greedy := func(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
		if string(c.Input) != `{"greedy": true}` {
			return nil, nil
		}
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		defer conn.Release()
		<-released
		return nil, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- process.Run(ctx, process.Options{
			Pool: "batch", Schema: "syncline", URI: func() (string, error) { return db.URI, nil }, MaxConns: 2,
			DrainTimeout: 10 * time.Second, HTTPAddress: "127.0.0.1:0", Log: log,
			Wire: func(p *pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
				pool = p
				return map[string]worker.Registration{"greet": {Handler: jobs.HandlerFunc(greedy)}}, nil, nil
			},
		})
	}()
	defer func() {
		release()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	r.becomes("/readyz", http.StatusOK, "ok")
	for range 4 {
		exec(t, db, `SELECT syncline.start('greet', '{"greedy": true}', '{}')`)
	}
	r.becomes("/metrics", http.StatusOK, `syncline_worker_running_handlers{pool="batch"} 4`)
	for range 3 {
		exec(t, db, "SELECT syncline.start('greet', '{}', '{}')")
	}
	r.becomes("/metrics", http.StatusOK, `syncline_worker_settled_runs_total{outcome="completed",pool="batch",type="greet"} 3`)
	release()
	r.becomes("/metrics", http.StatusOK, `syncline_worker_settled_runs_total{outcome="completed",pool="batch",type="greet"} 7`)
}
