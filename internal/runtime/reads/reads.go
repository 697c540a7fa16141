// Package reads answers questions about runs: one run with its steps and attempts, lists by page, what failed lately, how
// deep the queues are, and what happened in a tree of runs.
//
// It only reads, each answer with one statement over one snapshot, and locks nothing. Changing runs is package jobs; the
// operator's own snapshot of a database is in package schema.
package reads

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// Querier is a connection, a pool of connections or a transaction over the engine's search path.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

var (
	// ErrNotFound says that there is no such run, or that it belongs to another tenant.
	ErrNotFound = errors.New("run not found")
	// ErrInvalidCursor says that a cursor was not made by the same list with the same filter.
	ErrInvalidCursor = errors.New("invalid cursor")
	// ErrInvalidFilter says that a filter or a limit cannot be used; the message says what can.
	ErrInvalidFilter = errors.New("invalid filter")
)

// Tenant says whose runs are meant. The zero value means the runs without a tenant.
type Tenant struct {
	name string
	any  bool
}

// Of means the runs of one tenant; the empty name means those without one.
func Of(name string) Tenant { return Tenant{name: name} }

// AnyTenant means the runs of all tenants and those without one: for administrators.
func AnyTenant() Tenant { return Tenant{any: true} }

// Run is one run as lists show it. Times are the database's; a zero time is none.
type Run struct {
	ID   int64
	Type string
	Pool string
	// Status is pending, running, completed, failed, cancelled, timed_out or lost.
	Status string
	Tenant string
	Scope  string
	// Parent is the run that spawned this one, 0 for none; Root is the top of its tree, itself for a run without a parent.
	Parent int64
	Root   int64
	// Priority is -100 to 100, higher first.
	Priority int
	// LaneNamespace and LaneKey name the lane; both are empty without one.
	LaneNamespace string
	LaneKey       string
	// TriggerSource is manual, schedule, event or parent.
	TriggerSource string
	TriggerRef    string
	Tags          map[string]string
	// Attempts counts executions that ended, LeaseLosses workers that died with the run, Replays the lives before this one.
	Attempts    int
	MaxAttempts int
	LeaseLosses int
	Replays     int
	// Worker is the incarnation that runs it, or ran it last; 0 for none.
	Worker    int64
	ErrorCode string
	Error     string

	CreatedAt  time.Time
	RunAt      time.Time
	ClaimedAt  time.Time
	FinishedAt time.Time
	Deadline   time.Time
}

// Place says where a run that is not being executed stands.
type Place string

const (
	// Ready runs may be claimed now.
	Ready Place = "ready"
	// Scheduled runs are not due yet.
	Scheduled Place = "scheduled"
	// Blocked runs wait for their lane.
	Blocked Place = "blocked"
	// Waiting runs wait for a signal, for children or for a time, without a slot.
	Waiting Place = "waiting"
	// Closing runs have ended as far as their handler goes, and wait for children that are being cancelled.
	Closing Place = "closing"
	// Nowhere is the place of a run that is being executed or has ended.
	Nowhere Place = ""
)

// Detail is one run whole.
type Detail struct {
	Run
	Place Place
	// WaitsFor is the name of the signal that a waiting run waits for; empty when it waits for something else.
	WaitsFor string
	Input    json.RawMessage
	// Output is nil unless the run has completed with one.
	Output json.RawMessage
	// Progress is the newest that the handler has reported; nil when it has reported none.
	Progress   json.RawMessage
	ProgressAt time.Time
	// Pod is the pod of the worker that runs it; empty when that worker is gone.
	Pod string
	// CancelRequested says that somebody asked to cancel this life of the run, and who and why.
	CancelRequested bool
	CancelBy        string
	CancelReason    string
}

const (
	// MaxPage is the largest page of a list.
	MaxPage = 1000
	// DefaultPage is the size of a page whose limit is 0.
	DefaultPage = 50
)

// columns are those of Run, from a row of run named r; scanRun reads them.
const columns = `r.id, r.job_type, r.pool, r.status, coalesce(r.tenant, ''), coalesce(r.scope, ''), coalesce(r.parent, 0), r.root, r.priority,
  coalesce(r.lane_namespace, ''), coalesce(r.lane_key, ''), r.trigger_source, coalesce(r.trigger_ref, ''), r.tags, r.attempts,
  coalesce(r.max_attempts, 0), r.lease_losses, r.replays, coalesce(r.claimed_by, 0), coalesce(r.error_code, ''), coalesce(r.error, ''),
  r.created_at, r.run_at, r.claimed_at, r.finished_at, r.deadline_at`

// targets are where columns are scanned to; done puts the nullable ones in place.
func (r *Run) targets() (targets []any, done func()) {
	var claimed, finished, deadline *time.Time
	targets = []any{
		&r.ID, &r.Type, &r.Pool, &r.Status, &r.Tenant, &r.Scope, &r.Parent, &r.Root, &r.Priority,
		&r.LaneNamespace, &r.LaneKey, &r.TriggerSource, &r.TriggerRef, &r.Tags, &r.Attempts,
		&r.MaxAttempts, &r.LeaseLosses, &r.Replays, &r.Worker, &r.ErrorCode, &r.Error,
		&r.CreatedAt, &r.RunAt, &claimed, &finished, &deadline,
	}
	return targets, func() {
		r.ClaimedAt, r.FinishedAt, r.Deadline = value(claimed), value(finished), value(deadline)
	}
}

func value(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// scanRun reads a row of columns.
func scanRun(row pgx.CollectableRow) (Run, error) {
	var r Run
	targets, done := r.targets()
	err := row.Scan(targets...)
	done()
	return r, err
}
