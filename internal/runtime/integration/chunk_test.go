package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// same compares lists and says what was expected.
func same(t *testing.T, what string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// waitFor polls the database until a condition holds; the condition is a query for one boolean.
func (w *world) waitFor(sql string) {
	w.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		var ok bool
		if err := w.pool.QueryRow(w.t.Context(), sql).Scan(&ok); err != nil {
			w.t.Fatal(err)
		}
		if ok {
			return
		}
		select {
		case <-deadline.C:
			w.t.Fatalf("never true: %s", sql)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

const waitingForALock = `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())`

func TestI1I2I3RowAuditAndEventStandOrFallTogether(t *testing.T) {
	newWorld := reusable(t)
	for _, table := range []string{"outbox", "sync_item", "subscription", "sync_run"} {
		t.Run(table, func(t *testing.T) {
			w := newWorld(t)
			w.source.give(page(t, day(1), ticket("a", "one", day(1))))
			w.sync()
			// A full disk, as far as this table is concerned: no fault of any record.
			w.exec(`CREATE OR REPLACE FUNCTION public.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF to_jsonb(NEW)->>'chunks' = '0'
				  OR TG_TABLE_NAME = 'subscription' AND to_jsonb(NEW)->'cursor' IS NOT DISTINCT FROM to_jsonb(OLD)->'cursor'
				THEN RETURN NEW; END IF;
				RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$`)
			w.exec("CREATE TRIGGER disk_full BEFORE INSERT OR UPDATE ON " + table + " FOR EACH ROW EXECUTE FUNCTION public.disk_full()")
			rows, events := w.rows(), w.events()
			w.source.give(page(t, day(2), ticket("a", "two", day(2)), ticket("b", "new", day(2))))
			if err := w.handle(t.Context(), w.start()); err == nil || !strings.Contains(err.Error(), "disk full") {
				t.Fatalf("sync gave %v, want the disk's error", err)
			}
			same(t, "rows after the failure", rows, w.rows())
			same(t, "events after the failure", events, w.events())
			if got := w.cursor(); got != day(1) {
				t.Errorf("cursor is %q, want it held at %q", got, day(1))
			}
			w.checkBooks()
			w.exec("DROP TRIGGER disk_full ON " + table)
			w.sync()
			same(t, "rows after the repair", []string{"a two - alive v2", "b new - alive v1"}, w.rows())
			if got := len(w.events()); got != 3 {
				t.Errorf("%d events after the repair, want 3", got)
			}
			w.checkBooks()
		})
	}
}

func TestI4PoisonRecordIsSetAsideInTheCommitThatMovesTheCursor(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(3), ticket("a", "one", day(1)), ticket("b", "two", day(2), `"amount":"much"`), ticket("c", "three", day(3))))
	got := w.sync()
	if got.Outcome != "partial" || got.Code != codeQuarantined || got.Counts.created != 2 || got.Counts.quarantined != 1 || w.cursor() != day(3) {
		t.Errorf("attempt is %+v with cursor %q, want partial, 2 created, 1 quarantined, cursor %q", got, w.cursor(), day(3))
	}
	same(t, "rows", []string{"a one - alive v1", "c three - alive v1"}, w.rows())
	same(t, "quarantine", []string{"b invalid_value 1 open"}, w.quarantine())
	if raw := w.text("SELECT convert_from(record, 'UTF8') FROM quarantine"); !strings.Contains(raw, `"amount":"much"`) {
		t.Errorf("kept record is %s, want it as it came", raw)
	}
	// The record comes again as it was: known, not counted as tried twice by the same run; then mended.
	w.sync()
	same(t, "quarantine", []string{"b invalid_value 2 open"}, w.quarantine())
	w.source.give(page(t, day(4), ticket("b", "two", day(4), `"amount":2`)))
	if got := w.sync(); got.Outcome != "succeeded" || got.Counts.created != 1 {
		t.Errorf("attempt is %+v, want one created", got)
	}
	same(t, "quarantine", []string{"b invalid_value 2 resolved"}, w.quarantine())
	w.source.give(page(t, day(5), ticket("b", "two", day(5), `"amount":"bad again"`)))
	w.sync()
	same(t, "a record that goes bad again starts over", []string{"b invalid_value 1 open"}, w.quarantine())
	w.checkBooks()
}

func TestBadRecordThatComesTwiceInTheSameRunCountsOnce(t *testing.T) {
	w := newWorld(t)
	w.config.ChunkRecords = 1
	bad := ticket("a", "x", day(1), `"amount":"much"`)
	w.source.give(page(t, "", bad), page(t, "", ticket("b", "x", day(1))), page(t, day(1), bad))
	w.sync()
	same(t, "quarantine", []string{"a invalid_value 1 open"}, w.quarantine())
}

func TestRecordLeftOutByTheFilterIsNoLongerSetAside(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) { s.Filter = `record.title != "out"` })
	w.source.give(page(t, day(1), ticket("a", "in", day(1), `"amount":"much"`)))
	w.sync()
	w.source.give(page(t, day(2), ticket("a", "out", day(2), `"amount":"much"`)))
	w.sync()
	same(t, "quarantine", []string{"a invalid_value 1 resolved"}, w.quarantine())
}

