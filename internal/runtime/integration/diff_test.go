package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// mapAll maps JSON records with a subscription's program.
func mapAll(t *testing.T, sub spec.Subscription, lines ...string) []record {
	t.Helper()
	program, problems := mapping.Compile(sub)
	if len(problems) > 0 {
		t.Fatal(joinProblems(problems))
	}
	r := &run{program: program, shape: newShape(sub)}
	var out []record
	for _, raw := range page(t, "", lines...).records {
		mapped, err := r.mapRecord(t.Context(), raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, mapped)
	}
	return out
}

// stored makes rows of columns in PostgreSQL's text form: external id -> title, amount, time; "-" is null.
func stored(t *testing.T, s shape, deleted bool, columns map[string][]string) map[string]row {
	t.Helper()
	rows := map[string]row{}
	for id, texts := range columns {
		r := row{id: uuid.NewSHA1(uuid.Nil, []byte(id)), version: 4, deleted: deleted}
		for i, f := range s.fields {
			var text *string
			if texts[i] != "-" {
				text = &texts[i]
			}
			v, err := mapping.ParseText(f.Type, text)
			if err != nil {
				t.Fatal(err)
			}
			r.values = append(r.values, v)
		}
		rows[id] = r
	}
	return rows
}

func describe(changes []change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, fmt.Sprintf("%s %s v%d %s", c.op, c.externalID, c.version, c.fields))
	}
	return out
}

