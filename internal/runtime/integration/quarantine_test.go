package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

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