func TestI4DatabaseRefusesSomeRecordsOfAChunk(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) { s.OnError.StopRatio = "1" })
	w.source.give()
	w.sync()
	w.exec("ALTER TABLE public.tickets ADD CHECK (amount < 100), ADD UNIQUE (title)")
	var lines []string
	for i := range 64 {
		lines = append(lines, ticket(fmt.Sprintf("r%02d", i), fmt.Sprintf("title %d", i), day(1), fmt.Sprintf(`"amount":%d`, i)))
	}
	lines[7] = ticket("r07", "title 7", day(1), `"amount":1000`)
	lines[40] = ticket("r40", "title 40", day(1), `"amount":100`)
	lines[41] = ticket("r41", "title 5", day(1), `"amount":41`)
	w.source.give(page(t, day(2), lines...))
	got := w.sync()
	if got.Counts.created != 61 || got.Counts.quarantined != 3 || w.cursor() != day(2) {
		t.Errorf("attempt is %+v, cursor %q; want 61 created, 3 quarantined, the cursor moved", got, w.cursor())
	}
	same(t, "quarantine", []string{"r07 sqlstate_23514 1 open", "r40 sqlstate_23514 1 open", "r41 sqlstate_23505 1 open"}, w.quarantine())
	if n := len(w.rows()); n != 61 {
		t.Errorf("%d rows, want 61", n)
	}
	message := w.text("SELECT error FROM quarantine WHERE record_key = 'r41'")
	if strings.Contains(message, "title 5") || !strings.Contains(message, "tickets_title_key") {
		t.Errorf("message is %q, want the constraint and no value", message)
	}
	w.checkBooks()
}

func TestConstraintThatWaitsForTheCommitSetsItsRecordAside(t *testing.T) {
	w := newWorld(t)
	w.source.give()
	w.sync()
	w.exec("ALTER TABLE public.tickets ADD UNIQUE (title) DEFERRABLE INITIALLY DEFERRED")
	w.source.give(page(t, day(2), ticket("a", "same", day(1)), ticket("b", "same", day(1)), ticket("c", "other", day(1))))
	w.sync()
	same(t, "rows", []string{"a same - alive v1", "c other - alive v1"}, w.rows())
	same(t, "quarantine", []string{"b sqlstate_23505 1 open"}, w.quarantine())
}

