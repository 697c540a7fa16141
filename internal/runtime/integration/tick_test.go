package integration

import (
	"sync"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/schedule"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func (w *world) tick() int {
	w.t.Helper()
	n, err := schedule.Tick(w.t.Context(), w.pool, "batch")
	if err != nil {
		w.t.Fatalf("tick: %v", err)
	}
	return n
}

// due makes the next slot one that has passed.
func (w *world) due() {
	w.exec("UPDATE subscription SET next_run_at = clock_timestamp() - interval '1 second'")
}

func (w *world) request(token string) { w.exec("UPDATE subscription SET run_requested = $1", token) }

func TestTickStartsWhatIsDueOrAskedFor(t *testing.T) {
	newWorld := reusable(t)
	for name, tc := range map[string]struct {
		edit    func(*spec.Subscription)
		arrange func(w *world)
		started int
		// action of the started run; next says whether a next slot is known afterwards.
		action string
		next   bool
	}{
		"a new subscription with a period starts at once": {started: 1, action: "schedule", next: true},
		"one with cron waits for its slot": {
			edit: func(s *spec.Subscription) { s.Schedule = &spec.Schedule{Cron: "0 3 29 2 *"} }, started: 0, next: true,
		},
		"one without a schedule waits for a request": {edit: func(s *spec.Subscription) { s.Schedule = nil }},
		"a request": {
			edit: func(s *spec.Subscription) { s.Schedule = nil }, arrange: func(w *world) { w.request("one") }, started: 1, action: "manual",
		},
		"a request of a suspended one": {
			arrange: func(w *world) { w.exec("UPDATE subscription SET suspended = true"); w.request("one") }, started: 1, action: "manual", next: true,
		},
		"suspended": {arrange: func(w *world) { w.exec("UPDATE subscription SET suspended = true"); w.due() }, next: true},
		"retired": {arrange: func(w *world) {
			w.exec("UPDATE subscription SET retired_at = clock_timestamp()")
			w.due()
			w.request("one")
		}, next: true},
		"of another pool": {arrange: func(w *world) { w.exec("UPDATE subscription SET pool = 'other'") }},
		"a schedule that cannot run leaves requests alone": {
			edit: func(s *spec.Subscription) { s.Schedule = &spec.Schedule{PeriodSeconds: 60, Cron: "* * * * *"} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			edit := tc.edit
			if edit == nil {
				edit = func(*spec.Subscription) {}
			}
			w := newWorld(t, edit)
			if tc.arrange != nil {
				tc.arrange(w)
			}
			got, _ := schedule.Tick(t.Context(), w.pool, "batch")
			again, _ := schedule.Tick(t.Context(), w.pool, "batch")
			if got != tc.started || again != 0 {
				t.Errorf("started %d, then %d; want %d and nothing more", got, again, tc.started)
			}
			if action := w.text("SELECT max(input->>'action') FROM run"); action != tc.action {
				t.Errorf("action is %q, want %q", action, tc.action)
			}
			if next := w.text("SELECT next_run_at::text FROM subscription") != ""; next != tc.next {
				t.Errorf("a next slot is known: %v, want %v", next, tc.next)
			}
		})
	}
}

func TestTickReportsAScheduleThatCannotRun(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) { s.Schedule = &spec.Schedule{Cron: "0 0 31 2 *"} })
	if _, err := schedule.Tick(t.Context(), w.pool, "batch"); err == nil {
		t.Error("a schedule that never happens was accepted silently")
	}
	w.request("one")
	if n := w.tick(); n != 1 {
		t.Errorf("started %d on request, want 1", n)
	}
}

func TestTickCoalesces(t *testing.T) {
	w := newWorld(t)
	w.source.give(page(t, day(1), ticket("a", "one", day(1))))
	if n := w.tick(); n != 1 {
		t.Fatalf("started %d, want 1", n)
	}
	w.due()
	w.request("one")
	if n := w.tick(); n != 0 || w.text("SELECT run_handled FROM subscription") != "one" {
		t.Errorf("started %d beside a waiting run, want none, and the request answered by it", n)
	}
	running := w.claim()
	w.due()
	if n := w.tick(); n != 1 {
		t.Errorf("started %d beside a running run, want one that waits", n)
	}
	w.due()
	w.request("two")
	if n := w.tick(); n != 0 {
		t.Errorf("started %d beside a running and a waiting run, want none", n)
	}
	if claims, _, err := w.store.Claim(t.Context(), w.worker, 10); err != nil || len(claims) != 0 {
		t.Errorf("claimed %d runs of a lane that is held, %v", len(claims), err)
	}
	if err := w.handle(t.Context(), running); err != nil {
		t.Fatal(err)
	}
	if err := w.handle(t.Context(), w.claim()); err != nil {
		t.Fatal(err)
	}
	if got := w.text("SELECT concat_ws(' ', pending_run, active_run, (SELECT count(*) FROM run WHERE status = 'completed')) FROM subscription"); got != "2" {
		t.Errorf("pending, active and completed are %q, want 2 completed and nothing pending or active", got)
	}
}

