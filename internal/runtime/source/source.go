// Package source is the port between the orchestrator and the places that records come from.
//
// A source only reads: it knows neither the database nor the mapping of fields. It hands over pages of decoded records
// in the order of the upstream and says, beside a page, which of them have no place in that order, and up to which cursor
// everything has been handed over.
// The packages below implement it: source/http for HTTP APIs.
package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
)

// Cursor is a stored position. Its kind guards against a position of another kind being sent after the spec changed.
type Cursor struct {
	// Kind is "timestamp" or "token".
	Kind string `json:"kind"`
	// Value is RFC 3339 in UTC for a timestamp, the token itself otherwise.
	Value string `json:"value"`
}

// Page is one answer of the upstream.
type Page struct {
	// Records are JSON values as mapping.Decode makes them: objects as map[string]any, numbers exact.
	Records []any
	// Bytes is about what the records take in memory, for the bound on memory in flight: several times their text.
	Bytes int64
	// Faults are the records, by their index, whose place in the walk cannot be told: they must be set aside. A checkpoint
	// counts them as handed over, so it covers them only together with that.
	Faults map[int]*mapping.RecordError
	// Checkpoint, when set, covers every record handed over so far, this page included. A source sets it where the
	// upstream's order allows, and at the end of the walk: then perhaps on a page without records.
	Checkpoint *Cursor
}

// Walker reads one walk page by page. It is used by one goroutine.
type Walker interface {
	// Next returns the next page, io.EOF after the last, or an *Error.
	Next(ctx context.Context) (Page, error)
}

// Source opens walks.
type Source interface {
	// Walk starts at the cursor, or at the beginning when it is nil.
	Walk(from *Cursor) Walker
}

// Class says what an error of a source means for the run.
type Class string

const (
	// Transient is worth another attempt: connection errors, 5xx, truncated answers.
	Transient Class = "Transient"
	// RateLimited is a 429 (or a 503 with Retry-After); RetryAfter says how long to wait.
	RateLimited Class = "RateLimited"
	// Unauthorized is a 401 or 403: the credential must change.
	Unauthorized Class = "Unauthorized"
	// NotFound is a 404: the path is wrong or the account lost access.
	NotFound Class = "NotFound"
	// CursorExpired is a 410: the stored position is no longer known; the next walk starts from the beginning.
	CursorExpired Class = "CursorExpired"
	// BadAnswer is an answer that is not what the spec describes: HTML, JSON of another shape, a repeated page.
	BadAnswer Class = "BadAnswer"
	// LimitExceeded is a page, a run or a number of pages over its limit.
	LimitExceeded Class = "LimitExceeded"
	// Refused is a request that the egress guard or the same-origin rule did not let out.
	Refused Class = "Refused"
	// Misordered is a source declared Ascending whose records are not.
	Misordered Class = "Misordered"
	// Rejected is any other 4xx: the request itself is wrong.
	Rejected Class = "Rejected"
)

// Error is what a walk failed with. Its message names the request without query values and never holds a credential.
type Error struct {
	Class Class
	// Status is the HTTP status, 0 when there was no answer.
	Status int
	// RetryAfter is how long the upstream asked to wait, 0 when it did not say.
	RetryAfter time.Duration
	// Page is the number of the page in this walk, from 1.
	Page int
	Err  error
}

// Error names the class, the page and the cause.
func (e *Error) Error() string { return fmt.Sprintf("%s at page %d: %v", e.Class, e.Page, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf gives the class of err, Transient when it is not a source's.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Transient
}
