package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// outcome is how an attempt ends, as sync_run keeps it.
type outcome string

const (
	succeeded outcome = "succeeded"
	noChanges outcome = "noChanges"
	partial   outcome = "partial"
	failed    outcome = "failed"
)

// settlement is what becomes of the queue's run when an attempt ends.
type settlement int

const (
	// complete ends the run well, in the transaction that closes the attempt.
	complete settlement = iota
	// permanent ends the run as failed: only a change by somebody, or the next slot, can help.
	permanent
	// retry leaves it to the queue's retry policy.
	retry
	// stop hands the cause of the context's end back to the worker.
	stop
	// giveBack returns the run untouched: another process may be able to execute it.
	giveBack
)

// ending is why and how an attempt ends.
type ending struct {
	outcome outcome
	// code is a short word for machines, empty when all is well.
	code   string
	err    error
	settle settlement
	// drained says that the walk was read to its end.
	drained bool
	// clearCursor makes the next walk start from the beginning.
	clearCursor bool
	// again, when set, is how soon the next run is wanted.
	again *time.Duration
}

// Error codes of attempts beside the classes of sources.
const (
	codeExpression     = "InvalidExpression"
	codeDocument       = "UnreadableDocument"
	codeConnection     = "ConnectionMissing"
	codeCredential     = "CredentialMissing"
	codeSealing        = "CredentialUnreadable"
	codeSealingKey     = "UnknownSealingKey"
	codeSink           = "SinkMismatch"
	codeSource         = "InvalidSource"
	codeDatabase       = "Database"
	codeTooManyBad     = "TooManyBadRecords"
	codeBarrier        = "RecordsRetried"
	codeQuarantined    = "RecordsQuarantined"
	codeSpecChanged    = "SpecChanged"
	codeStopped        = "Stopped"
	codeLeaseLost      = "LeaseLost"
	rateLimitedDefault = time.Minute
	rateLimitedLongest = 24 * time.Hour
)

var (
	// errSpecChanged ends a run whose subscription changed, was retired or removed.
	errSpecChanged = errors.New("the subscription changed during the run; the next run works with the new one")
	// errTooManyBad ends a run in which more records are bad than stopRatio allows.
	errTooManyBad = errors.New("more records are bad than onRecordError.stopRatio allows")
	// errRaced says that a row that was not there when the chunk looked is there now.
	errRaced = errors.New("a row was written by somebody else meanwhile, or kept out by a trigger")
)

// fault is an error with a verdict of its own, found before anything was read.
type fault struct {
	code   string
	settle settlement
	err    error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func faultf(code, format string, args ...any) error {
	return &fault{code: code, settle: permanent, err: fmt.Errorf(format, args...)}
}

// classify decides what an error means for the run. Cause is that of the context's end, nil while it goes on; fresh says
// that the walk started without a cursor.
func classify(err, cause error, fresh bool) ending {
	switch {
	case errors.Is(err, jobs.ErrLeaseLost):
		return ending{outcome: failed, code: codeLeaseLost, err: err, settle: stop}
	case cause != nil:
		return ending{outcome: partial, code: codeStopped, err: cause, settle: stop}
	case errors.Is(err, errSpecChanged):
		return ending{outcome: partial, code: codeSpecChanged, err: err, settle: complete, again: new(time.Duration(0))}
	case errors.Is(err, errTooManyBad):
		return ending{outcome: failed, code: codeTooManyBad, err: err, settle: permanent}
	}
	if own, ok := errors.AsType[*fault](err); ok {
		return ending{outcome: failed, code: own.code, err: err, settle: own.settle}
	}
	if e, ok := errors.AsType[*source.Error](err); ok {
		return classifySource(e, fresh)
	}
	return classifyDatabase(err)
}

func classifySource(e *source.Error, fresh bool) ending {
	end := ending{outcome: failed, code: string(e.Class), err: e, settle: permanent}
	switch e.Class {
	case source.Transient:
		end.settle = retry
	case source.RateLimited:
		// What was read stands; the queue's attempts are not spent on waiting.
		wait := e.RetryAfter
		if wait <= 0 {
			wait = rateLimitedDefault
		}
		end.outcome, end.settle, end.again = partial, complete, new(min(wait, rateLimitedLongest))
	case source.CursorExpired:
		// Without a cursor there is none to forget, and the next walk would end the same way.
		if !fresh {
			end.outcome, end.settle, end.clearCursor, end.again = partial, complete, true, new(time.Duration(0))
		}
	}
	return end
}

// classifyDatabase tells what an administrator must mend from what passes.
func classifyDatabase(err error) ending {
	end := ending{outcome: failed, code: codeDatabase, err: err, settle: retry}
	// 42: a table, column, type or privilege is missing; 0A: the table cannot do it; 25006: a read-only server.
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code[:2] == "42" || pg.Code[:2] == "0A") {
		end.code, end.settle = codeSink, permanent
	}
	return end
}

// recordFault says whether the database refused a value rather than the statement: data exceptions, broken constraints,
// a key too long for its index, and what triggers raise. Anything else concerns all records.
func recordFault(err error) (*pgconn.PgError, bool) {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pg.Code) != 5 {
		return nil, false
	}
	switch class := pg.Code[:2]; {
	case class == "22", class == "23", pg.Code == "54000", pg.Code == "P0001":
		return pg, true
	}
	return nil, false
}

// describeFault is the message of a quarantine row. PostgreSQL's detail is left out: it repeats values.
func describeFault(pg *pgconn.PgError) string {
	b := "the database refused the record: " + pg.Message
	if pg.ConstraintName != "" {
		b += fmt.Sprintf(" (constraint %q)", pg.ConstraintName)
	}
	if pg.ColumnName != "" {
		b += fmt.Sprintf(" (column %q)", pg.ColumnName)
	}
	return b
}

// maxText bounds what is kept of an error, in bytes; maxRecord what is kept of a record.
const (
	maxText   = 4 << 10
	maxRecord = 1 << 20
)

// presentable makes a message that a text column takes and that holds none of the credential's parts.
func presentable(message string, c spec.Credential) string {
	for _, secret := range []string{c.Password, c.Token} {
		if len(secret) > 3 {
			message = strings.ReplaceAll(message, secret, "***")
		}
	}
	message = strings.ToValidUTF8(strings.ReplaceAll(message, "\x00", ""), "\uFFFD")
	if len(message) > maxText {
		message = strings.ToValidUTF8(message[:maxText], "") + " ..."
	}
	return message
}

// recordJSON is what is kept of a record, nil when it is too large.
func recordJSON(raw any) []byte {
	data, err := json.Marshal(raw)
	if err != nil || len(data) > maxRecord {
		return nil
	}
	return data
}

// usableID is the id when a text column and an index take it.
func usableID(id string) string {
	const longest = 1024
	if id == "" || len(id) > longest || !utf8.ValidString(id) || strings.ContainsRune(id, 0) {
		return ""
	}
	return id
}

// recordKey is what a quarantined record is known by: its id, or a digest of its content.
func recordKey(id string, raw any) string {
	if id = usableID(id); id != "" {
		return id
	}
	data, _ := json.Marshal(raw)
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func sortedKeys(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }

// causeOf is why the context ended, nil while it goes on.
func causeOf(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