func TestDecisions(t *testing.T) {
	old := []string{"one", "12.30", "2024-01-02 00:00:00+00"}
	for name, tc := range map[string]struct {
		lines   []string
		row     []string // of id a; nil: none
		deleted bool
		edit    func(*spec.Subscription)
		want    []string
		counts  counts
	}{
		"created with its non-null fields": {
			lines: []string{ticket("a", "one", day(2))}, want: []string{`created a v1 {"title":{"from":null,"to":"one"}}`}, counts: counts{created: 1},
		},
		"D1 absence is created whatever the diff": {
			lines: []string{`{"id":"a","updated":"` + day(2) + `"}`}, want: []string{`created a v1 {}`}, counts: counts{created: 1},
		},
		"D2 equal by value is unchanged: decimal, instant, absent and null": {
			lines:  []string{`{"id":"a","title":"one","amount":12.3,"updated":"2024-01-02T02:00:00.000+02:00"}`},
			row:    old,
			counts: counts{unchanged: 1},
		},
		"D2 number as text is the same number": {
			lines: []string{ticket("a", "one", day(2), `"amount":"12.300"`)}, row: old, counts: counts{unchanged: 1},
		},
		"D3 a difference in the last of many digits is a change": {
			lines: []string{ticket("a", "one", day(2), `"amount":9007199254740993`)}, row: []string{"one", "9007199254740992", "-"},
			want:   []string{`updated a v5 {"amount":{"from":9007199254740992,"to":9007199254740993}}`},
			counts: counts{updated: 1},
		},
		"D3 texts that read as the same number differ": {
			lines: []string{ticket("a", "7", day(2), `"amount":1`)}, row: []string{"007", "1", "-"},
			want: []string{`updated a v5 {"title":{"from":"007","to":"7"}}`}, counts: counts{updated: 1},
		},
		"D4 a key that is no longer sent clears the field": {
			lines: []string{ticket("a", "one", day(2))}, row: old,
			want: []string{`updated a v5 {"amount":{"from":12.30,"to":null}}`}, counts: counts{updated: 1},
		},
		"a change of an ignored field alone is none": {
			lines: []string{ticket("a", "one", day(9), `"amount":12.3`)}, row: old, counts: counts{unchanged: 1},
		},
		"I25 a record older than its row is stale": {
			lines: []string{ticket("a", "older", day(1))}, row: old, counts: counts{stale: 1},
		},
		"I25 an old delete is stale": {
			lines: []string{ticket("a", "x", day(1), `"deleted":true`)}, row: old, counts: counts{stale: 1},
		},
		"an unknown time is not old": {
			lines: []string{`{"id":"a","title":"two","amount":12.3,"deleted":false}`}, row: old,
			want: []string{`updated a v5 {"title":{"from":"one","to":"two"}}`}, counts: counts{updated: 1},
		},
		"without a field for the time nothing is stale": {
			lines: []string{ticket("a", "older", day(1), `"amount":12.3`)}, row: old,
			edit:   func(s *spec.Subscription) { s.Mapping[2].Expr, s.Mapping[2].From = "record.updated", "" },
			want:   []string{`updated a v5 {"title":{"from":"one","to":"older"}}`},
			counts: counts{updated: 1},
		},
		"deleted": {
			lines: []string{ticket("a", "one", day(3), `"deleted":true`)}, row: old, want: []string{`deleted a v5 {}`}, counts: counts{deleted: 1},
		},
		"hard delete keeps what stood there": {
			lines: []string{`{"id":"a","deleted":true}`}, row: old, edit: func(s *spec.Subscription) { s.Sink.Delete = spec.HardDelete },
			want:   []string{`deleted a v5 {"title":{"from":"one","to":null},"amount":{"from":12.30,"to":null}}`},
			counts: counts{deleted: 1},
		},
		"delete ignored": {
			lines: []string{`{"id":"a","deleted":true}`}, row: old, edit: func(s *spec.Subscription) { s.Sink.Delete = spec.IgnoreDelete },
			counts: counts{unchanged: 1},
		},
		"K3 a second delete is none":         {lines: []string{`{"id":"a","deleted":true}`}, row: old, deleted: true, counts: counts{unchanged: 1}},
		"a delete that hits nothing is none": {lines: []string{`{"id":"a","deleted":true}`}, counts: counts{unchanged: 1}},
		"K2 a deleted row that reappears unchanged is resurrected": {
			lines: []string{ticket("a", "one", day(3), `"amount":12.3`)}, row: old, deleted: true,
			want: []string{`resurrected a v5 {}`}, counts: counts{resurrected: 1},
		},
		"K2 changed": {
			lines: []string{ticket("a", "two", day(3), `"amount":12.3`)}, row: old, deleted: true,
			want: []string{`resurrected a v5 {"title":{"from":"one","to":"two"}}`}, counts: counts{resurrected: 1},
		},
		"the later of two records of one id wins": {
			lines: []string{ticket("a", "first", day(3)), ticket("a", "second", day(3))},
			want:  []string{`created a v1 {"title":{"from":null,"to":"second"}}`}, counts: counts{created: 1, stale: 1},
		},
		"unless it is older": {
			lines: []string{ticket("a", "newer", day(3)), ticket("a", "older", day(2))},
			want:  []string{`created a v1 {"title":{"from":null,"to":"newer"}}`}, counts: counts{created: 1, stale: 1},
		},
		"the same record twice": {
			lines: []string{ticket("a", "one", day(3)), ticket("a", "one", day(3))},
			want:  []string{`created a v1 {"title":{"from":null,"to":"one"}}`}, counts: counts{created: 1, unchanged: 1},
		},
		"created and deleted in one chunk was never there": {
			lines: []string{ticket("a", "one", day(3)), ticket("a", "one", day(4), `"deleted":true`)}, counts: counts{stale: 1, unchanged: 1},
		},
		"filtered records do nothing": {
			lines: []string{ticket("a", "one", day(3), `"amount":12.3`)}, row: old, edit: func(s *spec.Subscription) { s.Filter = `record.title == "two"` },
			counts: counts{filtered: 1},
		},
		"changes come in the order of their ids": {
			lines:  []string{ticket("c", "x", day(3)), ticket("b", "x", day(3))},
			want:   []string{`created b v1 {"title":{"from":null,"to":"x"}}`, `created c v1 {"title":{"from":null,"to":"x"}}`},
			counts: counts{created: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sub := ticketSpec()
			if tc.edit != nil {
				tc.edit(&sub)
			}
			s := newShape(sub)
			rows := map[string]row{}
			if tc.row != nil {
				rows = stored(t, s, tc.deleted, map[string][]string{"a": tc.row})
			}
			changes, got := decide(s, choose(s, mapAll(t, sub, tc.lines...)), rows, newLocalID)
			if diff := cmp.Diff(tc.want, describe(changes)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if got != tc.counts {
				t.Errorf("counts are %+v, want %+v", got, tc.counts)
			}
			if int(got.found()) != len(tc.lines) {
				t.Errorf("counts add up to %d of %d records", got.found(), len(tc.lines))
			}
		})
	}
}

func TestRecordsThatCannotBeMappedAreSetAsideUnlessALaterOneCan(t *testing.T) {
	bad := ticket("a", "x", day(1), `"amount":"much"`)
	good := ticket("a", "x", day(1), `"amount":1`)
	for name, tc := range map[string]struct {
		lines      []string
		keys       []string
		good       int
		stale      int64
		underSHA   bool
		externalID string
	}{
		"bad alone":           {lines: []string{bad}, keys: []string{"a"}, externalID: "a"},
		"bad, then good":      {lines: []string{bad, good}, good: 1, stale: 1},
		"good, then bad":      {lines: []string{good, bad}, good: 1, keys: []string{"a"}, externalID: "a"},
		"bad twice":           {lines: []string{bad, bad}, keys: []string{"a"}, stale: 1, externalID: "a"},
		"no id":               {lines: []string{`{"title":"x"}`}, underSHA: true},
		"id that is too long": {lines: []string{ticket(strings.Repeat("x", 2000), "x", day(1))}, underSHA: true},
		"id with a NUL":       {lines: []string{`{"id":"a\u0000b"}`}, underSHA: true},
	} {
		t.Run(name, func(t *testing.T) {
			sel := choose(newShape(ticketSpec()), mapAll(t, ticketSpec(), tc.lines...))
			var keys []string
			for _, f := range sel.failures {
				keys = append(keys, f.key)
				if f.externalID != tc.externalID || f.code == "" || f.message == "" {
					t.Errorf("failure is %+v, want external id %q, a code and a message", f, tc.externalID)
				}
			}
			if tc.underSHA {
				if len(keys) != 1 || !strings.HasPrefix(keys[0], "sha256:") {
					t.Errorf("keys are %q, want one digest", keys)
				}
				return
			}
			if diff := cmp.Diff(tc.keys, keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if len(sel.good) != tc.good || sel.counts.stale != tc.stale {
				t.Errorf("%d good and %d stale, want %d and %d", len(sel.good), sel.counts.stale, tc.good, tc.stale)
			}
		})
	}
}

func TestStopRatioNeedsAHandfulOfBadRecords(t *testing.T) {
	for _, tc := range []struct {
		ratio     string
		bad, good int64
		want      bool
	}{
		{"0.2", 1, 0, false}, {"0.2", 9, 0, false}, {"0.2", 10, 40, false}, {"0.2", 10, 39, true}, {"1", 100, 0, false}, {"0.999", 100, 0, true},
	} {
		r, err := parseRatio(tc.ratio)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.exceeded(counts{quarantined: tc.bad, unchanged: tc.good}); got != tc.want {
			t.Errorf("ratio %s with %d bad and %d good: exceeded is %v, want %v", tc.ratio, tc.bad, tc.good, got, tc.want)
		}
	}
	for _, bad := range []string{"", "0", "-0.1", "1.1", "x"} {
		if _, err := parseRatio(bad); err == nil {
			t.Errorf("ratio %q was accepted", bad)
		}
	}
}

func TestWalkHashChangesWithWhatRecordsMean(t *testing.T) {
	connection := spec.Connection{HTTP: &spec.HTTP{BaseURL: "https://a"}}
	before := walkHash(ticketSpec(), connection, "1")
	for name, tc := range map[string]struct {
		edit func(*spec.Subscription)
		same bool
	}{
		"mapping":   {edit: func(s *spec.Subscription) { s.Mapping[0].From = "name" }},
		"column":    {edit: func(s *spec.Subscription) { s.Mapping = s.Mapping[:2] }},
		"filter":    {edit: func(s *spec.Subscription) { s.Filter = "true" }},
		"tombstone": {edit: func(s *spec.Subscription) { s.Tombstone = "" }},
		"request":   {edit: func(s *spec.Subscription) { s.Source.HTTP.Request.Path = "/x" }},
		"cursor":    {edit: func(s *spec.Subscription) { s.Source.HTTP.Cursor.Timestamp.From = "x" }},
		"table":     {edit: func(s *spec.Subscription) { s.Sink.Table = "x" }},
		"deletes":   {edit: func(s *spec.Subscription) { s.Sink.Delete = spec.IgnoreDelete }},
		"ignored":   {edit: func(s *spec.Subscription) { s.Sink.DiffIgnore = nil }},
		"limits":    {same: true, edit: func(s *spec.Subscription) { s.Source.HTTP.Limits.MaxPages = 1 }},
		"lookback":  {same: true, edit: func(s *spec.Subscription) { s.Source.HTTP.Cursor.Timestamp.LookbackSeconds = 1 }},
		"order":     {same: true, edit: func(s *spec.Subscription) { s.Source.HTTP.Order = spec.OrderAscending }},
		"paging": {same: true, edit: func(s *spec.Subscription) {
			s.Source.HTTP.Pagination.Page = &spec.PagePagination{Size: 1}
		}},
		"schedule":   {same: true, edit: func(s *spec.Subscription) { s.Schedule = nil }},
		"emit":       {same: true, edit: func(s *spec.Subscription) { s.EmitChanges = false }},
		"history":    {same: true, edit: func(s *spec.Subscription) { s.Mapping[0].History = spec.Masked }},
		"management": {same: true, edit: func(s *spec.Subscription) { s.Sink.Management = spec.Existing }},
	} {
		sub := ticketSpec()
		tc.edit(&sub)
		if got := walkHash(sub, connection, "1") == before; got != tc.same {
			t.Errorf("%s: hash stays the same is %v, want %v", name, got, tc.same)
		}
	}
	if walkHash(ticketSpec(), connection, "2") == before || walkHash(ticketSpec(), spec.Connection{HTTP: &spec.HTTP{BaseURL: "https://b"}}, "1") == before {
		t.Error("another table or another account has the same hash")
	}
}
