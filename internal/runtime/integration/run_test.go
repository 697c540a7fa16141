package integration

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

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

	close(resume)
	if err := <-done; !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("the zombie ended with %v, want its lease lost", err)
	}
	same(t, "state after the zombie woke up", before, w.state())
	same(t, "attempts after the zombie woke up", audit, w.lines("SELECT id, outcome, chunks, token FROM sync_run ORDER BY id"))
	same(t, "outcomes (I14: the killed attempt is closed)", []string{"abandoned", "succeeded"}, w.lines("SELECT outcome FROM sync_run ORDER BY id"))
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

func TestI13I15BookkeepingTellsAQuietFeedFromADeadOne(t *testing.T) {
	w := newWorld(t)
	book := func() string {
		return w.text(`SELECT concat_ws(' ', last_attempt_at IS NOT NULL, last_success_at IS NOT NULL, last_change_at IS NOT NULL,
			consecutive_failures, last_sync_run, active_run IS NOT NULL, pending_run IS NOT NULL) FROM subscription`)
	}
	w.source.give(scripted{err: sourceError(source.Unauthorized)})
	for range 2 {
		_ = w.handle(t.Context(), w.start())
	}
	if got := book(); got != "t f f 2 2 f f" {
		t.Errorf("after two failures: %s", got)
	}
	w.source.give(page(t, ""))
	w.sync()
	if got := book(); got != "t t f 0 3 f f" {
		t.Errorf("after a quiet success: %s", got)
	}
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.sync()
	if got := book(); got != "t t t 0 4 f f" {
		t.Errorf("after a change: %s", got)
	}
	changed := w.text("SELECT last_change_at::text FROM subscription")
	w.sync()
	if got := w.text("SELECT last_change_at::text FROM subscription"); got != changed {
		t.Errorf("last_change_at moved from %s to %s without a change", changed, got)
	}
}

func TestSourceErrorsDecideWhatBecomesOfTheRun(t *testing.T) {
	newWorld := reusable(t)
	for class, want := range map[source.Class]struct{ outcome, run string }{
		source.Transient:     {"failed", "pending"},
		source.RateLimited:   {"partial", "completed"},
		source.Unauthorized:  {"failed", "failed Unauthorized"},
		source.NotFound:      {"failed", "failed NotFound"},
		source.CursorExpired: {"partial", "completed"},
		source.BadAnswer:     {"failed", "failed BadAnswer"},
		source.LimitExceeded: {"failed", "failed LimitExceeded"},
		source.Refused:       {"failed", "failed Refused"},
		source.Misordered:    {"failed", "failed Misordered"},
		source.Rejected:      {"failed", "failed Rejected"},
	} {
		t.Run(string(class), func(t *testing.T) {
			w := newWorld(t)
			w.source.give(page(t, day(1), ticket("a", "one", day(1))))
			w.sync()
			p := page(t, day(2), ticket("b", "two", day(2)))
			p.err = sourceError(class)
			w.source.give(p)
			_ = w.handle(t.Context(), w.start())
			got := w.attempt()
			if got.Outcome != want.outcome || got.Code != string(class) || !strings.HasPrefix(w.runState(), want.run) {
				t.Errorf("attempt is %+v, run %s; want %s and %s", got, w.runState(), want.outcome, want.run)
			}
			same(t, "rows", []string{"a one - alive v1", "b two - alive v1"}, w.rows())
			if class != source.CursorExpired && w.cursor() != day(2) {
				t.Errorf("cursor is %q, want it where the source had promised it", w.cursor())
			}
			if !strings.Contains(got.Error, "scripted") {
				t.Errorf("error is %q, want the source's", got.Error)
			}
			if failures := w.text("SELECT consecutive_failures::text FROM subscription"); failures == "1" != (want.outcome == "failed") {
				t.Errorf("%s consecutive failures after %s", failures, want.outcome)
			}
		})
	}
}

