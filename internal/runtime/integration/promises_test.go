package integration

import (
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/events"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// TestOutageInTheMiddleSetsNothingAsideI5 holds that what no record is to blame for ends the run at its last checkpoint.
func TestOutageInTheMiddleSetsNothingAsideI5(t *testing.T) {
	newWorld := reusable(t)
	for name, state := range map[string]string{
		"disk full": "53100", "out of memory": "53200", "shutdown": "57P01", "statement timeout": "57014", "deadlock": "40P01",
		"serialization": "40001", "lock timeout": "55P03", "input or output": "58030",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.ChunkRecords = 10
			w.source.give(page(t, day(1), ticket("a", "one", day(1))))
			w.sync()
			w.exec(`CREATE OR REPLACE FUNCTION public.outage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF NEW.external_id = 't000015' THEN RAISE EXCEPTION 'away' USING ERRCODE = '` + state + `'; END IF; RETURN NEW; END $$`)
			w.exec("CREATE TRIGGER outage BEFORE INSERT ON public.tickets FOR EACH ROW EXECUTE FUNCTION public.outage()")
			w.source.give(scripted{records: many(t, 10, "x"), checkpoint: day(2)}, scripted{records: many(t, 40, "x")[10:], checkpoint: day(3)})
			if err := w.handle(t.Context(), w.start()); err == nil {
				t.Fatal("sync succeeded although the database was away")
			}
			if got := w.attempt(); got.Outcome != "failed" || got.Code != codeDatabase || w.cursor() == day(3) || !strings.HasPrefix(w.runState(), "pending") {
				t.Errorf("attempt is %+v, run %s, cursor %q; want it failed, to be tried again, the cursor held", got, w.runState(), w.cursor())
			}
			if aside := w.quarantine(); len(aside) > 0 {
				t.Errorf("quarantine is %q, want nothing set aside for an outage", aside)
			}
			w.exec("DROP TRIGGER outage ON public.tickets")
			w.sync()
			if n := len(w.rows()); n != 41 || w.cursor() != day(3) {
				t.Errorf("%d rows and cursor %q after the outage, want 41 and %q", n, w.cursor(), day(3))
			}
			w.checkBooks()
		})
	}
}

// TestTwoSubscriptionsOfOneAccountIngestOnceI17 has a second subscription read the same records into the same table.
func TestTwoSubscriptionsOfOneAccountIngestOnceI17(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1)), ticket("b", "two", day(1))))
	w.sync()
	told := w.events()
	w.exec(`INSERT INTO subscription (id, connection_id, pool, spec) SELECT gen_random_uuid(), connection_id, pool, spec FROM subscription`)
	w.request("again")
	w.tick()
	claims, _, err := w.store.Claim(t.Context(), w.worker, 10)
	if err != nil || len(claims) != 2 {
		t.Fatalf("claimed %d runs, %v; want both", len(claims), err)
	}
	for _, c := range claims {
		if err := w.handle(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "rows", []string{"a one - alive v1", "b two - alive v1"}, w.rows())
	same(t, "events", told, w.events())
	same(t, "counts", []string{"0 2", "0 2"}, w.lines("SELECT created AS a, unchanged AS b FROM sync_run ORDER BY id DESC LIMIT 2"))
}

// TestEveryCountOfAnAttemptIsKeptI21 has one of everything in one attempt.
func TestEveryCountOfAnAttemptIsKeptI21(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) { s.Filter = `record.title != "out"` })
	gone := ticket("gone", "x", day(1), `"deleted":true`)
	w.source.give(page(t, day(1), ticket("edit", "x", day(1)), ticket("drop", "x", day(1)), ticket("same", "x", day(1)),
		ticket("late", "x", day(3)), ticket("gone", "x", day(1))))
	w.sync()
	w.source.give(page(t, day(2), gone))
	w.sync()
	w.source.give(page(t, day(4), ticket("new", "x", day(4)), ticket("edit", "y", day(4)), ticket("drop", "x", day(4), `"deleted":true`),
		ticket("gone", "x", day(4)), ticket("same", "x", day(1)), ticket("late", "y", day(2)), ticket("left", "out", day(4)),
		ticket("bad", "x", day(4), `"amount":"much"`)))
	got := w.sync()
	want := counts{created: 1, updated: 1, deleted: 1, resurrected: 1, unchanged: 1, stale: 1, filtered: 1, quarantined: 1}
	if got.Counts != want || got.Outcome != "partial" {
		t.Errorf("attempt is %+v, want one of each and partial: a bad record is no clean success", got)
	}
}