func TestTickLetsARetryAnswerWhatIsDue(t *testing.T) {
	w := newWorld(t)
	w.source.give(scripted{err: sourceError("Transient")})
	w.tick()
	_ = w.handle(t.Context(), w.claim())
	w.due()
	if n := w.tick(); n != 0 {
		t.Errorf("started %d beside a run that waits for its retry, want none", n)
	}
	w.exec("UPDATE run SET status = 'lost'")
	w.due()
	if n := w.tick(); n != 1 {
		t.Errorf("started %d after the queue gave the run up, want 1", n)
	}
}

func TestTickKeepsTheSlotOfAScheduleThatDidNotChange(t *testing.T) {
	w := newWorld(t, func(s *spec.Subscription) { s.Schedule = &spec.Schedule{PeriodSeconds: 86400} })
	w.tick()
	w.exec("UPDATE subscription SET last_attempt_at = clock_timestamp(), pending_run = NULL, next_run_at = clock_timestamp() + interval '123 seconds'")
	slot := w.text("SELECT next_run_at::text FROM subscription")
	w.change(func(s *spec.Subscription) { s.EmitChanges = false })
	w.tick()
	if got := w.text("SELECT next_run_at::text FROM subscription"); got != slot {
		t.Errorf("slot moved from %s to %s although the schedule did not change", slot, got)
	}
	w.change(func(s *spec.Subscription) { s.Schedule.PeriodSeconds = 3600 })
	if n := w.tick(); n != 0 {
		t.Errorf("a changed period started %d runs at once", n)
	}
	if got := w.text("SELECT next_run_at::text FROM subscription"); got == slot {
		t.Error("a changed period kept its old slot")
	}
	w.change(func(s *spec.Subscription) { s.Schedule = nil })
	w.tick()
	if got := w.text("SELECT next_run_at::text FROM subscription"); got != "" {
		t.Errorf("next slot is %s without a schedule", got)
	}
}

func TestManyTicksAtOnceStartEachRunOnce(t *testing.T) {
	w := newWorld(t)
	w.exec(`INSERT INTO subscription (id, connection_id, pool, spec)
		SELECT gen_random_uuid(), s.connection_id, s.pool, s.spec FROM subscription s, generate_series(1, 449)`)
	var wg sync.WaitGroup
	started := make([]int, 4)
	errs := make([]error, 4)
	for i := range started {
		wg.Go(func() { started[i], errs[i] = schedule.Tick(t.Context(), w.pool, "batch") })
	}
	wg.Wait()
	sum := 0
	for i := range started {
		sum += started[i]
		if errs[i] != nil {
			t.Errorf("tick: %v", errs[i])
		}
	}
	sum += w.tick()
	if got := w.text("SELECT count(*)::text FROM run"); sum != 450 || got != "450" {
		t.Errorf("started %d, %s runs exist, want 450", sum, got)
	}
	if got := w.text("SELECT count(DISTINCT lane_key)::text FROM run"); got != "450" {
		t.Errorf("runs have %s lanes, want one each", got)
	}
	if got := w.text("SELECT lane_key FROM run WHERE input->>'subscription' = $1", subscriptionID.String()); got != Lane(subscriptionID) {
		t.Errorf("lane is %q, want %q", got, Lane(subscriptionID))
	}
}

func TestTickAsksForOneStatementABatch(t *testing.T) {
	w := newWorld(t)
	w.exec(`INSERT INTO subscription (id, connection_id, pool, spec)
		SELECT gen_random_uuid(), s.connection_id, s.pool, s.spec FROM subscription s, generate_series(1, 99)`)
	s := w.sabotage()
	if n, err := schedule.Tick(t.Context(), w.config.DB, "batch"); err != nil || n != 100 {
		t.Fatalf("started %d, %v", n, err)
	}
	if len(s.log) != 4 {
		t.Errorf("a tick over 100 subscriptions sent %q, want begin, one look, one start and commit", s.log)
	}
}
