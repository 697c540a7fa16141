package http

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// noon is the clock of these tests.
var noon = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

func timeSource(order spec.Order, lookback, settle int64) spec.HTTPSource {
	return spec.HTTPSource{Order: order, Cursor: &spec.Cursor{Timestamp: &spec.TimestampCursor{
		From: "meta.at", Format: spec.FormatRFC3339, LookbackSeconds: lookback, SettleSeconds: settle,
	}}}
}

// at makes records whose field meta.at is that long before noon.
func at(before ...time.Duration) []any {
	var records []any
	for _, d := range before {
		records = append(records, map[string]any{"meta": map[string]any{"at": noon.Add(-d).Format(time.RFC3339Nano)}})
	}
	return records
}

func stored(before time.Duration) *source.Cursor {
	return &source.Cursor{Kind: kindTimestamp, Value: noon.Add(-before).Format(time.RFC3339Nano)}
}

func value(c *source.Cursor) string {
	if c == nil {
		return "none"
	}
	return c.Value
}

func TestTimestampCheckpoints(t *testing.T) {
	type step struct {
		records []any
		asOf    time.Time
		want    *source.Cursor // mid-walk
	}
	for name, tc := range map[string]struct {
		order            spec.Order
		lookback, settle int64
		from             *source.Cursor
		start            string
		steps            []step
		drained          *source.Cursor
	}{
		"ascending checkpoints at each page": {
			order: spec.OrderAscending, start: "none",
			steps:   []step{{at(3*time.Hour, 2*time.Hour), noon, stored(2 * time.Hour)}, {at(2*time.Hour, time.Hour), noon, stored(time.Hour)}},
			drained: stored(time.Hour),
		},
		"no order checkpoints only at the end": {
			order: spec.OrderNone, start: "none",
			steps:   []step{{at(time.Hour, 3*time.Hour), noon, nil}, {at(2 * time.Hour), noon, nil}},
			drained: stored(time.Hour),
		},
		"settle holds the cursor behind the upstream's clock": {
			order: spec.OrderAscending, settle: 60, start: "none",
			steps:   []step{{at(time.Hour, time.Second), noon, stored(time.Minute)}},
			drained: stored(time.Minute),
		},
		"a record from the future does not carry the cursor along": {
			order: spec.OrderAscending, start: "none",
			steps:   []step{{at(time.Hour, -1000*time.Hour), noon, stored(0)}},
			drained: stored(0),
		},
		"without order the clock is that of the first answer": {
			order: spec.OrderNone, start: "none",
			steps:   []step{{at(time.Hour), noon.Add(-30 * time.Minute), nil}, {at(time.Minute), noon, nil}},
			drained: stored(30 * time.Minute),
		},
		"lookback is sent and not stored": {
			order: spec.OrderNone, lookback: 90, from: stored(time.Hour), start: noon.Add(-time.Hour - 90*time.Second).Format(time.RFC3339),
			steps:   []step{{at(time.Minute), noon, nil}},
			drained: stored(time.Minute),
		},
		"the cursor never moves back": {
			order: spec.OrderAscending, lookback: 7200, from: stored(time.Hour), start: noon.Add(-3 * time.Hour).Format(time.RFC3339),
			steps:   []step{{at(2 * time.Hour), noon, stored(time.Hour)}},
			drained: stored(time.Hour),
		},
		"a position of another kind counts as none": {
			order: spec.OrderNone, from: &source.Cursor{Kind: kindToken, Value: "abc"}, start: "none",
			steps: []step{{nil, noon, nil}},
		},
		"nothing seen, nothing covered": {
			order: spec.OrderAscending, from: stored(time.Hour), start: noon.Add(-time.Hour).Format(time.RFC3339),
			steps: []step{{nil, noon, nil}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			track := newTracker(timeSource(tc.order, tc.lookback, tc.settle), tc.from)
			start, err := track.start()
			if err != nil {
				t.Fatal(err)
			}
			if got := value(&source.Cursor{Value: deref(start)}); got != tc.start {
				t.Errorf("sent %q, want %q", got, tc.start)
			}
			for i, s := range tc.steps {
				if _, err := track.observe(nil, s.records, s.asOf); err != nil {
					t.Fatalf("page %d: %v", i+1, err)
				}
				if got, _ := track.checkpoint(false); value(got) != value(s.want) {
					t.Errorf("checkpoint at page %d is %s, want %s", i+1, value(got), value(s.want))
				}
			}
			if got, err := track.checkpoint(true); err != nil || value(got) != value(tc.drained) {
				t.Errorf("checkpoint at the end is %s, %v; want %s", value(got), err, value(tc.drained))
			}
		})
	}
}

