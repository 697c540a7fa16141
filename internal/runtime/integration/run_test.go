package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// afterChunks makes the source wait at page n until that many chunks of the newest attempt are committed.
func (w *world) afterChunks(n int) {
	w.t.Helper()
	w.waitFor("SELECT chunks >= " + string(rune('0'+n)) + " FROM sync_run ORDER BY id DESC LIMIT 1")
}

func (w *world) runState() string {
	w.t.Helper()
	return w.text("SELECT concat_ws(' ', status, error_code) FROM run ORDER BY id DESC LIMIT 1")
}

func threePages(w *world) {
	w.config.ChunkRecords = 1
	w.source.give(page(w.t, day(1), ticket("a", "one", day(1))), page(w.t, day(2), ticket("b", "two", day(2))), page(w.t, day(3), ticket("c", "three", day(3))))
}

func TestI7I12CheckpointIsKeptChunkByChunk(t *testing.T) {
	w := newWorld(t)
	threePages(w)
	w.source.pages[1].err = sourceError(source.Transient)
	if err := w.handle(t.Context(), w.start()); err == nil {
		t.Fatal("sync succeeded although the source failed")
	}
	got := w.attempt()
	if got.Outcome != "failed" || got.Code != "Transient" || got.Counts.created != 2 || got.After != day(2) || w.cursor() != day(2) {
		t.Errorf("attempt is %+v with cursor %q, want what was read before the failure applied, and the cursor there", got, w.cursor())
	}
	if got := w.runState(); !strings.HasPrefix(got, "pending") {
		t.Errorf("run is %s, want it waiting for a retry", got)
	}
	w.source.pages = w.source.pages[2:]
	w.sync()
	if got := w.source.walks[1]; got != day(2) {
		t.Errorf("the next walk started from %q, want %q", got, day(2))
	}
	same(t, "rows", []string{"a one - alive v1", "b two - alive v1", "c three - alive v1"}, w.rows())
}

func TestI7NoCheckpointNoCursorBeforeTheEnd(t *testing.T) {
	w := newWorld(t)
	threePages(w)
	for i := range 2 {
		w.source.pages[i].checkpoint = ""
	}
	w.source.pages[1].err = sourceError(source.Transient)
	if err := w.handle(t.Context(), w.start()); err == nil {
		t.Fatal("sync succeeded although the source failed")
	}
	if got := w.attempt(); w.cursor() != "" || got.After != "" || got.Counts.created != 2 {
		t.Errorf("attempt is %+v with cursor %q, want two rows and no cursor: the walk was not drained", got, w.cursor())
	}
}

func TestI11R1LastCheckpointStandsWhateverRecordsComeWithIt(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) { s.Filter = `record.title != "out"` })
	// The last records are filtered, and the end of the walk has none: the checkpoint does not depend on them.
	w.source.give(page(t, "", ticket("a", "one", day(1))), page(t, "", ticket("b", "out", day(2))), page(t, day(2)), page(t, ""))
	if got := w.sync(); got.Counts.filtered != 1 || w.cursor() != day(2) {
		t.Errorf("attempt is %+v with cursor %q, want one filtered and the cursor at %q", got, w.cursor(), day(2))
	}
	w.source.give(page(t, ""))
	w.sync()
	if w.cursor() != day(2) {
		t.Errorf("cursor is %q after a walk without a checkpoint, want it to stay at %q", w.cursor(), day(2))
	}
}

func TestI27EmptyAnswerDeletesNothing(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.sync()
	w.exec("UPDATE subscription SET cursor = NULL")
	w.source.give()
	if got := w.sync(); got.Outcome != "noChanges" || !got.FullWalk {
		t.Errorf("attempt is %+v, want a full walk without changes", got)
	}
	same(t, "rows", []string{"a one - alive v1"}, w.rows())
}