func TestI6RecordWithoutAUsableIDIsSetAside(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) { s.OnError.StopRatio = "1" })
	w.source.give(page(t, day(1), `{"title":"no id"}`, `{"id":{"x":1}}`, `{"id":""}`, `{"id":"a\u0000b","title":"nul"}`, `"not an object"`,
		`{"id":"n","title":"has a \u0000 in it"}`, `{"id":7,"title":"number","updated":"2024-01-01T00:00:00Z"}`, `{"id":9007199254740993,"title":"big"}`))
	got := w.sync()
	if got.Counts.quarantined != 6 || got.Counts.created != 2 {
		t.Errorf("attempt is %+v, want 6 set aside and 2 created", got)
	}
	same(t, "rows", []string{"7 number - alive v1", "9007199254740993 big - alive v1"}, w.rows())
	for _, line := range w.quarantine() {
		if !strings.HasPrefix(line, "sha256:") && !strings.HasPrefix(line, "n nul_character") {
			t.Errorf("quarantine has %q, want a digest as key, or the record with a NUL under its id", line)
		}
	}
}

func TestI8CursorDoesNotPassARecordThatCouldNotBeKept(t *testing.T) {
	w := newWorld(t)
	w.exec("ALTER TABLE quarantine ADD CHECK (error_code <> 'invalid_value') NOT VALID")
	w.source.give(page(t, day(1), ticket("a", "x", day(1)), ticket("b", "x", day(1), `"amount":"much"`)))
	if err := w.handle(t.Context(), w.start()); err == nil {
		t.Fatal("sync succeeded although a record could be neither applied nor kept")
	}
	if w.cursor() != "" || len(w.rows()) != 0 {
		t.Errorf("cursor %q and rows %v after a chunk that did not stand, want none", w.cursor(), w.rows())
	}
}

func TestBarrierQuarantineAfterHoldsTheCursorUntilTriedOftenEnough(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) { s.OnError.QuarantineAfter = 3 })
	w.config.ChunkRecords = 1
	w.source.give(
		page(t, day(1), ticket("a", "one", day(1))),
		page(t, day(2), ticket("b", "x", day(2), `"amount":"much"`)),
		page(t, day(3), ticket("c", "three", day(3))))
	for try := 1; try <= 2; try++ {
		got := w.sync()
		if got.Outcome != "partial" || got.Code != codeBarrier || w.cursor() != day(1) {
			t.Errorf("try %d: attempt %+v, cursor %q; want partial and the cursor held at %q", try, got, w.cursor(), day(1))
		}
	}
	same(t, "rows behind the bad record are applied all the same", []string{"a one - alive v1", "c three - alive v1"}, w.rows())
	if got := w.sync(); got.Code != codeQuarantined || w.cursor() != day(3) {
		t.Errorf("third try: attempt %+v, cursor %q; want the record set aside and the cursor at %q", got, w.cursor(), day(3))
	}
	same(t, "quarantine", []string{"b invalid_value 3 open"}, w.quarantine())
	if n := w.text("SELECT consecutive_failures::text FROM subscription"); n != "0" {
		t.Errorf("consecutive failures are %s, want 0: a held record is no failed run", n)
	}
}

func TestStopRatioEndsTheRunAndHoldsTheCursor(t *testing.T) {
	w := newWorld(t)
	w.config.ChunkRecords = 20
	lines := make([]string, 20)
	for i := range lines {
		lines[i] = ticket(fmt.Sprintf("r%02d", i), "x", day(2), fmt.Sprintf(`"amount":%q`, strings.Repeat("x", i%2)+"1"))
	}
	w.source.give(page(t, day(1), ticket("a", "one", day(1))), page(t, day(2), lines...), page(t, day(3), ticket("z", "never read", day(3))))
	if err := w.handle(t.Context(), w.start()); err == nil {
		t.Fatal("sync succeeded with half of the records bad")
	}
	got := w.attempt()
	if got.Outcome != "failed" || got.Code != codeTooManyBad || w.cursor() != got.After || w.cursor() == day(2) || w.cursor() == day(3) {
		t.Errorf("attempt is %+v, cursor %q; want failed, and the cursor before the bad chunk", got, w.cursor())
	}
	if w.runState() != "failed "+codeTooManyBad {
		t.Errorf("run is %s, want it failed without another attempt", w.runState())
	}
	failures := w.text("SELECT consecutive_failures::text FROM subscription")
	if len(w.quarantine()) != 10 || failures != "1" {
		t.Errorf("quarantine %v, failures %s; want the 10 bad records kept and one failure", w.quarantine(), failures)
	}
}