func deref(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

func TestOrderedWalkAdvancesByWhatTheFormatCanWrite(t *testing.T) {
	s := timeSource(spec.OrderAscending, 0, 0)
	s.Cursor.Timestamp.Format = spec.FormatSpaced
	track := newTracker(s, nil).(*timeTracker)
	page := func(times ...string) []any {
		var records []any
		for _, at := range times {
			records = append(records, map[string]any{"meta": map[string]any{"at": "2024-05-01 10:00:0" + at + "Z"}})
		}
		return records
	}
	if _, err := track.observe(nil, page("1.0001", "1.0009"), noon); err != nil {
		t.Fatal(err)
	}
	if got := track.advance(); got != nil {
		t.Errorf("advances to %q within one millisecond: the same page would come again", *got)
	}
	if _, err := track.observe(nil, page("1.0009", "2.0015"), noon); err != nil {
		t.Fatal(err)
	}
	if got := track.advance(); got == nil || *got != "2024-05-01 10:00:02.001Z" {
		t.Errorf("advances to %q, want the newest time rounded down", deref(got))
	}
	track.rewind()
	if _, err := track.observe(nil, page("2.0010", "2.0015"), noon); err != nil {
		t.Errorf("%v: what lies between the bound that was sent and the newest time comes again, in order", err)
	}
}

func TestTimestampRefuses(t *testing.T) {
	track := newTracker(timeSource(spec.OrderAscending, 0, 0), nil)
	if _, err := track.observe(nil, at(time.Hour, 2*time.Hour), noon); source.ClassOf(err) != source.Misordered {
		t.Errorf("got %v for a decrease in a source declared ascending, want %s", err, source.Misordered)
	}
}

// TestUnreadableTimesAreFaultsOfTheirRecordsI6 holds that no such record ends the walk, moves its position, or keeps a
// decrease among the others from being seen.
func TestUnreadableTimesAreFaultsOfTheirRecordsI6(t *testing.T) {
	field := func(v any) any { return map[string]any{"meta": map[string]any{"at": v}} }
	for name, tc := range map[string]struct {
		order  spec.Order
		record any
		want   mapping.Code // empty: the record is right
	}{
		"no field, ascending":         {spec.OrderAscending, map[string]any{"id": "1"}, mapping.CodeNoCursor},
		"no field":                    {spec.OrderNone, map[string]any{"id": "1"}, mapping.CodeNoCursor},
		"null, ascending":             {spec.OrderAscending, field(nil), mapping.CodeNoCursor},
		"null, not changed yet":       {spec.OrderNone, field(nil), ""},
		"a boolean, ascending":        {spec.OrderAscending, field(true), mapping.CodeWrongType},
		"an object":                   {spec.OrderNone, field(map[string]any{"secret": 1}), mapping.CodeWrongType},
		"no time, ascending":          {spec.OrderAscending, field("secret"), mapping.CodeInvalid},
		"a number for RFC 3339":       {spec.OrderNone, field(json.Number("9999")), mapping.CodeInvalid},
		"a year that is out of range": {spec.OrderNone, field("0000-01-01T00:00:00Z"), mapping.CodeInvalid},
		"no object at all":            {spec.OrderNone, "secret", mapping.CodeNoCursor},
	} {
		t.Run(name, func(t *testing.T) {
			track := newTracker(timeSource(tc.order, 0, 0), nil)
			records := append(append(at(2*time.Hour), tc.record), at(time.Hour)...)
			faults, err := track.observe(nil, records, noon)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := track.checkpoint(true); err != nil || value(got) != value(stored(time.Hour)) {
				t.Errorf("checkpoint %s, %v; want the newest time that can be read", value(got), err)
			}
			fault := faults[1]
			if tc.want == "" {
				if len(faults) > 0 {
					t.Errorf("faults %v, want none", faults)
				}
				return
			}
			if len(faults) != 1 || fault == nil || fault.Code != tc.want || fault.Field != "cursor" {
				t.Fatalf("faults %v, want %s for the second record", faults, tc.want)
			}
			if !strings.Contains(fault.Message, "meta.at") || strings.Contains(fault.Message, "secret") {
				t.Errorf("message is %q, want the field and no value", fault.Message)
			}
		})
	}
}

func TestOrderIsCheckedAcrossUnreadableTimes(t *testing.T) {
	track := newTracker(timeSource(spec.OrderAscending, 0, 0), nil)
	records := append(append(at(time.Hour), map[string]any{"meta": nil}), at(2*time.Hour)...)
	if _, err := track.observe(nil, records, noon); source.ClassOf(err) != source.Misordered {
		t.Errorf("got %v, want %s: the third record is older than the first", err, source.Misordered)
	}
}

func TestNothingReadableGivesNoPosition(t *testing.T) {
	for _, order := range []spec.Order{spec.OrderNone, spec.OrderAscending} {
		track := newTracker(timeSource(order, 0, 0), stored(time.Hour))
		faults, err := track.observe(nil, []any{map[string]any{"id": "1"}, map[string]any{"id": "2"}}, noon)
		if err != nil || len(faults) != 2 {
			t.Fatalf("%s: got %v, %v; want both records at fault", order, faults, err)
		}
		if got, err := track.checkpoint(true); got != nil || err != nil {
			t.Errorf("%s: checkpoint %s, %v; want none", order, value(got), err)
		}
	}
}

func TestStoredCursorThatIsNoTimeStartsOver(t *testing.T) {
	_, err := newTracker(timeSource(spec.OrderNone, 0, 0), &source.Cursor{Kind: kindTimestamp, Value: "x"}).start()
	if source.ClassOf(err) != source.CursorExpired {
		t.Errorf("got %v, want %s", err, source.CursorExpired)
	}
}

func TestTokenCheckpoints(t *testing.T) {
	s := spec.HTTPSource{Cursor: &spec.Cursor{Token: &spec.TokenCursor{From: "next.token"}}}
	body := func(v any) any { return map[string]any{"next": map[string]any{"token": v}} }
	for name, tc := range map[string]struct {
		from    *source.Cursor
		bodies  []any
		records []any
		want    string
		err     bool
	}{
		"text":                 {nil, []any{body("t1"), body("t2")}, at(0), "t2", false},
		"a number stays exact": {nil, []any{body(json.Number("9007199254740993"))}, at(0), "9007199254740993", false},
		"an empty last page keeps the one before": {nil, []any{body("t1"), body(nil)}, at(0), "t1", false},
		"none anywhere":                    {nil, []any{body(nil)}, at(0), "", true},
		"none, but nothing new either":     {&source.Cursor{Kind: kindToken, Value: "t0"}, []any{body("")}, nil, "none", false},
		"none, and nothing there yet":      {nil, []any{body(nil)}, nil, "none", false},
		"none, although there are records": {&source.Cursor{Kind: kindToken, Value: "t0"}, []any{body(nil)}, at(0), "", true},
		"an object":                        {nil, []any{body(map[string]any{})}, at(0), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			track := newTracker(s, tc.from)
			var err error
			for _, b := range tc.bodies {
				if _, err = track.observe(b, tc.records, noon); err != nil {
					break
				}
				if got, _ := track.checkpoint(false); got != nil {
					t.Errorf("a token is a position before the walk is drained")
				}
			}
			var got *source.Cursor
			if err == nil {
				got, err = track.checkpoint(true)
			}
			if (err != nil) != tc.err || err != nil && source.ClassOf(err) != source.BadAnswer || err == nil && value(got) != tc.want {
				t.Errorf("got %s, %v; want %s, error %t", value(got), err, tc.want, tc.err)
			}
		})
	}
}
