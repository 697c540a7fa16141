package integration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestI13I15BookkeepingTellsAQuietFeedFromADeadOne(t *testing.T) {
	w := newWorld(t)
	book := func() string {
		return w.text(`SELECT concat_ws(',', last_attempt_at IS NOT NULL, last_success_at IS NOT NULL, last_change_at IS NOT NULL,
			consecutive_failures, last_sync_run, active_run IS NOT NULL, pending_run IS NOT NULL) FROM subscription`)
	}
	w.source.give(scripted{err: sourceError(source.Unauthorized)})
	for range 2 {
		_ = w.handle(t.Context(), w.start())
	}
	if got := book(); got != "t,f,f,2,2,f,f" {
		t.Errorf("after two failures: %s", got)
	}
	w.source.give(page(t, ""))
	w.sync()
	if got := book(); got != "t,t,f,0,3,f,f" {
		t.Errorf("after a quiet success: %s", got)
	}
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	w.sync()
	if got := book(); got != "t,t,t,0,4,f,f" {
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