func TestI18StatementsOfAChunkDoNotGrowWithIt(t *testing.T) {
	count := func(n int, again bool) (roundTrips, statements int, log []string) {
		w := newWorld(t)
		s := w.sabotage()
		w.source.give(scripted{records: many(t, n, "x"), checkpoint: day(1)})
		w.sync()
		if again {
			s.reset(0, 0)
			w.sync()
		}
		start := -1
		for i, line := range s.log {
			if strings.HasPrefix(line, "batch: SELECT id::text") {
				start = i
				break
			}
		}
		end := start
		for s.log[end] != "commit" {
			end++
		}
		for _, line := range s.log[start-2 : end+1] {
			statements += 1 + strings.Count(line, ";")
			if line != "UPDATE sync_run SET" && line != "UPDATE subscription SET" && !strings.HasPrefix(line, "SELECT complete") {
				log = append(log, line)
			}
		}
		return end + 1 - (start - 2), statements, log
	}
	_, _, few := count(2, false)
	_, _, full := count(500, false)
	same(t, "round trips of a chunk with 500 new records and with 2", few, full)
	if len(full) != 6 {
		t.Errorf("a chunk takes %d round trips, want begin, fence, read, write, count and commit: %q", len(full), full)
	}
	_, _, unchanged := count(500, true)
	if len(unchanged) != 5 || strings.Contains(strings.Join(unchanged, " "), "INSERT") {
		t.Errorf("an unchanged chunk sends %q, want begin, fence, read, count and commit", unchanged)
	}
}

func TestI19UnchangedRecordsAreCountedAndLeaveNoRow(t *testing.T) {
	w := newWorld(t)
	w.source.give(scripted{records: many(t, 30, "x"), checkpoint: day(1)})
	w.sync()
	before := w.state()
	for range 3 {
		if got := w.sync(); got.Counts.unchanged != 30 || got.Outcome != "noChanges" {
			t.Errorf("attempt is %+v, want 30 unchanged", got)
		}
	}
	same(t, "state after three walks of the same records", before, w.state())
}

func TestI23RowThatSomebodyElseInsertsMeanwhileIsUpdated(t *testing.T) {
	w := newWorld(t)
	w.source.give()
	w.sync()
	other, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Exec(t.Context(), `INSERT INTO public.tickets (id, connection_id, external_id, title, version, created_at, updated_at)
		VALUES (gen_random_uuid(), $1::text::uuid, 'a', 'theirs', 1, now(), now())`, connectionID.String())
	if err != nil {
		t.Fatal(err)
	}
	w.source.give(page(t, day(1), ticket("a", "ours", day(1))))
	claim := w.start()
	done := make(chan error, 1)
	go func() { done <- w.handle(t.Context(), claim) }()
	w.waitFor(waitingForALock)
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	same(t, "rows", []string{"a ours - alive v2"}, w.rows())
	if got := w.attempt(); got.Counts.updated != 1 || got.Counts.created != 0 {
		t.Errorf("attempt is %+v, want one update and no creation", got)
	}
}

func TestD6RowIsLockedFromReadToWrite(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "upstream", day(1))))
	w.sync()
	local, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := local.Exec(t.Context(), "UPDATE public.tickets SET title = 'local'"); err != nil {
		t.Fatal(err)
	}
	claim := w.start()
	done := make(chan error, 1)
	go func() { done <- w.handle(t.Context(), claim) }()
	w.waitFor(waitingForALock)
	if err := local.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	same(t, "rows", []string{"a upstream - alive v2"}, w.rows())
	events := w.events()
	if want := `ticket_edited a {"title": {"to": "upstream", "from": "local"}} `; events[len(events)-1] != want {
		t.Errorf("last event is %q, want %q: the diff must be against what was committed meanwhile", events[len(events)-1], want)
	}
}

