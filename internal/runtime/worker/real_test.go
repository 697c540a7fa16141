package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/schema/schematest"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// bench is a worker on a real database. Its timers are long: what a test sees happen was not found by polling or by a
// sweep, unless it shortens them.
type bench struct {
	t      *testing.T
	db     *pgxpool.Pool
	tuning spec.Pool
	store  Store
	types  map[string]Registration
}

func onPostgreSQL(t *testing.T) *bench {
	t.Helper()
	db := schematest.NewDB(t)
	r := &bench{t: t, tuning: spec.DefaultPool(), types: map[string]Registration{}}
	address := func() (string, error) { return db.URI, nil }
	var err error
	if r.db, err = schema.Connect(context.Background(), address, "syncline", 10); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.db.Close)
	r.tuning.PollMillis, r.tuning.SweepMillis = 3_600_000, 3_600_000
	r.store = jobs.NewStore(r.db)
	return r
}

// handle registers a handler.
func (r *bench) handle(name string, config jobs.TypeConfig, h jobs.HandlerFunc) {
	r.types[name] = Registration{Handler: h, Config: config}
}

// work starts the worker, which drains at the end of the test.
func (r *bench) work() {
	r.t.Helper()
	doc, err := json.Marshal(r.tuning)
	if err != nil {
		r.t.Fatal(err)
	}
	r.exec(`INSERT INTO pool (name, tuning) VALUES ('batch', $1)`, string(doc))
	w, err := New(Config{
		Pool: "batch", Pod: "w-1", Build: "one", Types: r.types, Store: r.store,
		Dial:        func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, r.db.Config().ConnConfig) },
		WakeChannel: schema.WakeChannel("syncline"), PoolChannel: schema.PoolChannel("syncline"),
		DrainTimeout: 20 * time.Second, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Metrics: telemetry.NewWorker(prometheus.NewRegistry(), "batch"),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the worker ended with %v", err)
		}
	})
	eventually(r.t, "the worker is ready", func() bool { return w.Ready() == nil })
}

func (r *bench) exec(sql string, args ...any) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), sql, args...); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
}

func (r *bench) text(sql string, args ...any) (s string) {
	r.t.Helper()
	if err := r.db.QueryRow(r.t.Context(), sql, args...).Scan(&s); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return s
}

func (r *bench) start(p jobs.StartParams) int64 {
	r.t.Helper()
	p.Pool = "batch"
	s, err := jobs.Start(r.t.Context(), r.db, p)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.RunID
}

// becomes waits until a run is in a status, or in a place when the status is one.
func (r *bench) becomes(run int64, want string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("run %d is %s", run, want), func() bool {
		return want == r.text(`SELECT CASE WHEN EXISTS (SELECT FROM waiting w WHERE w.id = r.id) THEN 'waiting' ELSE status END FROM run r WHERE id = $1`, run)
	})
}

