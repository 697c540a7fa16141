package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// Run is one execution of a run, as its handler sees it. It is good until the handler returns.
type Run struct {
	// ID names the run, Token this claim of it: Token grows with every claim and never resets.
	ID    int64
	Token int64
	Type  string
	Pool  string
	// Tenant and Scope are what the run was started with; empty for none.
	Tenant string
	Scope  string
	// Attempt is 1 for the first execution; executions that were given back or lost do not count.
	Attempt int
	// LeaseLosses is how often a worker died or was cut off while it held this run.
	LeaseLosses int
	// Parent is the run that spawned this one, 0 for none; Root is the top of its tree.
	Parent int64
	Root   int64
	// TriggerSource is manual, schedule, event or parent; TriggerRef names the slot, event or run.
	TriggerSource string
	TriggerRef    string
	Tags          map[string]string
	// Deadline is when the run must have ended; zero is never.
	Deadline time.Time

	claim  *jobs.Claim
	schema string
}

func newRun(c *jobs.Claim, schemaName string) *Run {
	return &Run{
		ID: c.RunID, Token: c.Token, Type: c.Type, Pool: c.Pool, Tenant: c.Tenant, Scope: c.Scope,
		Attempt: c.Attempt, LeaseLosses: c.LeaseLosses, Parent: c.Parent, Root: c.Root,
		TriggerSource: c.TriggerSource, TriggerRef: c.TriggerRef, Tags: c.Tags, Deadline: c.Deadline,
		claim: c, schema: schemaName,
	}
}

// userPath is the search path of transactions that handlers get: PostgreSQL's own default.
const userPath = `SET LOCAL search_path TO "$user", public`

// Tx runs fn in a transaction on the worker's own connections, with PostgreSQL's default search path, and commits when fn
// returns nil. It is not fenced by itself: call Complete in it, or use StepTx. Nothing but ctx limits how long it waits on a
// connection that falls silent.
func (r *Run) Tx(ctx context.Context, fn func(tx pgx.Tx) error) error {
	db := r.claim.Database()
	if db == nil {
		return fmt.Errorf("begin a transaction of run %d: %w", r.ID, jobs.ErrNoStore)
	}
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, userPath); err != nil {
			return err
		}
		return fn(tx)
	})
}

// Complete ends the run inside a transaction of the handler, on any connection to the same database: the transaction's
// writes and the end of the run commit together, and when the claim has lost its run neither does (ErrLeaseLost). What the
// handler returns afterwards as output is not used; whatever the commit returned, the database says how the run ended.
func (r *Run) Complete(ctx context.Context, tx pgx.Tx, output any) error {
	raw, err := json.Marshal(output)
	if err != nil {
		return fmt.Errorf("complete run %d: encode the output: %w", r.ID, err)
	}
	return jobs.Complete(ctx, jobs.InTx(r.schema, tx), r.claim, raw)
}

// Fence locks the run for a transaction whose writes may stand only while this claim holds: its first statement. It
// returns ErrLeaseLost when the claim does not hold.
func (r *Run) Fence(ctx context.Context, tx pgx.Tx) error {
	return jobs.Fence(ctx, jobs.InTx(r.schema, tx), r.claim)
}

// Progress keeps a value of at most 64 KiB of JSON for people to read, in place of the one before.
func (r *Run) Progress(ctx context.Context, value any) error {
	db := r.claim.Database()
	if db == nil {
		return fmt.Errorf("report progress of run %d: %w", r.ID, jobs.ErrNoStore)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("report progress of run %d: %w", r.ID, err)
	}
	return jobs.Progress(ctx, db, r.claim, raw)
}

// Spawn enqueues a child of the run. key, 1 to 512 bytes, names the child within the run: a retry that spawns it again gets
// the child that is there, with Created false. ErrCancelling when the run is being cancelled.
func (r *Run) Spawn(ctx context.Context, key string, p StartParams) (StartResult, error) {
	db := r.claim.Database()
	if db == nil {
		return StartResult{}, fmt.Errorf("spawn child %q of run %d: %w", key, r.ID, jobs.ErrNoStore)
	}
	return jobs.Spawn(ctx, db, r.claim, key, p)
}

// SpawnTx is Spawn inside a transaction of the handler.
func (r *Run) SpawnTx(ctx context.Context, tx pgx.Tx, key string, p StartParams) (StartResult, error) {
	return jobs.Spawn(ctx, jobs.In(r.schema, tx), r.claim, key, p)
}

// Why says why a handler's context has ended: ErrLeaseLost, ErrDraining, ErrDeadline, ErrTimeout or a *CancelRequested; nil
// while it has not.
func Why(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// CancelledBy reports who asked for the run's cancellation, and why, when that is what ended the context.
func CancelledBy(ctx context.Context) (by, reason string, cancelled bool) {
	c, ok := errors.AsType[*CancelRequested](Why(ctx))
	if !ok {
		return "", "", false
	}
	return c.By, c.Reason, true
}
