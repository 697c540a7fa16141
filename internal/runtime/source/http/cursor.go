package http

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// The kinds of source.Cursor that this package writes.
const (
	kindTimestamp = "timestamp"
	kindToken     = "token"
)

// tracker follows the position of one walk.
type tracker interface {
	// start is the cursor as the first request carries it, nil for none.
	start() (*string, error)
	// observe reads one page. asOf is the upstream's clock when it answered. It gives the records, by their index, whose
	// position cannot be read; they move nothing.
	observe(body any, records []any, asOf time.Time) (map[int]*mapping.RecordError, error)
	// checkpoint gives the position that everything observed so far covers, nil while nothing is covered.
	checkpoint(drained bool) (*source.Cursor, error)
}

// newTracker continues from a stored position; one of another kind belongs to an earlier spec and counts as none.
func newTracker(s spec.HTTPSource, from *source.Cursor) tracker {
	switch {
	case s.Cursor == nil:
		return noCursor{}
	case s.Cursor.Token != nil:
		return &tokenTracker{field: s.Cursor.Token.From, from: ofKind(from, kindToken)}
	}
	return &timeTracker{
		spec: *s.Cursor.Timestamp, format: timestampFormat(s.Cursor.Timestamp.Format),
		ascending: s.Order == spec.OrderAscending, stored: ofKind(from, kindTimestamp),
	}
}

func ofKind(c *source.Cursor, kind string) *source.Cursor {
	if c == nil || c.Kind != kind {
		return nil
	}
	return c
}

// noCursor is the tracker of a source that is walked in full each time.
type noCursor struct{}

func (noCursor) start() (*string, error)                 { return nil, nil }
func (noCursor) checkpoint(bool) (*source.Cursor, error) { return nil, nil }
func (noCursor) observe(any, []any, time.Time) (map[int]*mapping.RecordError, error) {
	return nil, nil
}

// tokenTracker keeps the last token that an answer held. It is a position only once the walk is drained.
type tokenTracker struct {
	field   string
	from    *source.Cursor
	token   string
	records bool
}

func (t *tokenTracker) start() (*string, error) {
	if t.from == nil {
		return nil, nil
	}
	return &t.from.Value, nil
}

func (t *tokenTracker) observe(body any, records []any, _ time.Time) (map[int]*mapping.RecordError, error) {
	t.records = t.records || len(records) > 0
	v, _ := mapping.Lookup(t.field, body)
	switch v := v.(type) {
	case nil:
	case string:
		if v != "" {
			t.token = v
		}
	case json.Number:
		t.token = v.String()
	default:
		return nil, fail(source.BadAnswer, "the token at %q is neither a string nor a number", t.field)
	}
	return nil, nil
}

func (t *tokenTracker) checkpoint(drained bool) (*source.Cursor, error) {
	switch {
	case !drained:
		return nil, nil
	case t.token != "":
		return &source.Cursor{Kind: kindToken, Value: t.token}, nil
	case !t.records: // nothing new: some servers then give no new token, or not yet a first one
		return nil, nil
	}
	return nil, fail(source.BadAnswer, "no answer of the walk has a token at %q", t.field)
}

// timeTracker keeps the newest time that a record held.
type timeTracker struct {
	spec      spec.TimestampCursor
	format    timestampFormat
	ascending bool
	stored    *source.Cursor
	from      time.Time // the stored position, zero for none

	pages  int       // observed
	newest time.Time // of all records seen
	asOf   time.Time // the upstream's clock: nothing that it has not reached is covered

	previous time.Time // the last record's time since the lower bound last moved
	lowest   time.Time // the first record's time in the page observed last
	bound    time.Time // the lower bound that the walk itself chose last, in whole seconds, zero for none
	moved    bool      // records may have moved up while they were read without order
}

