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
	// observe reads one page. asOf is the upstream's clock when it answered.
	observe(body any, records []any, asOf time.Time) error
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
func (noCursor) observe(any, []any, time.Time) error     { return nil }
func (noCursor) checkpoint(bool) (*source.Cursor, error) { return nil, nil }

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

func (t *tokenTracker) observe(body any, records []any, _ time.Time) error {
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
		return fail(source.BadAnswer, "the token at %q is neither a string nor a number", t.field)
	}
	return nil
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
	seen   bool      // a record was seen
	named  bool      // a record with the field was seen

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

func (t *timeTracker) observe(_ any, records []any, asOf time.Time) error {
	// Without order, a record that was read early may have changed since: only the first answer's clock is safe. A
	// record that changes later in the same second may show the second alone.
	if t.ascending || t.pages == 0 {
		t.asOf = asOf.Truncate(time.Second)
	}
	t.pages++
	t.lowest = time.Time{}
	for i, r := range records {
		if err := t.observeRecord(i, r); err != nil {
			return err
		}
	}
	return nil
}

func (t *timeTracker) observeRecord(i int, record any) error {
	t.seen = true
	v, ok := mapping.Lookup(t.spec.From, record)
	t.named = t.named || ok
	if v == nil {
		if t.ascending {
			return fail(source.Misordered, "record %d of the page has no %q, so it has no place in the order: set order to None", i+1, t.spec.From)
		}
		return nil
	}
	at, err := t.format.read(v)
	if err != nil {
		return fail(source.BadAnswer, "cursor field %q of record %d of the page: %w", t.spec.From, i+1, err)
	}
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
	if drained && t.seen && !t.named {
		return nil, fail(source.BadAnswer, "no record has the cursor field %q", t.spec.From)
	}
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
