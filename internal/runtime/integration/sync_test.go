package integration

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFirstSyncThenEditDeleteResurrectAndNothing(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(2), ticket("a", "one", day(1), `"amount":12.30`), ticket("b", "two", day(2), `"amount":9007199254740993`)))
	if got := w.sync(); got.Outcome != "succeeded" || !got.FullWalk || got.Counts.created != 2 || got.After != day(2) {
		t.Fatalf("first sync is %+v, want a full walk that created 2", got)
	}
	w.source.give(page(t, day(4), ticket("a", "ONE", day(3), `"amount":12.3`), ticket("b", "two", day(4), `"amount":9007199254740993`, `"deleted":true`)))
	if got := w.sync(); got.FullWalk || got.Counts.updated != 1 || got.Counts.deleted != 1 || got.Before != day(2) {
		t.Errorf("second sync is %+v, want one edit and one delete from %s", got, day(2))
	}
	w.source.give(page(t, day(5), ticket("a", "ONE", day(3), `"amount":12.300`), ticket("b", "two", day(5), `"amount":9007199254740993`)))
	if got := w.sync(); got.Counts.resurrected != 1 || got.Counts.unchanged != 1 {
		t.Errorf("third sync is %+v, want one resurrected and one unchanged", got)
	}
	w.source.give(page(t, day(5)))
	if got := w.sync(); got.Outcome != "noChanges" || got.Counts.found() != 0 {
		t.Errorf("fourth sync is %+v, want no changes", got)
	}
	want := []string{"a ONE 12.3 alive v2", "b two 9007199254740993 alive v3"}
	if diff := cmp.Diff(want, w.rows()); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	want = []string{
		`ticket_created a {"title": {"to": "one", "from": null}, "amount": {"to": 12.30, "from": null}} `,
		`ticket_created b {"title": {"to": "two", "from": null}, "amount": {"to": 9007199254740993, "from": null}} `,
		`ticket_edited a {"title": {"to": "ONE", "from": "one"}} `,
		`ticket_deleted b - `,
		`ticket_created b {} true`,
	}
	if diff := cmp.Diff(want, w.events()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	w.checkBooks()
	if diff := cmp.Diff([]string{"", day(2), day(4), day(5)}, w.source.walks); diff != "" {
		t.Errorf("walks started from (-want +got):\n%s", diff)
	}
}