func (t *timeTracker) start() (*string, error) {
	if t.stored == nil {
		return nil, nil
	}
	from, err := time.Parse(time.RFC3339Nano, t.stored.Value)
	if err != nil {
		return nil, fail(source.CursorExpired, "the stored cursor is not a time")
	}
	t.from = from.UTC()
	return new(t.format.write(t.from.Add(-seconds(t.spec.LookbackSeconds)))), nil
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

func (t *timeTracker) observe(_ any, records []any, asOf time.Time) (map[int]*mapping.RecordError, error) {
	// Without order, a record that was read early may have changed since: only the first answer's clock is safe. A
	// record that changes later in the same second may show the second alone.
	if t.ascending || t.pages == 0 {
		t.asOf = asOf.Truncate(time.Second)
	}
	t.pages++
	t.lowest = time.Time{}
	times, faults := t.read(records)
	for i, at := range times {
		if at.IsZero() {
			continue
		}
		if err := t.observeTime(i, at); err != nil {
			return nil, err
		}
	}
	if len(faults) > 0 && !t.ascending && t.pages > 1 {
		t.moved = true // what cannot be read may be as new as the walk, see place
	}
	return faults, nil
}

// read takes the time of each record, zero for one that has none, and says what is wrong with those that must have one
// that can be read. Without order, null is an answer: the record has not changed yet.
func (t *timeTracker) read(records []any) ([]time.Time, map[int]*mapping.RecordError) {
	times := make([]time.Time, len(records))
	var faults map[int]*mapping.RecordError
	for i, r := range records {
		v, found := mapping.Lookup(t.spec.From, r)
		if v == nil && found && !t.ascending {
			continue
		}
		var fault *mapping.RecordError
		if times[i], fault = t.readValue(v); fault == nil {
			continue
		}
		if faults == nil {
			faults = map[int]*mapping.RecordError{}
		}
		faults[i] = fault
	}
	return times, faults
}

// readValue reads the field of one record. A fault does not repeat its value.
func (t *timeTracker) readValue(v any) (time.Time, *mapping.RecordError) {
	fault := &mapping.RecordError{Field: "cursor"}
	switch v.(type) {
	case string, json.Number:
		at, err := t.format.read(v)
		if err == nil {
			return at, nil
		}
		fault.Code, fault.Message = mapping.CodeInvalid, fmt.Sprintf("%v, the format of cursor field %q", err, t.spec.From)
	case nil:
		fault.Code, fault.Message = mapping.CodeNoCursor, fmt.Sprintf("the record has no %q, which the cursor is read from", t.spec.From)
	default:
		fault.Code, fault.Message = mapping.CodeWrongType, fmt.Sprintf("cursor field %q is neither a string nor a number", t.spec.From)
	}
	fault.Message += ": have the upstream mend the record, leave it out by filter, or name another field in source.http.cursor"
	return time.Time{}, fault
}

// observeTime checks the time of one record against those before it.
func (t *timeTracker) observeTime(i int, at time.Time) error {
	if t.ascending && at.Before(t.previous) {
		return fail(source.Misordered, "record %d of the page has %s in %q after %s: have the request sort by that field, ascending, or set order to None",
			i+1, at.Format(time.RFC3339Nano), t.spec.From, t.previous.Format(time.RFC3339Nano))
	}
	if at.Before(t.bound) {
		return fail(source.BadAnswer, "record %d of the page has %s in %q, but %s and later was asked for: the upstream ignores {cursor}, or reads it in another way",
			i+1, at.Format(time.RFC3339Nano), t.spec.From, t.bound.Format(time.RFC3339Nano))
	}
	t.place(at)
	return nil
}

// place takes note of a record's time.
func (t *timeTracker) place(at time.Time) {
	t.previous = at
	if t.lowest.IsZero() {
		t.lowest = at
	}
	if at.After(t.newest) {
		t.newest = at
	}
	// Behind the first page, what is as new as the walk may have left a place on a page that was read before.
	if !t.ascending && t.pages > 1 && !at.Before(t.format.floor(t.asOf.Add(-seconds(t.spec.SettleSeconds)))) {
		t.moved = true
	}
}

// advance gives the lower bound from which an ordered walk can go on, nil when the page observed last has only one
// time (at the format's granularity): asking from there would bring the same page again.
func (t *timeTracker) advance() *string {
	if !t.ascending || t.lowest.IsZero() || !t.format.floor(t.newest).After(t.format.floor(t.lowest)) {
		return nil
	}
	return new(t.format.write(t.newest))
}

// rewind is told that the walk goes on from the newest time, as advance gave it: the records at the bound come again.
// Servers that compare whole seconds may go back a little further.
func (t *timeTracker) rewind() {
	t.previous, t.bound = time.Time{}, t.format.floor(t.newest).Truncate(time.Second)
}

func (t *timeTracker) checkpoint(drained bool) (*source.Cursor, error) {
	if t.newest.IsZero() || (!t.ascending && !drained) {
		return nil, nil
	}
	at := t.newest
	if settled := t.asOf.Add(-seconds(t.spec.SettleSeconds)); settled.Before(at) {
		at = settled
	}
	if at.Before(t.from) {
		at = t.from
	}
	return &source.Cursor{Kind: kindTimestamp, Value: at.UTC().Format(time.RFC3339Nano)}, nil
}

// fail makes a source error whose page the walker fills in.
func fail(class source.Class, format string, args ...any) *source.Error {
	return &source.Error{Class: class, Err: fmt.Errorf(format, args...)}
}