func TestK1ConnectionsDoNotShareRows(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "ours", day(1))))
	w.sync()
	w.exec("UPDATE public.tickets SET connection_id = gen_random_uuid()")
	if got := w.sync(); got.Counts.created != 1 {
		t.Errorf("attempt is %+v, want the record of this connection created beside the other's", got)
	}
	same(t, "rows", []string{"a ours - alive v1", "a ours - alive v1"}, w.rows())
}

func TestHardAndIgnoredDeletes(t *testing.T) {
	newWorld := reusable(t)
	for mode, want := range map[spec.DeleteMode][]string{
		spec.HardDelete:   {"b two - alive v1"},
		spec.IgnoreDelete: {"a one - alive v1", "b two - alive v1"},
		spec.SoftDelete:   {"a one - deleted v2", "b two - alive v1"},
	} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, func(s *spec.Subscription) { s.Sink.Delete = mode })
			w.source.give(page(t, day(1), ticket("a", "one", day(1)), ticket("b", "two", day(1))))
			w.sync()
			w.source.give(page(t, day(2), `{"id":"a","deleted":true}`))
			w.sync()
			w.sync()
			same(t, "rows", want, w.rows())
			deleted := w.text("SELECT count(*)::text FROM outbox WHERE type = 'ticket_deleted'")
			if mode != spec.IgnoreDelete && deleted != "1" || mode == spec.IgnoreDelete && deleted != "0" {
				t.Errorf("%s deleted events after two deliveries", deleted)
			}
			w.source.give(page(t, day(3), ticket("a", "again", day(3))))
			w.sync()
			if got := w.rows()[0]; mode == spec.HardDelete && got != "a again - alive v1" || mode == spec.SoftDelete && got != "a again - alive v3" {
				t.Errorf("row that came back is %q", got)
			}
		})
	}
}

func TestI25DeletedRowIsNotResurrectedByAnOlderRecord(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.sync()
	w.source.give(page(t, day(5), ticket("a", "one", day(5), `"deleted":true`)))
	w.sync()
	w.source.give(page(t, day(6), ticket("a", "late", day(3))))
	if got := w.sync(); got.Counts.stale != 1 {
		t.Errorf("attempt is %+v, want the late record stale: the row was deleted at a later time", got)
	}
	same(t, "rows", []string{"a one - deleted v2"}, w.rows())
}

func TestEventsStartWhenEmitChangesIsSwitchedOn(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) { s.EmitChanges = false })
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.sync()
	w.change(func(s *spec.Subscription) { s.EmitChanges = true })
	w.source.give(page(t, day(2), ticket("a", "one", day(2)), ticket("b", "two", day(2))))
	if got := w.sync(); got.FullWalk {
		t.Errorf("attempt is %+v: switching events on must not read everything again", got)
	}
	same(t, "events", []string{`ticket_created b {"title": {"to": "two", "from": null}} `}, w.events())
	if got := w.text("SELECT count(*)::text FROM sync_item WHERE event_id IS NULL"); got != "1" {
		t.Errorf("%s items without an event, want the one from before", got)
	}
}

func TestTriggerThatKeepsRowsOutEndsTheRun(t *testing.T) {
	w := newWorld(t)
	w.source.give()
	w.sync()
	w.exec(`CREATE FUNCTION public.drop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`)
	w.exec("CREATE TRIGGER drop BEFORE INSERT ON public.tickets FOR EACH ROW EXECUTE FUNCTION public.drop()")
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	if err := w.handle(t.Context(), w.start()); err == nil || !strings.Contains(err.Error(), "trigger") {
		t.Errorf("sync gave %v, want an error that speaks of the trigger", err)
	}
	if w.cursor() != "" || len(w.events()) != 0 {
		t.Errorf("cursor %q and events %v, want none for a row that is not there", w.cursor(), w.events())
	}
}

func TestLargeRecordIsSetAsideWithoutItsContent(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", strings.Repeat("x", maxRecord), day(1), `"amount":"much"`)))
	w.sync()
	same(t, "quarantine", []string{"a invalid_value 1 open"}, w.quarantine())
	if w.text("SELECT record::text FROM quarantine") != "" {
		t.Error("a record larger than maxRecord was kept")
	}
}
