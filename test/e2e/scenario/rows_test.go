package scenario

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

func ticket(fields map[string]any) lab.Record {
	r := lab.Record{
		"id": "a", "title": "Printer", "state": "closed", "priority": json.Number("3"), "amount": json.Number("12.5"),
		"deleted": false, "updated": "2026-01-02 03:04:05.678Z",
	}
	maps.Copy(r, fields)
	return r
}

func TestDifferencesNameEveryColumnThatDoesNotFit(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	fit := row{title: "Printer", state: "done", priority: "3", amount: "12.50", updated: at, version: 1}
	h := &history{mapped: "2026-01-02 03:04:05.678Z"}
	for name, tc := range map[string]struct {
		record  lab.Record
		history *history
		row     func(row) row
		want    []string
	}{
		"fits":                 {ticket(nil), h, func(r row) row { return r }, nil},
		"mapped state":         {ticket(map[string]any{"state": "open"}), h, func(r row) row { return r }, []string{"state is done, want open"}},
		"title":                {ticket(nil), h, func(r row) row { r.title = "printer"; return r }, []string{"title is printer, want Printer"}},
		"last digit of amount": {ticket(nil), h, func(r row) row { r.amount = "12.51"; return r }, []string{"amount is 12.51, want 12.5"}},
		"priority is null":     {ticket(nil), h, func(r row) row { r.priority = ""; return r }, []string{"priority is , want 3"}},
		"not deleted":          {ticket(map[string]any{"deleted": true}), h, func(r row) row { return r }, []string{"deleted is false, want true"}},
		"a millisecond late": {ticket(nil), h, func(r row) row { r.updated = at.Add(time.Millisecond); return r }, []string{
			"source_updated_at is 2026-01-02 03:04:05.679 +0000 UTC, want 2026-01-02 03:04:05.678Z",
		}},
		"not of the script": {ticket(nil), nil, func(r row) row { return r }, []string{"is a record that the script did not make"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, differences(tc.record, tc.history, tc.row(fit))); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLedgerCountsWhatTheScriptDid(t *testing.T) {
	l := newLedger()
	a, b := ticket(nil), ticket(map[string]any{"id": "b", "updated": "2026-01-02 03:04:06.000Z"})
	l.wrote(Created, a, b)
	l.wrote(Updated, a)
	l.wrote(Deleted, ticket(map[string]any{"updated": "2026-01-02 03:04:09.000Z"}))
	l.wrote(Resurrected, ticket(map[string]any{"updated": "2026-01-02 03:04:10.000Z"}))
	if got := l.records["a"].mapped; got != "2026-01-02 03:04:10.000Z" {
		t.Errorf("the row must show %q, want the time of the last operation", got)
	}
	want := map[string]int64{"ticket_created": 3, "ticket_edited": 1, "ticket_deleted": 1}
	if diff := cmp.Diff(want, l.events()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, l.ids()); diff != "" || l.changes() != 5 {
		t.Errorf("%d changes, want 5; ids (-want +got):\n%s", l.changes(), diff)
	}
}

func TestSeedIsTheSameEveryTimeAndWithinExactNumbers(t *testing.T) {
	if diff := cmp.Diff(seed(), seed()); diff != "" {
		t.Errorf("two seeds differ:\n%s", diff)
	}
	if n := len(seed()); n != Records {
		t.Errorf("%d records, want %d", n, Records)
	}
	if firstBulk+bulk > Records {
		t.Errorf("the killed run edits records up to %d, of %d", firstBulk+bulk, Records)
	}
}

func TestShownCommandsCanBePasted(t *testing.T) {
	got := display("kubectl", []string{"patch", "jobpool", "batch", `--patch={"spec":{}}`})
	if want := `kubectl patch jobpool batch '--patch={"spec":{}}'`; got != want {
		t.Errorf("shown %s, want %s", got, want)
	}
}