// One slot, three runs that wait for hours: the slot is free all the time.
func TestAWaitingRunHoldsNoSlot(t *testing.T) {
	t.Parallel()
	r := onPostgreSQL(t)
	r.tuning.Concurrency = 1
	var charges atomic.Int32
	r.handle("approve", jobs.TypeConfig{}, func(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
		if _, err := jobs.Step(ctx, c, "charge", func(context.Context) (int32, error) { return charges.Add(1), nil }); err != nil {
			return nil, err
		}
		return jobs.WaitSignal(ctx, c, "approved", time.Hour)
	})
	r.handle("quick", jobs.TypeConfig{}, succeed)
	r.work()
	var waiting []int64
	for range 3 {
		waiting = append(waiting, r.start(jobs.StartParams{Type: "approve"}))
	}
	for _, run := range waiting {
		r.becomes(run, "waiting")
	}
	r.becomes(r.start(jobs.StartParams{Type: "quick"}), "completed")
	for _, run := range waiting {
		if _, err := jobs.Signal(t.Context(), r.db, jobs.SignalParams{Run: run, Name: "approved", Payload: json.RawMessage(`"ann"`)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, run := range waiting {
		r.becomes(run, "completed")
		if got := r.text(`SELECT output::text || ' ' || attempts FROM run WHERE id = $1`, run); got != `"ann" 1` {
			t.Errorf("output and attempts are %s, want the signal's payload and one", got)
		}
	}
	if n := charges.Load(); n != 3 {
		t.Errorf("the step before the wait was executed %d times for three runs", n)
	}
}

// Neither the sweep nor a poll wakes it: the worker plans its look when it parks a run.
func TestASleepEndsOnTime(t *testing.T) {
	t.Parallel()
	r := onPostgreSQL(t)
	r.handle("nap", jobs.TypeConfig{}, func(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
		for i := range 3 {
			if err := jobs.Sleep(ctx, c, fmt.Sprint("nap-", i), 20*time.Millisecond); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	r.work()
	run := r.start(jobs.StartParams{Type: "nap"})
	r.becomes(run, "completed")
	if got := r.text(`SELECT claim_token || ' ' || attempts FROM run WHERE id = $1`, run); got != "4 1" {
		t.Errorf("claims and attempts are %s, want 4 1", got)
	}
}

func TestAttemptsThatTakeTooLongAreRetriedThenTimedOutW11(t *testing.T) {
	t.Parallel()
	r := onPostgreSQL(t)
	h := &blocking{}
	config := jobs.TypeConfig{Timeout: 10 * time.Millisecond, Retry: jobs.RetryPolicy{MaxAttempts: 2, Base: time.Millisecond}}
	r.handle("slow", config, h.handle)
	r.work()
	run := r.start(jobs.StartParams{Type: "slow"})
	r.becomes(run, "timed_out")
	got := r.text(`SELECT error_code || ' ' || attempts || ' ' || (SELECT string_agg(outcome || '/' || a.error_code || '/' || pod, ' ' ORDER BY number)
FROM attempt a WHERE run = r.id) FROM run r WHERE id = $1`, run)
	if want := "timeout 2 retried/timeout/w-1 timed_out/timeout/w-1"; got != want {
		t.Errorf("the run's history is %q, want %q", got, want)
	}
	for _, cause := range h.ended() {
		if !errors.Is(cause, jobs.ErrTimeout) {
			t.Errorf("a context ended with %v, want ErrTimeout", cause)
		}
	}
}

// The end to end bound: one deadline over all attempts, however many are left.
func TestTheDeadlineEndsARunWithAttemptsLeftW11(t *testing.T) {
	t.Parallel()
	r := onPostgreSQL(t)
	h := &blocking{}
	r.handle("slow", jobs.TypeConfig{Timeout: 20 * time.Millisecond, Retry: jobs.RetryPolicy{MaxAttempts: 1000, Base: time.Millisecond}}, h.handle)
	r.work()
	run := r.start(jobs.StartParams{Type: "slow", Deadline: 200 * time.Millisecond})
	r.becomes(run, "timed_out")
	if got := r.text(`SELECT error_code FROM run WHERE id = $1`, run); got != "deadline" {
		t.Errorf("the run ended with the code %q, want deadline", got)
	}
}

// The handler ignores everything: the run ends without it, its slot stays taken until it returns, and its result is dropped.
func TestAHandlerThatIgnoresItsDeadlineKeepsItsSlotOnlyW11(t *testing.T) {
	t.Parallel()
	r := onPostgreSQL(t)
	r.tuning.Concurrency = 1
	release, started := make(chan struct{}), make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	r.handle("deaf", jobs.TypeConfig{}, func(context.Context, *jobs.Claim) (json.RawMessage, error) {
		close(started)
		<-release
		return json.RawMessage(`"late"`), nil
	})
	r.handle("quick", jobs.TypeConfig{}, succeed)
	r.work()
	run := r.start(jobs.StartParams{Type: "deaf", Deadline: time.Hour}) // past, it would not be called
	<-started
	r.exec(`UPDATE run SET deadline_at = clock_timestamp() - interval '1 min' WHERE id = $1`, run)
	r.exec(`UPDATE deadline SET at = clock_timestamp()`)
	if _, err := jobs.Sweep(t.Context(), r.db); err != nil {
		t.Fatal(err)
	}
	r.becomes(run, "timed_out")
	next := r.start(jobs.StartParams{Type: "quick"})
	if got := r.text(`SELECT status || ' ' || (SELECT count(*) FROM completing) FROM run WHERE id = $1`, next); got != "pending 1" {
		t.Errorf("with the slot taken the next run is %s", got)
	}
	free()
	r.becomes(next, "completed")
	eventually(t, "the late result is dropped", func() bool { return r.text(`SELECT count(*)::text FROM completing`) == "0" })
	if got := r.text(`SELECT status || coalesce(output::text, '-') FROM run WHERE id = $1`, run); got != "timed_out-" {
		t.Errorf("the run is %s after its late result", got)
	}
}

// flakyStore cannot settle the first times: before the statement, or after it with the reply lost.
type flakyStore struct {
	Store
	failures atomic.Int32
}

func (s *flakyStore) Settle(ctx context.Context, inc *jobs.Incarnation, batch []jobs.Settlement) ([]jobs.SettleResult, error) {
	n := s.failures.Add(1)
	if n <= 2 {
		return nil, errCut
	}
	results, err := s.Store.Settle(ctx, inc, batch)
	if n == 3 {
		return nil, errCut
	}
	return results, err
}

func TestASettleThatFailsIsNotItsHandlersFailureW55(t *testing.T) {
	t.Parallel()
	r := onPostgreSQL(t)
	r.store = &flakyStore{Store: r.store}
	var calls atomic.Int32
	r.handle("once", jobs.TypeConfig{}, func(context.Context, *jobs.Claim) (json.RawMessage, error) {
		calls.Add(1)
		return json.RawMessage(`1`), nil
	})
	r.work()
	run := r.start(jobs.StartParams{Type: "once"})
	r.becomes(run, "completed")
	got := r.text(`SELECT attempts || ' ' || claim_token || ' ' || (SELECT count(*) FROM attempt) FROM run WHERE id = $1`, run)
	if got != "1 1 0" || calls.Load() != 1 {
		t.Errorf("%d executions; attempts, claims and failures are %s, want 1 1 0", calls.Load(), got)
	}
}

// Whatever a handler does, its claim ends in a settle: the run is settled, its receipt is gone.
func TestEverythingAfterAClaimEndsInASettleW13(t *testing.T) {
	t.Parallel()
	r := onPostgreSQL(t)
	once := jobs.RetryPolicy{MaxAttempts: 1}
	boom := func(context.Context, *jobs.Claim) (json.RawMessage, error) { panic("boom") }
	hook := jobs.TypeConfig{Retry: once, Redact: func(string) string { panic("hook") }}
	r.handle("panic", jobs.TypeConfig{Retry: once}, boom)
	r.handle("panic and a hook that panics", hook, boom)
	r.handle("nil function", jobs.TypeConfig{Retry: once}, nil)
	r.handle("panic in a step", jobs.TypeConfig{Retry: once}, func(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
		return jobs.Step(ctx, c, "a", func(context.Context) (json.RawMessage, error) { panic("boom") })
	})
	r.handle("no JSON", jobs.TypeConfig{Retry: once}, func(context.Context, *jobs.Claim) (json.RawMessage, error) {
		return json.RawMessage(`{`), nil
	})
	r.work()
	want := map[string]string{"no JSON": "failed invalid_output"}
	runs := map[string]int64{}
	for name := range r.types {
		runs[name] = r.start(jobs.StartParams{Type: name})
	}
	for name, run := range runs {
		r.becomes(run, "failed")
		expected := want[name]
		if expected == "" {
			expected = "failed panic"
		}
		if got := r.text(`SELECT status || ' ' || error_code FROM run WHERE id = $1`, run); got != expected {
			t.Errorf("%s: the run ended as %q, want %q", name, got, expected)
		}
	}
	eventually(t, "no receipt is left", func() bool { return r.text(`SELECT count(*)::text FROM receipt`) == "0" })
}

// A parent with one slot starts children, waits for them without it, and gathers what they return.
func TestAParentGathersItsChildrenInOneSlot(t *testing.T) {
	t.Parallel()
	r := onPostgreSQL(t)
	r.tuning.Concurrency = 1
	r.handle("part", jobs.TypeConfig{}, func(_ context.Context, c *jobs.Claim) (json.RawMessage, error) { return c.Input, nil })
	r.handle("whole", jobs.TypeConfig{}, func(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
		_, err := jobs.StepTx(ctx, c, "spawn", func(ctx context.Context, tx pgx.Tx) (int, error) {
			for i := range 3 {
				part := jobs.StartParams{Type: "part", Pool: c.Pool, Input: json.RawMessage(strconv.Itoa(i))}
				if _, err := jobs.Spawn(ctx, tx, c, strconv.Itoa(i), part); err != nil {
					return 0, err
				}
			}
			return 3, nil
		})
		if err != nil {
			return nil, err
		}
		children, err := jobs.Await(ctx, c, "parts")
		if err != nil {
			return nil, err
		}
		var parts []json.RawMessage
		for _, child := range children {
			parts = append(parts, child.Output)
		}
		return json.Marshal(parts)
	})
	r.work()
	run := r.start(jobs.StartParams{Type: "whole"})
	r.becomes(run, "completed")
	if got := r.text(`SELECT output::text || ' of ' || (SELECT count(*) FROM run) FROM run WHERE id = $1`, run); got != "[0, 1, 2] of 4" {
		t.Errorf("output and runs are %s, want [0, 1, 2] of 4", got)
	}
}