func TestRateLimitedRunContinuesWhenTheServerSaidSo(t *testing.T) {
	w := newWorld(t)
	w.source.give(scripted{err: &source.Error{Class: source.RateLimited, RetryAfter: time.Hour, Err: errors.New("slow down")}})
	if got := w.sync(); got.Outcome != "partial" {
		t.Errorf("attempt is %+v, want partial", got)
	}
	w.waitFor("SELECT next_run_at BETWEEN clock_timestamp() + interval '59 minutes' AND clock_timestamp() + interval '61 minutes' FROM subscription")
}

func TestExpiredCursorIsForgottenAndTheNextRunReadsEverything(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.sync()
	w.source.give(scripted{err: sourceError(source.CursorExpired)})
	if got := w.sync(); w.cursor() != "" || got.After != "" {
		t.Errorf("cursor is %q, attempt %+v; want it forgotten", w.cursor(), got)
	}
	w.waitFor("SELECT next_run_at <= clock_timestamp() FROM subscription")
	if err := w.handle(t.Context(), w.start()); err == nil || w.runState() != "failed CursorExpired" {
		t.Errorf("run is %s: a walk that started without a cursor must not ask for another one", w.runState())
	}
	w.source.give(page(t, day(2), ticket("a", "one", day(1)), ticket("b", "two", day(2))))
	if got := w.sync(); !got.FullWalk || got.Counts.created != 1 || got.Counts.unchanged != 1 {
		t.Errorf("attempt is %+v, want a full walk", got)
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

func TestFaultsBeforeTheWalkSayWhatIsMissing(t *testing.T) {
	newWorld := reusable(t)
	keys, err := sealing.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	other, err := sealing.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	const secret = "planted-secret-value"
	bearer := connectionSpec(spec.AuthBearer)
	seal := func(t *testing.T, k *sealing.Keyset, id uuid.UUID, plain string) []byte {
		t.Helper()
		sealed, err := k.Seal([]byte(plain), id, spec.CredentialColumn)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	for name, tc := range map[string]struct {
		arrange    func(t *testing.T, w *world)
		code, text string
		// run is the run's state afterwards.
		run string
	}{
		"no connection": {func(_ *testing.T, w *world) { w.exec("DELETE FROM connection") }, codeConnection, "has no row", "failed"},
		"expression that does not compile": {func(_ *testing.T, w *world) {
			w.change(func(s *spec.Subscription) { s.Mapping[0].Expr, s.Mapping[0].From = "record.title +", "" })
		}, codeExpression, "mapping[0].expr", "failed"},
		"column of another type": {func(_ *testing.T, w *world) {
			w.exec("CREATE TABLE public.tickets (title bigint)")
		}, codeSink, `column "title" of "public"."tickets" has type bigint`, "failed"},
		"document from the future": {func(_ *testing.T, w *world) {
			w.exec(`UPDATE subscription SET spec = spec || '{"version": 99}'`)
		}, "", "", "pending"},
		"credential not there yet": {func(_ *testing.T, w *world) { w.writeConnection(bearer) }, codeCredential, "no credential", "failed"},
		"no keyset": {func(t *testing.T, w *world) {
			w.writeConnection(bearer)
			w.exec("UPDATE connection SET credential = $1", seal(t, keys, connectionID, `{"token":"x"}`))
		}, "", "", "pending"},
		"unknown key": {func(t *testing.T, w *world) {
			w.config.Sealing = keyFile(t, other)
			w.writeConnection(bearer)
			w.exec("UPDATE connection SET credential = $1", seal(t, keys, connectionID, `{"token":"x"}`))
		}, "", "", "pending"},
		"credential of another row": {func(t *testing.T, w *world) {
			w.config.Sealing = keyFile(t, keys)
			w.writeConnection(bearer)
			w.exec("UPDATE connection SET credential = $1", seal(t, keys, subscriptionID, `{"token":"x"}`))
		}, codeSealing, "belongs to another row", "failed"},
		"credential that is no document": {func(t *testing.T, w *world) {
			w.config.Sealing = keyFile(t, keys)
			w.writeConnection(bearer)
			w.exec("UPDATE connection SET credential = $1", seal(t, keys, connectionID, secret))
		}, codeSealing, "no JSON document", "failed"},
		"error that repeats the credential": {func(t *testing.T, w *world) {
			w.config.Sealing = keyFile(t, keys)
			w.writeConnection(bearer)
			w.exec("UPDATE connection SET credential = $1", seal(t, keys, connectionID, `{"token":"`+secret+`"}`))
			w.source.give(scripted{err: &source.Error{Class: source.Unauthorized, Err: errors.New("server says: bad token " + secret)}})
		}, "Unauthorized", "bad token ***", "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.source.give(page(t, day(1), ticket("a", "one", day(1))))
			tc.arrange(t, w)
			err := w.handle(t.Context(), w.start())
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("sync gave %v, want an error without the credential", err)
			}
			if got := w.runState(); !strings.HasPrefix(got, tc.run) {
				t.Errorf("run is %s, want %s", got, tc.run)
			}
			const kept = "SELECT error FROM sync_run UNION ALL SELECT error FROM run UNION ALL SELECT error FROM attempt"
			if everything := strings.Join(w.lines(kept), "\n"); strings.Contains(everything, secret) {
				t.Errorf("the credential stands in %s", everything)
			}
			if tc.code == "" {
				if w.text("SELECT max(attempts)::text FROM run") != "0" || w.text("SELECT count(*)::text FROM sync_run") != "0" {
					t.Error("a run that another worker may execute spent an attempt")
				}
				return
			}
			if got := w.attempt(); got.Outcome != "failed" || got.Code != tc.code || !strings.Contains(got.Error, tc.text) {
				t.Errorf("attempt is %+v, want code %s and a message with %q", got, tc.code, tc.text)
			}
		})
	}
}

func keyFile(t *testing.T, k *sealing.Keyset) *sealing.File {
	t.Helper()
	data, err := k.JSON()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keyset.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return sealing.NewFile(path)
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
	if got.Now == nil || got.Credential.Token != "t0k3n" || got.ConnectionID != connectionID || got.Connection.Provider != "acme" || got.Subscription.Entity != "ticket" {
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
	blocker, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
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
	pages := make([]scripted, 20)
	w.source.give(append(pages, page(t, day(1), ticket("a", "one", day(1))))...)
	if got := w.sync(); got.Counts.created != 1 {
		t.Errorf("attempt is %+v, want the record behind twenty empty pages", got)
	}
}

func TestI19RetentionRemovesOldAuditInParts(t *testing.T) {
	w := newWorld(t)
	w.source.give(scripted{records: many(t, 40, "x"), checkpoint: day(1)})
	w.sync()
	w.source.give(scripted{records: many(t, 40, "y"), checkpoint: day(1)}, page(t, day(1), ticket("bad", "x", day(1), `"amount":"much"`)))
	w.sync()
	w.source.give(page(t, day(1), ticket("bad", "x", day(1))))
	w.sync()
	w.exec(`INSERT INTO sync_run (subscription_id, run_id, token, attempt, action, generation, full_walk)
		VALUES (gen_random_uuid(), -1, 1, 1, 'manual', 1, true)`)
	w.exec(`INSERT INTO quarantine (subscription_id, record_key, attempts, error_code, error, last_sync_run)
		VALUES (gen_random_uuid(), 'x', 1, 'x', 'x', 1)`)
	if n, err := Retain(t.Context(), w.pool); err != nil || n != 2 {
		t.Errorf("removed %d rows, %v; want the two of a subscription that is gone", n, err)
	}
	w.exec("UPDATE sync_run SET started_at = started_at - interval '2 hours'")
	w.exec("UPDATE quarantine SET resolved_at = resolved_at - interval '2 hours'")
	parts := 0
	for {
		n, err := retainOnce(t.Context(), w.pool, 7)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		if n > 3*7 {
			t.Errorf("one part removed %d rows, want at most 7 of each kind", n)
		}
		parts++
	}
	if parts < 80/7 {
		t.Errorf("80 items went in %d parts of 7", parts)
	}
	same(t, "attempts left", []string{"3"}, w.lines("SELECT id FROM sync_run"))
	same(t, "items left", []string{"bad"}, w.lines("SELECT external_id FROM sync_item"))
	if len(w.quarantine()) != 0 || len(w.rows()) != 41 {
		t.Errorf("quarantine %v and %d rows, want none and all 41", w.quarantine(), len(w.rows()))
	}
}
