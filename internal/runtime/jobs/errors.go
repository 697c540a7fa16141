package jobs

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrLeaseLost says that the claim or the incarnation no longer holds what it asks about: somebody else may already
	// run it. The result is to be dropped.
	ErrLeaseLost = errors.New("lease lost")
	// ErrDraining is the cause of a handler's context that ends because its process is shutting down.
	ErrDraining = errors.New("worker is draining")
	// ErrDeadline is the cause of a handler's context that ends because the run's deadline has passed.
	ErrDeadline = errors.New("deadline of the run has passed")
	// ErrBusy says that a row was locked by somebody else for longer than the connection's lock timeout; try again.
	ErrBusy = errors.New("row is locked by another transaction")
	// ErrUnknownPool says that a run was started for a pool that has no row.
	ErrUnknownPool = errors.New("unknown pool")
	// ErrInvalidStart says that start was called with an option or a value that it does not take.
	ErrInvalidStart = errors.New("invalid start")
)

// Codes that the SQL functions raise.
const (
	codeLeaseLost   = "SL001"
	codeUnknownPool = "SL002"
	codeInvalid     = "22023"
	codeLockTimeout = "55P03"
)

// typed wraps a database error into the sentinel that its code stands for.
func typed(err error) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	switch pg.Code {
	case codeLeaseLost:
		return fmt.Errorf("%w: %s", ErrLeaseLost, pg.Message)
	case codeUnknownPool:
		return fmt.Errorf("%w: %s", ErrUnknownPool, pg.Message)
	case codeInvalid:
		return fmt.Errorf("%w: %s", ErrInvalidStart, pg.Message)
	case codeLockTimeout:
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if refused := refusal(pg); refused != nil {
		return refused
	}
	return err
}

// typedStart is typed for calls that bring an input and texts of a caller: those that PostgreSQL cannot store, such as
// broken JSON or a NUL, are the caller's to change.
func typedStart(err error) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if ok && slices.Contains([]string{"22P02", "22P05", "22021"}, pg.Code) {
		return fmt.Errorf("%w: the input or an option cannot be stored: %s: %s", ErrInvalidStart, pg.Message, pg.Detail)
	}
	return typed(err)
}

// CancelRequested is the cause of a handler's context that ends because somebody asked for the run's cancellation.
type CancelRequested struct {
	// By is who asked, free text; Reason is why.
	By     string
	Reason string
}

// Error says who asked and why.
func (c *CancelRequested) Error() string {
	return fmt.Sprintf("cancel requested by %q: %s", c.By, c.Reason)
}

type permanentError struct {
	code string
	err  error
}

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent marks an error that no retry can cure; the run ends as failed with the code, a short machine-readable word.
func Permanent(code string, err error) error { return &permanentError{code: code, err: err} }

type retryAfterError struct {
	after time.Duration
	err   error
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

// RetryAfter spends an attempt and, when any is left, retries after d instead of the policy's backoff. The policy's
// maximum does not cap d: a server that asks for an hour gets it. A negative d is 0.
func RetryAfter(d time.Duration, err error) error { return &retryAfterError{after: d, err: err} }

type snoozeError struct {
	after  time.Duration
	reason string
}

func (e *snoozeError) Error() string { return "snoozed: " + e.reason }

// Snooze puts the run off for d, which is 0 when negative, without spending an attempt.
func Snooze(d time.Duration, reason string) error { return &snoozeError{after: d, reason: reason} }

type giveBackError struct{ err error }

func (e *giveBackError) Error() string { return "given back: " + e.err.Error() }
func (e *giveBackError) Unwrap() error { return e.err }

// GiveBack returns the run to the queue without spending an attempt, because this process cannot execute it now but
// another may. It is due again after GiveBackDelay, so that it does not spin.
func GiveBack(err error) error { return &giveBackError{err: err} }

// GiveBackDelay is how long a run that its handler gave back waits before it is due again.
const GiveBackDelay = 5 * time.Second
