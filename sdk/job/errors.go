package job

import (
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// What errors of this package are, by errors.Is.
var (
	// ErrLeaseLost says that the claim does not hold the run any more: somebody else may already execute it.
	ErrLeaseLost = jobs.ErrLeaseLost
	// ErrDraining is why a context ends whose process is shutting down. The run is given back without spending an attempt.
	ErrDraining = jobs.ErrDraining
	// ErrDeadline is why a context ends whose run must have ended by now.
	ErrDeadline = jobs.ErrDeadline
	// ErrTimeout is why a context ends that was bounded by Timeout or StepTimeout.
	ErrTimeout = jobs.ErrTimeout
	// ErrWaitTimeout says that a signal did not come, or that children did not end, in time.
	ErrWaitTimeout = jobs.ErrWaitTimeout
	// ErrUnknownPool says that a run was started for a pool that does not exist.
	ErrUnknownPool = jobs.ErrUnknownPool
	// ErrInvalidStart says that start was given a value that it does not take; the message names it.
	ErrInvalidStart = jobs.ErrInvalidStart
	// ErrCancelling says that a run that is being cancelled spawns no child any more.
	ErrCancelling = jobs.ErrCancelling
	// ErrNotReplayable says that a run has not ended, or that its handler may still execute.
	ErrNotReplayable = jobs.ErrNotReplayable
)

// CancelRequested is why a context ends whose run somebody asked to cancel.
type CancelRequested = jobs.CancelRequested

// CollisionError says that a run was not started because its lane, or its dedupe key, is taken.
type CollisionError = jobs.CollisionError

// Permanent marks an error that no retry can cure; the run ends as failed with the code, a short machine-readable word.
func Permanent(code string, err error) error { return jobs.Permanent(code, err) }

// WithCode gives an error a code, for RetryPolicy.NonRetryable and for people.
func WithCode(code string, err error) error { return jobs.WithCode(code, err) }

// RetryAfter retries after d instead of the policy's delay, when an attempt is left.
func RetryAfter(d time.Duration, err error) error { return jobs.RetryAfter(d, err) }

// Snooze puts the run off for d without spending an attempt.
func Snooze(d time.Duration, reason string) error { return jobs.Snooze(d, reason) }

// GiveBack returns the run to the queue without spending an attempt, because this process cannot execute it now.
func GiveBack(err error) error { return jobs.GiveBack(err) }
