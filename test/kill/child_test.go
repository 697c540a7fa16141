package kill_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
	"github.com/syncline-dev/syncline/internal/runtime/worker/process"
)

// childEnv holds a child's settings as JSON and makes the test binary a worker.
const childEnv = "SYNCLINE_KILL_WORKER"

// settings are what a worker process of these tests is told.
type settings struct {
	Name string
	// URI is how the worker reaches the database; Direct is how its handlers leave marks and read gates.
	URI, Direct  string
	DrainTimeout time.Duration
}

// task is the input of a run: what its handler does.
type task struct {
	// Gate makes the handler wait until the gate is open to it.
	Gate bool `json:"gate,omitempty"`
	// Ignore makes it go on, waiting and writing, though its context has ended.
	Ignore bool `json:"ignore,omitempty"`
	// Complete makes it write an effect and complete the run in one transaction of its own; without it the effect is
	// written by itself before the handler returns.
	Complete bool `json:"complete,omitempty"`
	// Linger makes it wait at the gate inside that transaction, after the completion and before the commit.
	Linger bool `json:"linger,omitempty"`
	// Forget makes the first attempt roll that transaction back and return as if nothing had happened.
	Forget bool `json:"forget,omitempty"`
	// Fail makes so many first attempts fail.
	Fail int `json:"fail,omitempty"`
}

// child is a worker process: cmd/worker with a handler of its own.
func child() int {
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	log, err := telemetry.NewLogger(os.Stderr, "debug")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	witness, err := pgxpool.New(context.Background(), s.Direct)
	if err != nil {
		log.Error("open witness", "error", err)
		return 2
	}
	defer witness.Close()
	h := &handler{name: s.Name, witness: witness}
	err = process.Run(ctx, process.Options{
		Pool: poolName, Schema: schemaName, URI: func() (string, error) { return s.URI, nil }, MaxConns: 10,
		DrainTimeout: s.DrainTimeout, StopBudget: 3 * time.Second, HTTPAddress: "127.0.0.1:0", Pod: s.Name, Log: log,
		Wire: func(db *pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
			h.db = db
			retry := jobs.RetryPolicy{Base: 50 * time.Millisecond, Fixed: true}
			return map[string]worker.Registration{jobType: {Handler: h, Config: jobs.TypeConfig{Retry: retry}}}, nil, nil
		},
	})
	if err != nil {
		log.Error("worker ended with an error", "error", err)
		return 1
	}
	return 0
}

// handler does what a task says and witnesses it.
type handler struct {
	name        string
	db, witness *pgxpool.Pool
}

// Handle implements jobs.Handler.
func (h *handler) Handle(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
	var t task
	if err := json.Unmarshal(c.Input, &t); err != nil {
		return nil, jobs.Permanent("input", err)
	}
	h.mark(c, "start", "")
	err := h.work(ctx, c, t)
	if cause := context.Cause(ctx); cause != nil {
		h.mark(c, "stopped", cause.Error())
	} else if err != nil {
		h.mark(c, "failed", err.Error())
	} else {
		h.mark(c, "done", "")
	}
	return json.RawMessage(`{"by":"` + h.name + `"}`), err
}

func (h *handler) work(ctx context.Context, c *jobs.Claim, t task) error {
	if c.Attempt <= t.Fail {
		return fmt.Errorf("attempt %d fails as asked", c.Attempt)
	}
	if t.Ignore {
		ctx = context.WithoutCancel(ctx)
	}
	if !t.Linger {
		if err := h.pass(ctx, t); err != nil {
			return err
		}
	}
	h.connected(ctx)
	if !t.Complete {
		return h.effect(ctx, h.db, c)
	}
	err := pgx.BeginFunc(ctx, h.db, func(tx pgx.Tx) error {
		if err := h.effect(ctx, tx, c); err != nil {
			return err
		}
		if err := jobs.Complete(ctx, tx, c, json.RawMessage(`{"by":"`+h.name+`"}`)); err != nil {
			return err
		}
		h.mark(c, "completing", "")
		if t.Linger {
			return h.pass(ctx, t)
		}
		if t.Forget && c.Attempt == 1 {
			return errForgotten
		}
		return nil
	})
	if errors.Is(err, errForgotten) {
		return nil
	}
	return err
}

// connected has the pool find out which of its idle connections have died: one says so only at its next use, and a handler
// that fails over that is retried as it should be, but is not what these tests are about.
func (h *handler) connected(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for h.db.Ping(ctx) != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// errForgotten rolls a transaction back of which the worker hears nothing.
var errForgotten = errors.New("forgotten")

// effect is the write that must happen exactly once.
func (h *handler) effect(ctx context.Context, q jobs.Querier, c *jobs.Claim) error {
	_, err := q.Exec(ctx, "INSERT INTO public.effect (run, token, worker) VALUES ($1, $2, $3)", c.RunID, c.Token, h.name)
	return err
}

// pass waits for the gate. It outlives a database that is away.
func (h *handler) pass(ctx context.Context, t task) error {
	if !t.Gate {
		return nil
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var open bool
		err := h.witness.QueryRow(context.Background(), "SELECT EXISTS (SELECT FROM public.gate WHERE worker IN ('', $1))", h.name).Scan(&open)
		if err == nil && open {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mark witnesses an event, as soon as there is a database to write it to.
func (h *handler) mark(c *jobs.Claim, event, cause string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := h.witness.Exec(context.Background(),
			"INSERT INTO public.mark (run, token, attempt, worker, event, cause) VALUES ($1, $2, $3, $4, $5, $6)",
			c.RunID, c.Token, c.Attempt, h.name, event, cause)
		if err == nil || errors.Is(err, context.Canceled) {
			return
		}
		<-tick.C
	}
}