// TestEventOfAChangeHasOneIDHoweverOftenItIsTriedI22 makes a chunk fail after its event was made, and tries again.
func TestEventOfAChangeHasOneIDHoweverOftenItIsTriedI22(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.sync()
	w.exec(`CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		RAISE EXCEPTION 'event %', NEW.id USING ERRCODE = '53100'; END $$`)
	w.exec("CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION public.refuse()")
	w.source.give(page(t, day(2), ticket("a", "two", day(2))))
	var tried []string
	for range 2 {
		err := w.handle(t.Context(), w.start())
		if err == nil {
			t.Fatal("sync succeeded although its event was refused")
		}
		_, id, _ := strings.Cut(err.Error(), "event ")
		tried = append(tried, id[:36])
	}
	w.exec("DROP TRIGGER refuse ON outbox")
	w.sync()
	written := w.text("SELECT id::text FROM outbox WHERE type = $1", events.Type("ticket", events.Edited))
	same(t, "ids of the event at each try", []string{written, written}, tried)
}

// TestFieldThatARecordNoLongerHasIsClearedOnceD5 holds that nobody hints what to compare: a record is a full picture.
func TestFieldThatARecordNoLongerHasIsClearedOnceD5(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1), `"amount":5`)))
	w.sync()
	w.source.give(page(t, day(2), ticket("a", "one", day(2))))
	w.sync()
	w.sync()
	same(t, "rows", []string{"a one - alive v2"}, w.rows())
	if got := w.attempt(); got.Counts.unchanged != 1 || len(w.events()) != 2 {
		t.Errorf("attempt is %+v with events %q, want the field cleared once", got, w.events())
	}
}

// TestChildBeforeItsParentNeedsNoRepairK4K5 keeps the parent's external id as it comes: nothing has to be resolved.
func TestChildBeforeItsParentNeedsNoRepairK4K5(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) {
		s.Mapping = append(s.Mapping, spec.Field{Name: "parent", From: "parent.id", Type: spec.Text})
	})
	parent := func() string {
		return w.text("SELECT COALESCE(parent, 'none') FROM public.tickets WHERE external_id = 'child'")
	}
	w.source.give(page(t, day(1), ticket("child", "x", day(1), `"parent":{"id":"p"}`)))
	w.sync()
	w.source.give(page(t, day(2), ticket("p", "parent", day(2)), ticket("child", "x", day(1), `"parent":{"id":"p"}`)))
	if got := w.sync(); got.Counts.unchanged != 1 || parent() != "p" {
		t.Errorf("attempt is %+v with parent %q, want the child unchanged under its parent", got, parent())
	}
	w.source.give(page(t, day(3), ticket("child", "x", day(3), `"parent":null`)))
	if got := w.sync(); got.Counts.updated != 1 || parent() != "none" {
		t.Errorf("attempt is %+v with parent %q, want the parent cleared", got, parent())
	}
}

// TestRecordsThatAreLeftOutAdvanceTheCursorR3 holds that what is not applied on purpose is dealt with all the same.
func TestRecordsThatAreLeftOutAdvanceTheCursorR3(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) { s.Filter = `record.title != "out"` })
	w.source.give(page(t, day(1), ticket("a", "out", day(1))), page(t, day(2), ticket("b", "out", day(2))))
	if got := w.sync(); got.Counts.filtered != 2 || w.cursor() != day(2) {
		t.Errorf("attempt is %+v with cursor %q, want both counted as left out and the cursor at %q", got, w.cursor(), day(2))
	}
}

// TestErrorOfTheSourceIsNoDeletionR4 holds that what could not be read stays, and is read again.
func TestErrorOfTheSourceIsNoDeletionR4(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1)), ticket("b", "two", day(1))))
	w.sync()
	w.source.give(page(t, "", ticket("a", "one", day(1))), scripted{err: sourceError(source.NotFound)})
	_ = w.handle(t.Context(), w.start())
	same(t, "rows", []string{"a one - alive v1", "b two - alive v1"}, w.rows())
	if w.cursor() != day(1) {
		t.Errorf("cursor is %q, want it held at %q", w.cursor(), day(1))
	}
}

// TestMappingFilterAndTypesAreExecutedR7 holds that what a spec says is done, and that nothing it says is dropped.
func TestMappingFilterAndTypesAreExecutedR7(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) {
		s.Filter = "record.amount > 1"
		s.Mapping[0].From, s.Mapping[0].Expr = "", "record.title.upperAscii()"
	})
	w.source.give(page(t, day(1), ticket("a", "one", day(1), `"amount":1`), ticket("b", "two", day(1), `"amount":2.50`)))
	w.sync()
	same(t, "rows", []string{"b TWO 2.50 alive v1"}, w.rows())
	w.exec(`UPDATE subscription SET spec = spec || '{"filtre": "false"}', spec_generation = spec_generation + 1`)
	if err := w.handle(t.Context(), w.start()); err == nil || !strings.Contains(err.Error(), "filtre") {
		t.Errorf("sync gave %v, want a field that nobody knows refused", err)
	}
}