// TestI9StaleTokenChangesNothing lets a worker lose its lease in the middle of a run, another one take the run over and
// finish it, and the first one go on.
func TestI9Invariant3StaleTokenChangesNothing(t *testing.T) {
	w := newWorld(t)
	threePages(w)
	zombie, lost := w.start(), w.worker
	resume, reached := make(chan struct{}), make(chan struct{})
	wake := sync.OnceFunc(func() { close(resume) })
	t.Cleanup(wake)
	second := &script{pages: w.source.pages}
	w.source.onPage = func(_ context.Context, n int) error {
		if n == 2 {
			w.afterChunks(1)
			close(reached)
			<-resume
		}
		return nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := NewHandler(w.config).Handle(context.WithoutCancel(t.Context()), zombie)
		done <- err
	}()
	<-reached

	w.exec("UPDATE worker SET expires_at = clock_timestamp() - interval '1 second' WHERE id = $1", lost.ID)
	if _, err := w.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE scheduled SET run_at = clock_timestamp() - interval '1 minute'")
	if _, _, err := w.store.Promote(t.Context(), "batch"); err != nil {
		t.Fatal(err)
	}
	w.worker = w.register()
	claim := w.claim()
	if claim.RunID != zombie.RunID || claim.Token <= zombie.Token {
		t.Fatalf("taken over as run %d token %d, want run %d and a higher token than %d", claim.RunID, claim.Token, zombie.RunID, zombie.Token)
	}
	config := w.config
	config.Sources = second.sources
	if _, err := NewHandler(config).Handle(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if got := second.walks; len(got) != 1 || got[0] != day(1) {
		t.Errorf("the second attempt walked from %v, want the checkpoint of the first", got)
	}
	before := w.state()
	audit := w.lines("SELECT id, outcome, chunks, token FROM sync_run ORDER BY id")

	wake()
	if err := <-done; !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("the zombie ended with %v, want its lease lost", err)
	}
	same(t, "state after the zombie woke up", before, w.state())
	same(t, "attempts after the zombie woke up", audit, w.lines("SELECT id, outcome, chunks, token FROM sync_run ORDER BY id"))
	same(t, "outcomes (I14: the killed attempt is closed)", []string{"abandoned", "succeeded"}, w.lines("SELECT outcome FROM sync_run ORDER BY id"))
	w.checkBooks()
}

func TestRunStartedByHandWaitsForTheOneThatIsGoing(t *testing.T) {
	w := newWorld(t)
	threePages(w)
	scheduled := w.start()
	resume, reached := make(chan struct{}), make(chan struct{})
	wake := sync.OnceFunc(func() { close(resume) })
	t.Cleanup(wake)
	w.source.onPage = func(_ context.Context, n int) error {
		if n == 2 {
			w.source.onPage = nil
			close(reached)
			<-resume
		}
		return nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := NewHandler(w.config).Handle(t.Context(), scheduled)
		done <- err
	}()
	<-reached

	w.exec(`SELECT start('integration.sync', $1::jsonb, '{"pool": "batch"}')`, fmt.Sprintf(`{"subscription": %q, "action": "manual"}`, subscriptionID))
	byHand := w.claim()
	if err := w.handle(t.Context(), byHand); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("run %d", scheduled.RunID)) {
		t.Errorf("the run started by hand ended with %v, want to be put off because of run %d", err, scheduled.RunID)
	}
	same(t, "run started by hand", []string{"pending"}, w.lines(fmt.Sprintf("SELECT status FROM run WHERE id = %d", byHand.RunID)))
	same(t, "attempts beside it", []string{"running"}, w.lines("SELECT outcome FROM sync_run ORDER BY id"))

	wake()
	if err := <-done; err != nil {
		t.Errorf("the run that was going ended with %v", err)
	}
	w.exec("UPDATE scheduled SET run_at = clock_timestamp() - interval '1 minute'")
	if _, _, err := w.store.Promote(t.Context(), "batch"); err != nil {
		t.Fatal(err)
	}
	if err := w.handle(t.Context(), w.claim()); err != nil {
		t.Errorf("the run started by hand ended with %v once it was alone", err)
	}
	w.checkBooks()
}

