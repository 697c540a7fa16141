package job

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/reads"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// DefaultSchema is the schema of the engine unless a JobPool says otherwise.
const DefaultSchema = "syncline"

// What calls take and give.
type (
	// Querier is a connection, a pool of connections or a transaction of pgx.
	Querier = jobs.Querier
	// StartParams asks for one run.
	StartParams = jobs.StartParams
	// StartResult is the run that stands for a start.
	StartResult = jobs.StartResult
	// CancelParams says what is to be cancelled, for whom and why.
	CancelParams = jobs.CancelParams
	// CancelAnswer says what became of a wish to cancel.
	CancelAnswer = jobs.CancelAnswer
	// ScopeParams names some runs of a scope.
	ScopeParams = jobs.ScopeParams
	// ScopeResult counts what a call about a scope did.
	ScopeResult = jobs.ScopeResult
	// SignalParams is a signal to a run.
	SignalParams = jobs.SignalParams
	// SignalAnswer says what became of a signal.
	SignalAnswer = jobs.SignalAnswer
	// ReplayMode says what a replay keeps.
	ReplayMode = jobs.ReplayMode
	// ChildResult is how a child has ended.
	ChildResult = jobs.ChildResult
)

// Caller starts and changes runs over connections of the program's own, in its own transactions when Over is given one:
// a run then starts if and only if the transaction commits. A role needs nothing but EXECUTE on the functions.
type Caller struct{ q Querier }

// Over is a Caller over a connection, a pool or a transaction of pgx, to the engine in a schema (DefaultSchema unless a
// JobPool says otherwise). The search path does not matter.
func Over(q Querier, schemaName string) Caller { return Caller{q: jobs.In(schemaName, q)} }

// Start enqueues one run.
func (c Caller) Start(ctx context.Context, p StartParams) (StartResult, error) {
	return jobs.Start(ctx, c.q, p)
}

// StartMany enqueues up to 10 000 runs of one type in one statement: all or none.
func (c Caller) StartMany(ctx context.Context, p []StartParams) ([]StartResult, error) {
	return jobs.StartMany(ctx, c.q, p)
}

// Cancel ends a pending run, or asks the worker of a running one to stop it, and its live descendants with it.
func (c Caller) Cancel(ctx context.Context, p CancelParams) (CancelAnswer, error) {
	return jobs.Cancel(ctx, c.q, p)
}

// CancelScope cancels the next live runs of a scope.
func (c Caller) CancelScope(ctx context.Context, p ScopeParams, by, reason string) (ScopeResult, error) {
	return jobs.CancelScope(ctx, c.q, p, by, reason)
}

// RescheduleScope makes the next pending runs of a scope due in delay.
func (c Caller) RescheduleScope(ctx context.Context, p ScopeParams, delay time.Duration) (ScopeResult, error) {
	return jobs.RescheduleScope(ctx, c.q, p, delay)
}

// Replay gives an ended run another life and returns its number.
func (c Caller) Replay(ctx context.Context, run int64, tenant string, mode ReplayMode) (int, error) {
	return jobs.Replay(ctx, c.q, run, tenant, mode)
}

// Signal leaves a signal for a run.
func (c Caller) Signal(ctx context.Context, p SignalParams) (SignalAnswer, error) {
	return jobs.Signal(ctx, c.q, p)
}

// Client is a Caller with connections of its own, which also reads.
type Client struct {
	Caller
	db *pgxpool.Pool
}

// Open connects lazily to the engine in a schema; uri is asked at every connect, so that a password can be rotated.
func Open(ctx context.Context, uri func() (string, error), schemaName string, maxConns int32) (*Client, error) {
	db, err := schema.Connect(ctx, uri, schemaName, maxConns, schema.WithApplicationName("syncline-client"))
	if err != nil {
		return nil, err
	}
	return &Client{Caller: Over(db, schemaName), db: db}, nil
}

// Close gives the connections back.
func (c *Client) Close() { c.db.Close() }

// What reads take and give.
type (
	// Tenant says whose runs are meant; the zero value means those without one.
	Tenant = reads.Tenant
	// Detail is one run whole.
	Detail = reads.Detail
	// Summary is one run as lists show it.
	Summary = reads.Run
	// Filter narrows a list.
	Filter = reads.Filter
	// Cursor says where the next page of a list begins.
	Cursor = reads.Cursor
	// StepRecord is one memoised step.
	StepRecord = reads.Step
	// AttemptRecord is a claim that did not complete its run.
	AttemptRecord = reads.Attempt
	// Depth is what stands in a pool.
	Depth = reads.Depth
	// Failure is a run that failed, timed out or was lost.
	Failure = reads.Failure
	// Moment is one thing that happened in a tree of runs.
	Moment = reads.Moment
)

// Of means the runs of one tenant.
func Of(name string) Tenant { return reads.Of(name) }

// AnyTenant means the runs of all tenants, and those without one.
func AnyTenant() Tenant { return reads.AnyTenant() }

// Get reads one run.
func (c *Client) Get(ctx context.Context, t Tenant, run int64) (Detail, error) {
	return reads.Get(ctx, c.db, t, run)
}

// Steps reads the steps of all lives of a run.
func (c *Client) Steps(ctx context.Context, t Tenant, run int64) ([]StepRecord, error) {
	return reads.Steps(ctx, c.db, t, run)
}

// Attempts reads the history of a run, oldest first.
func (c *Client) Attempts(ctx context.Context, t Tenant, run int64) ([]AttemptRecord, error) {
	return reads.Attempts(ctx, c.db, t, run)
}

// List reads a page of runs, newest first.
func (c *Client) List(ctx context.Context, t Tenant, f Filter, after Cursor, limit int) ([]Summary, Cursor, error) {
	return reads.List(ctx, c.db, t, f, after, limit)
}

// Failures reads a page of a pool's runs that failed, timed out or were lost, the latest first.
func (c *Client) Failures(ctx context.Context, t Tenant, pool string, after Cursor, limit int) ([]Failure, Cursor, error) {
	return reads.Failures(ctx, c.db, t, pool, after, limit)
}

// Depths reads how deep the pools are; only one when pool is not empty.
func (c *Client) Depths(ctx context.Context, pool string) ([]Depth, error) {
	return reads.Depths(ctx, c.db, pool)
}

// Timeline reads a page of what happened in the tree of a root run, oldest first.
func (c *Client) Timeline(ctx context.Context, t Tenant, root int64, after Cursor, limit int) ([]Moment, Cursor, error) {
	return reads.Timeline(ctx, c.db, t, root, after, limit)
}
