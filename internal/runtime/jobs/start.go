package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Querier is a connection, a pool of connections or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// StartParams asks for one run. Zero values mean "not given".
type StartParams struct {
	Type  string
	Input json.RawMessage
	// Pool is where the run waits; empty is the pool whose worker registered the type first.
	Pool string
	// Priority is -100 to 100, higher first; a run of priority p stands as if it had been due p minutes earlier.
	Priority int
	// Delay puts the first execution off.
	Delay time.Duration
	// Lane serialises runs with the same tenant, namespace and key; empty is no lane.
	Lane string
	// LaneNamespace is the job type when empty.
	LaneNamespace string
	// LaneLimit is how many runs of the lane may be claimed at once; 0 means 1.
	LaneLimit int
	Tenant    string
	Scope     string
	// Parent is the run that starts this one; its tree and, unless given, its tenant are inherited.
	Parent int64
	// IdempotencyKey makes a second start with the same tenant and key return the first run.
	IdempotencyKey string
	// MaxAttempts counts executions, the first included; 0 leaves it to the job type.
	MaxAttempts int
	// Deadline is how long after this call the run must have ended; 0 is never. Milliseconds count.
	Deadline time.Duration
	// TriggerSource is manual (when empty), schedule, event or parent.
	TriggerSource string
	TriggerRef    string
	Tags          map[string]string
}

// StartResult is the run that stands for the call.
type StartResult struct {
	RunID int64
	// Created is false when an earlier run with the same idempotency key was found.
	Created bool
}

// startOptions are the options of the SQL function start.
type startOptions struct {
	Pool           string            `json:"pool,omitempty"`
	Priority       int               `json:"priority,omitempty"`
	DelayMillis    int64             `json:"delay_ms,omitempty"`
	Lane           string            `json:"lane,omitempty"`
	LaneNamespace  string            `json:"lane_namespace,omitempty"`
	LaneLimit      int               `json:"lane_limit,omitempty"`
	Tenant         string            `json:"tenant,omitempty"`
	Scope          string            `json:"scope,omitempty"`
	Parent         int64             `json:"parent,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	MaxAttempts    int               `json:"max_attempts,omitempty"`
	DeadlineMillis int64             `json:"deadline_ms,omitempty"`
	TriggerSource  string            `json:"trigger_source,omitempty"`
	TriggerRef     string            `json:"trigger_ref,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
}

const startSQL = `SELECT run, created FROM start($1, $2::jsonb, $3::jsonb)`

// Start enqueues one run, in the caller's transaction when q is one. It returns ErrUnknownPool or ErrInvalidStart with
// what to do instead, and ErrBusy when an uncommitted start holds the same idempotency key longer than the lock timeout.
func Start(ctx context.Context, q Querier, p StartParams) (StartResult, error) {
	options, err := json.Marshal(startOptions{
		Pool: p.Pool, Priority: p.Priority, DelayMillis: p.Delay.Milliseconds(),
		Lane: p.Lane, LaneNamespace: p.LaneNamespace, LaneLimit: p.LaneLimit,
		Tenant: p.Tenant, Scope: p.Scope, Parent: p.Parent, IdempotencyKey: p.IdempotencyKey,
		MaxAttempts: p.MaxAttempts, DeadlineMillis: p.Deadline.Milliseconds(),
		TriggerSource: p.TriggerSource, TriggerRef: p.TriggerRef, Tags: p.Tags,
	})
	if err != nil {
		return StartResult{}, fmt.Errorf("start run of type %q: %w", p.Type, err)
	}
	input := "{}"
	if len(p.Input) > 0 {
		input = string(p.Input)
	}
	var r StartResult
	if err := q.QueryRow(ctx, startSQL, p.Type, input, string(options)).Scan(&r.RunID, &r.Created); err != nil {
		return StartResult{}, fmt.Errorf("start run of type %q: %w", p.Type, typed(err))
	}
	return r, nil
}
