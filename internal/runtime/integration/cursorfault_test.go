package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// unreadableCases are the ways in which a record's cursor field cannot be read, as JSON members, with their codes.
var unreadableCases = map[string]struct{ member, code string }{
	"missing":    {`"other":1`, "no_cursor"},
	"null":       {`"updated":null`, "no_cursor"},
	"wrong type": {`"updated":{"at":"2024-01-02T00:00:00Z"}`, "wrong_type"},
	"a boolean":  {`"updated":true`, "wrong_type"},
	"unparsable": {`"updated":"the day before yesterday"`, "invalid_value"},
}

// inOrder makes a subscription of that order whose only use of the time is the cursor.
func inOrder(order spec.Order) func(*spec.Subscription) {
	return func(s *spec.Subscription) {
		withCursor(s)
		s.Source.HTTP.Order = order
		s.Mapping, s.Sink.DiffIgnore = s.Mapping[:2], nil
	}
}

// tickets answers with those that are not older than the lower bound; records without a time come always.
func tickets(lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var kept []string
		for _, line := range lines {
			_, at, timed := strings.Cut(line, `"updated":"2024`)
			if since := r.URL.Query().Get("since"); since == "" || !timed || "2024"+at[:len(time.RFC3339)-9] >= since {
				kept = append(kept, line)
			}
		}
		list(kept...)(w, r)
	}
}

func TestRecordWhoseCursorFieldCannotBeReadIsSetAsideI6(t *testing.T) {
	newWorld := reusable(t)
	u := newUpstream(t)
	for _, order := range []spec.Order{spec.OrderNone, spec.OrderAscending} {
		for name, tc := range unreadableCases {
			if name == "null" && order == spec.OrderNone {
				continue // says that the record has not changed yet, see below
			}
			t.Run(string(order)+", "+name, func(t *testing.T) {
				w := newWorld(t, inOrder(order))
				u.connect(w)
				bad := `{"id":"b","title":"bad",` + tc.member + `}`
				u.handler = tickets(ticket("a", "one", day(1)), bad, ticket("c", "three", day(3)))
				got := w.sync()
				if got.Outcome != "partial" || got.Code != codeQuarantined || got.Counts.created != 2 || got.Counts.quarantined != 1 {
					t.Errorf("attempt is %+v, want partial, 2 created, 1 quarantined", got)
				}
				same(t, "rows", []string{"a one - alive v1", "c three - alive v1"}, w.rows())
				same(t, "quarantine", []string{"b " + tc.code + " 1 open"}, w.quarantine())
				if w.cursor() != day(3) {
					t.Errorf("cursor is %q, want the newest time that can be read, %q", w.cursor(), day(3))
				}
				if message := w.text("SELECT error FROM quarantine"); !strings.Contains(message, "updated") || strings.Contains(message, "yesterday") {
					t.Errorf("message is %q, want the field and no value", message)
				}
				u.handler = tickets(ticket("a", "one", day(1)), ticket("c", "three", day(3)), ticket("b", "mended", day(4)))
				if got := w.sync(); got.Outcome != "succeeded" || got.Counts.created != 1 || w.cursor() != day(4) {
					t.Errorf("attempt after it was mended is %+v with cursor %q, want one created and %q", got, w.cursor(), day(4))
				}
				same(t, "quarantine", []string{"b " + tc.code + " 1 resolved"}, w.quarantine())
				w.checkBooks()
			})
		}
	}
}

func TestNullCursorFieldWithoutOrderSaysThatNothingChangedYet(t *testing.T) {
	w := newWorld(t, inOrder(spec.OrderNone))
	u := newUpstream(t)
	u.connect(w)
	u.handler = tickets(ticket("a", "one", day(1)), `{"id":"b","title":"new","updated":null}`)
	if got := w.sync(); got.Outcome != "succeeded" || got.Counts.created != 2 || w.cursor() != day(1) {
		t.Errorf("attempt is %+v with cursor %q, want 2 created and %q", got, w.cursor(), day(1))
	}
	u.handler = tickets(`{"id":"c","title":"newer","updated":null}`)
	if got := w.sync(); got.Outcome != "succeeded" || got.Counts.created != 1 || w.cursor() != day(1) {
		t.Errorf("attempt is %+v with cursor %q, want 1 created and the cursor where it was", got, w.cursor())
	}
}

