package integration

import (
	"context"
	"sync/atomic"
	"testing"
)

// TestMemoryIsBoundedByBytes blocks the writer and counts how many pages are fetched meanwhile.
func TestMemoryIsBoundedByBytes(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("t000000", "x", day(1))))
	w.sync()
	w.config.MemoryBytes, w.config.ChunkRecords = 2500, 10
	var pages []scripted
	for range 20 {
		pages = append(pages, scripted{records: many(t, 10, "y")}) // 1000 bytes each
	}
	w.source.give(pages...)
	var asked atomic.Int64
	w.source.onPage = func(ctx context.Context, n int) error {
		asked.Add(1)
		var committed int
		if err := w.pool.QueryRow(ctx, "SELECT chunks FROM sync_run ORDER BY id DESC LIMIT 1").Scan(&committed); err != nil {
			return err
		}
		// Two pages fit; a third waits for room with the walker that has read it.
		if n > committed+3 {
			t.Errorf("page %d is read while %d are committed, want at most three ahead", n, committed)
		}
		return nil
	}
	blocker := w.begin()
	if _, err := blocker.Exec(t.Context(), "SELECT FROM public.tickets FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	claim := w.start()
	done := make(chan error, 1)
	go func() { done <- w.handle(t.Context(), claim) }()
	w.waitFor(waitingForALock)
	for asked.Load() < 3 {
		w.waitFor("SELECT true")
	}
	if err := blocker.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 20 {
		t.Errorf("%d pages were read in the end, want 20", asked.Load())
	}
}

func TestEmptyPagesDoNotFillTheMemoryBound(t *testing.T) {
	w := newWorld(t)
	w.config.MemoryBytes = 2
	pages := make([]scripted, 21)
	pages[20] = page(t, day(1), ticket("a", "one", day(1)))
	w.source.give(pages...)
	if got := w.sync(); got.Counts.created != 1 {
		t.Errorf("attempt is %+v, want the record behind twenty empty pages", got)
	}
}

func TestCheckpointOfAPageWaitsForItsLastRecord(t *testing.T) {
	w := newWorld(t)
	w.source.give()
	w.sync()
	w.exec(`CREATE FUNCTION public.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.external_id < 't000004' THEN RETURN NEW; END IF;
		RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$`)
	w.exec("CREATE TRIGGER disk_full BEFORE INSERT ON public.tickets FOR EACH ROW EXECUTE FUNCTION public.disk_full()")
	w.config.ChunkRecords = 2
	w.source.give(scripted{records: many(t, 6, "x"), checkpoint: day(2)})
	if err := w.handle(t.Context(), w.start()); err == nil {
		t.Fatal("sync succeeded on a full disk")
	}
	if len(w.rows()) != 4 || w.cursor() != "" {
		t.Errorf("%d rows and cursor %q, want the four records before the failure and no cursor", len(w.rows()), w.cursor())
	}
}
