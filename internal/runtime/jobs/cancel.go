package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// CancelParams says what is to be cancelled, for whom and why.
type CancelParams struct {
	Run int64
	// Tenant is the run's; empty is none. The runs of other tenants are not there.
	Tenant string
	// By is who asks and Reason is why, free text; both stay readable on the run.
	By     string
	Reason string
	// NoCascade leaves the run's descendants alone.
	NoCascade bool
}

// CancelAnswer says what became of a wish to cancel.
type CancelAnswer string

const (
	// CancelDone says that the run was pending and has ended, or ends as soon as its children have.
	CancelDone CancelAnswer = "cancelled"
	// CancelAsked says that the run is running; its worker learns with its next beat.
	CancelAsked CancelAnswer = "requested"
	// CancelEnded says that the run had ended before.
	CancelEnded CancelAnswer = "ended"
	// CancelUnknown says that the tenant has no such run.
	CancelUnknown CancelAnswer = "unknown"
)

// callerOptions are the options of the SQL functions cancel, cancel_scope, reschedule_scope and replay.
type callerOptions struct {
	Tenant  string `json:"tenant,omitempty"`
	Cascade *bool  `json:"cascade,omitempty"`
	After   int64  `json:"after,omitempty"`
	MaxRuns int    `json:"max_runs,omitempty"`
}

func cascade(no bool) *bool {
	if !no {
		return nil
	}
	return new(false)
}

const cancelSQL = `SELECT cancel($1, $2, $3, $4::jsonb)`

// Cancel ends a pending run, or asks the worker of a running one to stop it, and does the same to its live descendants, up
// to edges that are abandoned; in the caller's transaction when q is one. However long that transaction stays open, no
// worker waits for it. Calling it again repairs.
func Cancel(ctx context.Context, q Querier, p CancelParams) (CancelAnswer, error) {
	options, err := json.Marshal(callerOptions{Tenant: p.Tenant, Cascade: cascade(p.NoCascade)})
	if err != nil {
		return "", fmt.Errorf("cancel run %d: %w", p.Run, err)
	}
	var a CancelAnswer
	if err := q.QueryRow(ctx, cancelSQL, p.Run, clean(p.By), clean(p.Reason), string(options)).Scan(&a); err != nil {
		return "", fmt.Errorf("cancel run %d: %w", p.Run, typed(err))
	}
	return a, nil
}

// ScopeParams names some runs of a scope.
type ScopeParams struct {
	Scope string
	// Tenant is that of the runs; empty is none. The runs of other tenants are not there.
	Tenant string
	// After is the Next of the call before; 0 is the beginning.
	After int64
	// MaxRuns bounds one call, 1 to 10 000; 0 means 1000.
	MaxRuns int
}

func (p ScopeParams) options(noCascade bool) (string, error) {
	options, err := json.Marshal(callerOptions{Tenant: p.Tenant, After: p.After, MaxRuns: p.MaxRuns, Cascade: cascade(noCascade)})
	return string(options), err
}

// ScopeResult counts what one call did.
type ScopeResult struct {
	// Changed runs were cancelled, or rescheduled, at once.
	Changed int
	// Requested runs are running, or were locked by somebody else: they are asked to stop.
	Requested int
	// Next is the After of the next call, 0 when there is nothing left.
	Next int64
}

const (
	cancelScopeSQL     = `SELECT cancelled, requested, coalesce(next, 0) FROM cancel_scope($1, $2, $3, $4::jsonb)`
	rescheduleScopeSQL = `SELECT moved, 0, coalesce(next, 0) FROM reschedule_scope($1, $2, $3::jsonb)`
)

// CancelScope cancels the next live runs of a scope with their descendants, as Cancel does, in one statement. It waits for
// nobody.
func CancelScope(ctx context.Context, q Querier, p ScopeParams, by, reason string) (ScopeResult, error) {
	options, err := p.options(false)
	if err != nil {
		return ScopeResult{}, fmt.Errorf("cancel scope %q: %w", p.Scope, err)
	}
	var r ScopeResult
	err = q.QueryRow(ctx, cancelScopeSQL, p.Scope, clean(by), clean(reason), options).Scan(&r.Changed, &r.Requested, &r.Next)
	if err != nil {
		return ScopeResult{}, fmt.Errorf("cancel scope %q: %w", p.Scope, typed(err))
	}
	return r, nil
}

// RescheduleScope makes the next pending runs of a scope due in delay, at once when 0, those that wait for a retry included;
// milliseconds count. Runs that wait for a signal, children or a time of their own choice stay. It waits for callers that
// have locked one of them.
func RescheduleScope(ctx context.Context, q Querier, p ScopeParams, delay time.Duration) (ScopeResult, error) {
	options, err := p.options(false)
	if err != nil {
		return ScopeResult{}, fmt.Errorf("reschedule scope %q: %w", p.Scope, err)
	}
	var r ScopeResult
	err = q.QueryRow(ctx, rescheduleScopeSQL, p.Scope, millis(delay), options).Scan(&r.Changed, &r.Requested, &r.Next)
	if err != nil {
		return ScopeResult{}, fmt.Errorf("reschedule scope %q: %w", p.Scope, typed(err))
	}
	return r, nil
}