func TestPageOfUnreadableCursorFieldsLosesNothingAndStopsTheRunI6(t *testing.T) {
	newWorld := reusable(t)
	u := newUpstream(t)
	for _, order := range []spec.Order{spec.OrderNone, spec.OrderAscending} {
		for name, tc := range unreadableCases {
			if name == "null" && order == spec.OrderNone {
				continue
			}
			t.Run(string(order)+", "+name, func(t *testing.T) {
				w := newWorld(t, inOrder(order))
				u.connect(w)
				u.handler = tickets(ticket("a", "one", day(1)))
				w.sync()
				var bad, good []string
				for i := range 2 * minBadToStop {
					bad = append(bad, fmt.Sprintf(`{"id":"b%02d","title":"bad",%s}`, i, tc.member))
					good = append(good, ticket(fmt.Sprintf("b%02d", i), "mended", day(5)))
				}
				u.handler = tickets(bad...)
				if err := w.handle(t.Context(), w.start()); err == nil {
					t.Error("a run of bad records alone succeeded")
				}
				if got := w.attempt(); got.Outcome != "failed" || got.Code != codeTooManyBad || w.cursor() != day(1) {
					t.Errorf("attempt is %+v with cursor %q, want it stopped by stopRatio and the cursor where it was", got, w.cursor())
				}
				if open := w.quarantine(); len(open) != len(bad) || open[0] != "b00 "+tc.code+" 1 open" {
					t.Errorf("quarantine is %q, want all %d records", open, len(bad))
				}
				u.handler = tickets(good...)
				if got := w.sync(); got.Counts.created != int64(len(good)) || w.cursor() != day(5) {
					t.Errorf("attempt is %+v with cursor %q, want all %d records created", got, w.cursor(), len(good))
				}
				if open := w.text("SELECT count(*)::text FROM quarantine WHERE resolved_at IS NULL"); open != "0" {
					t.Errorf("%s records are still set aside, want none", open)
				}
			})
		}
	}
}

// TestFewUnreadableCursorFieldsHoldTheCursor is about fewer records than stopRatio counts from.
func TestFewUnreadableCursorFieldsHoldTheCursor(t *testing.T) {
	for _, order := range []spec.Order{spec.OrderNone, spec.OrderAscending} {
		t.Run(string(order), func(t *testing.T) {
			w := newWorld(t, inOrder(order))
			u := newUpstream(t)
			u.connect(w)
			u.handler = tickets(ticket("a", "one", day(1)))
			w.sync()
			u.handler = tickets(`{"id":"b","title":"bad"}`)
			for try := 1; try <= 2; try++ {
				if got := w.sync(); got.Outcome != "partial" || w.cursor() != day(1) {
					t.Errorf("attempt is %+v with cursor %q, want partial and the cursor where it was", got, w.cursor())
				}
				same(t, "quarantine", []string{fmt.Sprintf("b no_cursor %d open", try)}, w.quarantine())
			}
		})
	}
}

func TestBarrierHoldsForUnreadableCursorFields(t *testing.T) {
	w := newWorld(t, inOrder(spec.OrderAscending), func(s *spec.Subscription) { s.OnError.QuarantineAfter = 2 })
	u := newUpstream(t)
	u.connect(w)
	u.handler = tickets(ticket("a", "one", day(1)), `{"id":"b","title":"bad"}`, ticket("c", "three", day(3)))
	if got := w.sync(); got.Code != codeBarrier || w.cursor() != "" {
		t.Errorf("attempt is %+v with cursor %q, want it held until the record was tried twice", got, w.cursor())
	}
	if got := w.sync(); got.Code != codeQuarantined || w.cursor() != day(3) {
		t.Errorf("attempt is %+v with cursor %q, want the record set aside and the cursor at %q", got, w.cursor(), day(3))
	}
}

func TestFilterLeavesOutRecordsWhoseCursorFieldCannotBeRead(t *testing.T) {
	w := newWorld(t, inOrder(spec.OrderAscending), func(s *spec.Subscription) { s.Filter = "has(record.updated)" })
	u := newUpstream(t)
	u.connect(w)
	u.handler = tickets(ticket("a", "one", day(1)), `{"id":"b","title":"draft"}`)
	if got := w.sync(); got.Outcome != "succeeded" || got.Counts.filtered != 1 || got.Counts.created != 1 || w.cursor() != day(1) {
		t.Errorf("attempt is %+v with cursor %q, want one created, one left out", got, w.cursor())
	}
}

func TestDisorderEndsTheRunBesideUnreadableCursorFields(t *testing.T) {
	w := newWorld(t, inOrder(spec.OrderAscending))
	u := newUpstream(t)
	u.connect(w)
	u.handler = tickets(ticket("a", "one", day(3)), `{"id":"b","title":"bad"}`, ticket("c", "three", day(1)))
	if err := w.handle(t.Context(), w.start()); err == nil {
		t.Error("a run whose source is not in order succeeded")
	}
	if got := w.attempt(); got.Code != "Misordered" || w.cursor() != "" {
		t.Errorf("attempt is %+v with cursor %q, want it refused as Misordered, nothing stored", got, w.cursor())
	}
}
