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

// Collision is what a start does about live runs of its lane.
type Collision string

const (
	// CollisionQueue waits for them, in the order of priority and enqueueing. It is the default.
	CollisionQueue Collision = "queue"
	// CollisionReject refuses the start with a *CollisionError when the lane has as many live runs as LaneLimit.
	CollisionReject Collision = "reject"
	// CollisionReplace cancels all of them. The new run waits until the handlers of those that ran have stopped.
	CollisionReplace Collision = "replace"
)

// ClosePolicy is what becomes of a child when its parent ends without having completed.
type ClosePolicy string

const (
	// CloseTerminate cancels the child; the parent ends at once. It is the default.
	CloseTerminate ClosePolicy = "terminate"
	// CloseCancel cancels the child, and the parent ends only when the child has ended.
	CloseCancel ClosePolicy = "cancel"
	// CloseAbandon leaves the child, and all below it, alone.
	CloseAbandon ClosePolicy = "abandon"
)

// MaxPayload is the most that an input or an output may have, in bytes of JSON text.
const MaxPayload = 1 << 20

// StartParams asks for one run. Zero values mean "not given". Texts have at most 512 bytes.
type StartParams struct {
	Type string
	// Input is a JSON document of at most MaxPayload bytes; empty is an empty object.
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
	// LaneLimit is how many runs of the lane may be claimed at once, 1 to 10 000; 0 means 1.
	LaneLimit int
	// Collision is about a lane; empty means CollisionQueue. Starts that do not queue are admitted to a lane one after the
	// other: one in a transaction that stays open holds the others up.
	Collision Collision
	// Tenant is part of every key. A child has the tenant of its parent: Spawn refuses another one.
	Tenant string
	// Scope groups runs, for CancelScope and for lists.
	Scope string
	// IdempotencyKey makes a second start with the same tenant and key return the first run, for ever. Not for Spawn.
	IdempotencyKey string
	// DedupeKey and DedupeWindow, given together, make starts of the same tenant, type and key return the first run until
	// the window has passed or that run has ended without having completed. Milliseconds count. Not for Spawn.
	DedupeKey    string
	DedupeWindow time.Duration
	// MaxAttempts counts executions, the first included, at most a million; 0 leaves it to the job type.
	MaxAttempts int
	// Deadline is how long after this call the run must have ended; 0 is never. Milliseconds count.
	Deadline time.Duration
	// TriggerSource is manual (when empty), schedule, event or parent. Not for Spawn.
	TriggerSource string
	TriggerRef    string
	// Tags are at most 32, with keys of at most 128 bytes.
	Tags map[string]string
	// ClosePolicy is for Spawn only; empty means CloseTerminate.
	ClosePolicy ClosePolicy
}

// StartResult is the run that stands for the call.
type StartResult struct {
	RunID int64
	// Created is false when an earlier run with the same idempotency or dedupe key was found.
	Created bool
}

// startOptions are the options of the SQL functions start and spawn.
type startOptions struct {
	Pool           string            `json:"pool,omitempty"`
	Priority       int               `json:"priority,omitempty"`
	DelayMillis    int64             `json:"delay_ms,omitempty"`
	Lane           string            `json:"lane,omitempty"`
	LaneNamespace  string            `json:"lane_namespace,omitempty"`
	LaneLimit      int               `json:"lane_limit,omitempty"`
	Collision      Collision         `json:"collision,omitempty"`
	Tenant         string            `json:"tenant,omitempty"`
	Scope          string            `json:"scope,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	DedupeKey      string            `json:"dedupe_key,omitempty"`
	DedupeMillis   int64             `json:"dedupe_window_ms,omitempty"`
	MaxAttempts    int               `json:"max_attempts,omitempty"`
	DeadlineMillis int64             `json:"deadline_ms,omitempty"`
	TriggerSource  string            `json:"trigger_source,omitempty"`
	TriggerRef     string            `json:"trigger_ref,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
	ClosePolicy    ClosePolicy       `json:"close_policy,omitempty"`
}

func (p StartParams) options() (string, error) {
	options, err := json.Marshal(startOptions{
		Pool: p.Pool, Priority: p.Priority, DelayMillis: p.Delay.Milliseconds(),
		Lane: p.Lane, LaneNamespace: p.LaneNamespace, LaneLimit: p.LaneLimit, Collision: p.Collision,
		Tenant: p.Tenant, Scope: p.Scope, IdempotencyKey: p.IdempotencyKey,
		DedupeKey: p.DedupeKey, DedupeMillis: p.DedupeWindow.Milliseconds(),
		MaxAttempts: p.MaxAttempts, DeadlineMillis: p.Deadline.Milliseconds(),
		TriggerSource: p.TriggerSource, TriggerRef: p.TriggerRef, Tags: p.Tags, ClosePolicy: p.ClosePolicy,
	})
	return string(options), err
}

func (p StartParams) input() string {
	if len(p.Input) == 0 {
		return "{}"
	}
	return string(p.Input)
}

const startSQL = `SELECT run, created FROM start($1, $2::jsonb, $3::jsonb)`

// Start enqueues one run, in the caller's transaction when q is one. It returns ErrUnknownPool, ErrInvalidStart or
// ErrTooLarge with what to do instead, a *CollisionError when the lane is taken, and ErrBusy when an uncommitted start
// holds the same key or lane longer than the lock timeout. After an error a transaction is aborted.
func Start(ctx context.Context, q Querier, p StartParams) (StartResult, error) {
	options, err := p.options()
	if err != nil {
		return StartResult{}, fmt.Errorf("start run of type %q: %w", p.Type, err)
	}
	var r StartResult
	if err := q.QueryRow(ctx, startSQL, p.Type, p.input(), options).Scan(&r.RunID, &r.Created); err != nil {
		return StartResult{}, fmt.Errorf("start run of type %q: %w", p.Type, typedStart(err))
	}
	return r, nil
}
