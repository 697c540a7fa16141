package jobs

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrCollision says that a lane or a dedupe key is taken; errors.AsType for *CollisionError says by which run.
	ErrCollision = errors.New("lane or key is taken")
	// ErrCancelling says that a run is being cancelled and starts no child any more.
	ErrCancelling = errors.New("run is being cancelled")
	// ErrNotReplayable says that a run has not ended, or that its handler may still execute.
	ErrNotReplayable = errors.New("run cannot be replayed")
	// ErrUnknownRun says that the tenant has no such run.
	ErrUnknownRun = errors.New("unknown run")
	// ErrTooLarge says that an input, an output or a signal's payload has more than MaxPayload bytes.
	ErrTooLarge = errors.New("payload is too large")
)

// CollisionError is the refusal of a start with CollisionReject, or of a replay. It is an ErrCollision.
type CollisionError struct {
	// RunID is a live run of the lane, or the run that has the dedupe key. Of the run itself it says nothing.
	RunID   int64
	message string
}

// Error says what is taken by which run.
func (e *CollisionError) Error() string { return e.message }

// Unwrap makes the error an ErrCollision.
func (e *CollisionError) Unwrap() error { return ErrCollision }

// Codes that start, spawn and replay raise.
const (
	codeCollision     = "SL003"
	codeCancelling    = "SL004"
	codeNotReplayable = "SL005"
	codeUnknownRun    = "SL006"
	codeLimit         = "54000"
)

// refusal is what a refused start, spawn or replay means; nil for every other error.
func refusal(pg *pgconn.PgError) error {
	switch pg.Code {
	case codeCollision:
		run, _ := strconv.ParseInt(pg.Detail, 10, 64) // the functions' own; 0 is no run
		return &CollisionError{RunID: run, message: pg.Message}
	case codeCancelling:
		return fmt.Errorf("%w: %s", ErrCancelling, pg.Message)
	case codeNotReplayable:
		return fmt.Errorf("%w: %s", ErrNotReplayable, pg.Message)
	case codeUnknownRun:
		return fmt.Errorf("%w: %s", ErrUnknownRun, pg.Message)
	case codeLimit:
		return fmt.Errorf("%w: %s", ErrTooLarge, pg.Message)
	}
	return nil
}
