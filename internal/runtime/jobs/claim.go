package jobs

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"
)

// SyncType is the job type of an integration's run.
const SyncType = "integration.sync"

// Claim is one claim of one run: the right to execute it once, until it is settled or its lease is lost.
// RunID, Token and Worker together are the fence that every later write names.
type Claim struct {
	RunID int64
	// Token grows with every claim of the run and never resets.
	Token int64
	// Worker is the incarnation that holds the claim.
	Worker int64

	Type   string
	Pool   string
	Tenant string
	Scope  string
	// Attempt is 1 for the first execution; executions that were given back or lost do not count.
	Attempt int
	// MaxAttempts is the number of executions that start asked for; 0 leaves it to the job type.
	MaxAttempts int
	// LeaseLosses is how often a worker died or was cut off while it held this run.
	LeaseLosses int
	// Parent is the run that started this one, 0 for none; Root is the top of its tree.
	Parent int64
	Root   int64
	// TriggerSource is manual, schedule, event or parent; TriggerRef names the slot, event or run.
	TriggerSource string
	TriggerRef    string
	Tags          map[string]string
	Input         json.RawMessage
	// Deadline is when the run must have ended, on this process's monotonic clock; zero is never.
	Deadline time.Time

	lane      int64
	receipt   int64
	confirmed bool // by the incarnation's mutex: its settle was answered
	owned     atomic.Bool

	access *access    // what its steps reach the database with; nil when no Store handed the claim out
	config TypeConfig // set before the handler starts
	memos  memos
}

// CompletionAsked reports whether the handler has called Complete. From then on the worker may not settle the run as
// completed: only the database knows whether the handler's transaction was committed.
func (c *Claim) CompletionAsked() bool { return c.owned.Load() }

// Handler executes runs of one job type.
type Handler interface {
	// Handle executes one claim. The context ends with the claim; context.Cause is then ErrLeaseLost, ErrDraining,
	// ErrDeadline, ErrTimeout or a *CancelRequested. The output is stored with the run; nil is stored as SQL null.
	// The kinds of error a handler may return are Permanent, RetryAfter, Snooze, GiveBack, *CancelRequested, which ends
	// the run as cancelled, and what WaitSignal, Await and Sleep return to park the run; any other error is retried by the
	// type's policy, which may know its code (WithCode).
	Handle(ctx context.Context, c *Claim) (output json.RawMessage, err error)
}

// HandlerFunc is a function used as a Handler.
type HandlerFunc func(ctx context.Context, c *Claim) (json.RawMessage, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, c *Claim) (json.RawMessage, error) { return f(ctx, c) }
