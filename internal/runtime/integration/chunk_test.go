package integration

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncline-dev/syncline/internal/runtime/source"
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

func TestI1I2I3I5RowAuditAndEventStandOrFallTogether(t *testing.T) {
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

func TestI18StatementsOfAChunkDoNotGrowWithIt(t *testing.T) {
	count := func(n int, again bool) (log []string) {
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
			if line != "UPDATE sync_run SET" && line != "UPDATE subscription SET" && !strings.HasPrefix(line, "SELECT complete") {
				log = append(log, line)
			}
		}
		return log
	}
	few := count(2, false)
	full := count(500, false)
	same(t, "round trips of a chunk with 500 new records and with 2", few, full)
	if len(full) != 6 {
		t.Errorf("a chunk takes %d round trips, want begin, fence, read, write, count and commit: %q", len(full), full)
	}
	unchanged := count(500, true)
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
	other := w.begin()
	_, err := other.Exec(t.Context(), `INSERT INTO public.tickets (id, connection_id, external_id, title, version, created_at, updated_at)
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
	local := w.begin()
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

// TestTwoSubscriptionsOfOneTableDoNotDeadlock fails when rows are not locked in the order of their keys: somebody holds a
// row in the middle until both runs wait, so that each has locked what it reached by then.
func TestTwoSubscriptionsOfOneTableDoNotDeadlock(t *testing.T) {
	w := newWorld(t)
	w.source.give(scripted{records: many(t, 100, "before")})
	w.sync()
	w.exec(`INSERT INTO subscription (id, connection_id, pool, spec)
		SELECT gen_random_uuid(), connection_id, pool, spec || '{"entity": "other"}' FROM subscription`)
	forth, back := &script{}, &script{}
	w.config.Sources = func(r Request) (source.Source, func(), error) {
		if r.Subscription.Entity == "other" {
			return back, nil, nil
		}
		return forth, nil, nil
	}
	// In a wrong order the two collide in one round out of two.
	for round := range 8 {
		records := many(t, 100, fmt.Sprintf("round %d", round))
		forth.give(scripted{records: slices.Clone(records)})
		slices.Reverse(records)
		back.give(scripted{records: records})
		w.collide(fmt.Sprintf("round %d", round))
	}
	if got := w.text("SELECT count(*) || ' ' || sum(version) FROM public.tickets"); got != "100 900" {
		t.Errorf("rows and versions are %s, want each of 100 rows written once a round by one of the two", got)
	}
}

// collide starts both runs while somebody holds a row in the middle of what they need.
func (w *world) collide(token string) {
	w.t.Helper()
	blocker := w.begin()
	if _, err := blocker.Exec(w.t.Context(), "SELECT FROM public.tickets WHERE external_id = 't000050' FOR UPDATE"); err != nil {
		w.t.Fatal(err)
	}
	w.request(token)
	w.tick()
	claims, _, err := w.store.Claim(w.t.Context(), w.worker, 10)
	if err != nil || len(claims) != 2 {
		w.t.Fatalf("claimed %d runs, %v; want both", len(claims), err)
	}
	var wg sync.WaitGroup
	for _, c := range claims {
		wg.Go(func() {
			if err := w.handle(w.t.Context(), c); err != nil {
				w.t.Errorf("%s: %v", token, err)
			}
		})
	}
	w.waitFor("SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
	if err := blocker.Commit(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	wg.Wait()
}