func TestI14NextRunClosesWhatWasLeftRunning(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.exec(`INSERT INTO sync_run (subscription_id, run_id, token, attempt, action, generation, full_walk)
		VALUES ($1::text::uuid, -1, 1, 1, 'manual', 1, true), (gen_random_uuid(), -2, 1, 1, 'manual', 1, true)`, subscriptionID.String())
	w.sync()
	same(t, "outcomes", []string{"abandoned", "running", "succeeded"}, w.lines("SELECT outcome FROM sync_run ORDER BY outcome"))
	if w.text("SELECT finished_at::text FROM sync_run WHERE outcome = 'abandoned'") == "" {
		t.Error("an abandoned attempt has no end")
	}
}

func TestI14FailedBeginClosesWhatWasLeftRunningToo(t *testing.T) {
	w := newWorld(t)
	w.exec(`INSERT INTO sync_run (subscription_id, run_id, token, attempt, action, generation, full_walk)
		VALUES ($1::text::uuid, -1, 1, 1, 'manual', 1, true)`, subscriptionID.String())
	w.exec("DELETE FROM connection")
	if err := w.handle(t.Context(), w.start()); err == nil {
		t.Fatal("sync succeeded without a connection")
	}
	same(t, "outcomes", []string{"abandoned", "failed"}, w.lines("SELECT outcome FROM sync_run ORDER BY outcome"))
}

func TestGenerationChangeEndsTheRunAtItsCheckpointAndTheNextReadsEverything(t *testing.T) {
	w := newWorld(t)
	threePages(w)
	w.source.onPage = func(_ context.Context, n int) error {
		if n == 3 {
			w.afterChunks(2)
			w.change(func(s *spec.Subscription) { s.Mapping[0].From, s.Mapping[0].Expr = "", `"new " + record.title` })
		}
		return nil
	}
	if got := w.sync(); got.Outcome != "partial" || got.Code != codeSpecChanged || got.Counts.created != 2 || w.cursor() != day(2) {
		t.Errorf("attempt is %+v with cursor %q, want partial at the second checkpoint", got, w.cursor())
	}
	if w.runState() != "completed" {
		t.Errorf("run is %s, want completed: nothing failed", w.runState())
	}
	w.waitFor("SELECT next_run_at <= clock_timestamp() FROM subscription")
	w.source.onPage = nil
	if got := w.sync(); !got.FullWalk || got.Counts.updated != 2 || got.Counts.created != 1 {
		t.Errorf("attempt is %+v, want a full walk with the new mapping", got)
	}
	same(t, "rows", []string{"a new one - alive v2", "b new two - alive v2", "c new three - alive v1"}, w.rows())
}

func TestI10SpecWithoutANewMeaningKeepsTheCursor(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.sync()
	w.change(func(s *spec.Subscription) { s.Schedule.PeriodSeconds = 5 })
	if got := w.sync(); got.FullWalk {
		t.Errorf("attempt is %+v: another period must not read everything again", got)
	}
	w.change(func(s *spec.Subscription) {
		s.Source.HTTP.Cursor = &spec.Cursor{Token: &spec.TokenCursor{From: "next"}}
	})
	if got := w.sync(); !got.FullWalk {
		t.Errorf("attempt is %+v: a cursor of another kind must not be sent", got)
	}
}

func TestFullWalkThatDidNotEndStartsOver(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.sync()
	w.change(func(s *spec.Subscription) { s.Mapping[0].From, s.Mapping[0].Expr = "", `"new " + record.title` })
	w.source.give(scripted{err: sourceError(source.Unauthorized)})
	_ = w.handle(t.Context(), w.start())
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	if got := w.sync(); !got.FullWalk || got.Counts.updated != 1 {
		t.Errorf("attempt is %+v, want the full walk that did not come about before", got)
	}
}

func TestTableMadeAnewIsFilledFromTheBeginning(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.sync()
	w.exec("DROP TABLE public.tickets")
	if got := w.sync(); !got.FullWalk || got.Counts.created != 1 {
		t.Errorf("attempt is %+v, want a full walk into the new table", got)
	}
}

func TestI16RunOfASubscriptionThatIsGoneOrRetiredDoesNothing(t *testing.T) {
	newWorld := reusable(t)
	for name, sql := range map[string]string{"gone": "DELETE FROM subscription", "retired": "UPDATE subscription SET retired_at = clock_timestamp()"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.source.give(page(t, day(1), ticket("a", "one", day(1))))
			claim := w.start()
			w.exec(sql)
			if err := w.handle(t.Context(), claim); err != nil {
				t.Fatal(err)
			}
			if len(w.source.walks) != 0 || w.runState() != "completed" || w.text("SELECT count(*)::text FROM sync_run") != "0" {
				t.Errorf("walks %v, run %s; want no walk, no attempt, and the run over", w.source.walks, w.runState())
			}
		})
	}
}

func TestSubscriptionRemovedOrRetiredDuringTheRunEndsIt(t *testing.T) {
	newWorld := reusable(t)
	for name, sql := range map[string]string{"removed": "DELETE FROM subscription", "retired": "UPDATE subscription SET retired_at = clock_timestamp()"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			threePages(w)
			w.source.onPage = func(_ context.Context, n int) error {
				if n == 2 {
					w.afterChunks(1)
					w.exec(sql)
				}
				return nil
			}
			if got := w.sync(); got.Outcome != "partial" || got.Code != codeSpecChanged {
				t.Errorf("attempt is %+v, want it ended at its checkpoint", got)
			}
			same(t, "rows", []string{"a one - alive v1"}, w.rows())
		})
	}
}

func TestI24StoppedRunKeepsItsCheckpointAndGoesOnThere(t *testing.T) {
	newWorld := reusable(t)
	for name, tc := range map[string]struct {
		cause error
		run   string
	}{
		"drain":    {jobs.ErrDraining, "pending"},
		"deadline": {jobs.ErrDeadline, "timed_out"},
		"cancel":   {&jobs.CancelRequested{By: "me", Reason: "no need"}, "cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			threePages(w)
			ctx, cancel := context.WithCancelCause(t.Context())
			w.source.onPage = func(ctx context.Context, n int) error {
				if n == 3 {
					w.afterChunks(2)
					cancel(tc.cause)
					<-ctx.Done()
				}
				return nil
			}
			if err := w.handle(ctx, w.start()); err == nil {
				t.Fatal("a stopped sync reports success")
			}
			got := w.attempt()
			if got.Outcome != "partial" || got.Code != codeStopped || w.cursor() != day(2) {
				t.Errorf("attempt is %+v with cursor %q, want partial at the second checkpoint", got, w.cursor())
			}
			if run := w.runState(); !strings.HasPrefix(run, tc.run) {
				t.Errorf("run is %s, want %s", run, tc.run)
			}
			if name == "drain" {
				w.source.onPage = nil
				if err := w.handle(t.Context(), w.claim()); err != nil {
					t.Fatal(err)
				}
				if w.source.walks[1] != day(2) {
					t.Errorf("the next attempt started from %q, want %q", w.source.walks[1], day(2))
				}
			}
		})
	}
}

func TestR8SourceGetsTheWholeSubscriptionAndTheOpenedCredential(t *testing.T) {
	w := newWorld(t)
	keys, err := sealing.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	w.config.Sealing = keyFile(t, keys)
	w.writeConnection(connectionSpec(spec.AuthBearer))
	sealed, err := keys.Seal([]byte(`{"token":"t0k3n"}`), connectionID, spec.CredentialColumn)
	if err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE connection SET credential = $1", sealed)
	var got Request
	w.config.Sources = func(r Request) (source.Source, func(), error) {
		got = r
		return w.source, nil, nil
	}
	w.sync()
	if got.Now == nil || got.Credential.Token != "t0k3n" || got.ConnectionID != connectionID ||
		got.Connection.Provider != "acme" || got.Subscription.Entity != "ticket" {
		t.Errorf("source was made of %+v", got)
	}
}

func TestInputThatNamesNoSubscriptionFailsForGood(t *testing.T) {
	for _, in := range []string{`{}`, `{"subscription":"x","action":"manual"}`, `{"subscription":"` + subscriptionID.String() + `","action":"poll"}`, `[]`} {
		_, err := NewHandler(Config{}).Handle(t.Context(), &jobs.Claim{Input: json.RawMessage(in)})
		if err == nil || !strings.Contains(err.Error(), "read the run's input") {
			t.Errorf("input %s gave %v", in, err)
		}
	}
}
