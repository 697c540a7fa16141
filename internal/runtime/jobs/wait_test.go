package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// park settles a claim as its handler's error says, which must park it.
func (q *queue) park(inc *jobs.Incarnation, c *jobs.Claim, err error) {
	q.t.Helper()
	if !jobs.Parks(err) {
		q.t.Fatalf("the handler of run %d got %v, want an error that parks", c.RunID, err)
	}
	s := jobs.TypeConfig{}.Settle(c, nil, fmt.Errorf("wrapped: %w", err), nil)
	if r := q.settle(inc, s); r[0] != jobs.Done {
		q.t.Fatalf("parking was answered %s", r[0])
	}
}

func (q *queue) signal(run int64, name, payload string) {
	q.t.Helper()
	a, err := jobs.Signal(q.t.Context(), q.db, jobs.SignalParams{Run: run, Name: name, Payload: json.RawMessage(payload)})
	if err != nil || a != jobs.SignalAccepted {
		q.t.Fatalf("signal %q: %s, %v", name, a, err)
	}
}

func (q *queue) waits(c *jobs.Claim, name string) (string, error) {
	payload, err := jobs.WaitSignal(q.t.Context(), c, name, 0)
	return string(payload), err
}

func TestASignalWakesTheRunThatWaitsForIt(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, run := q.register(), q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	_, err := q.waits(c, "go")
	q.park(inc, c, err)
	q.wantPlace(run, "pending", "waiting")
	if n := one[int](q, `SELECT attempts FROM run WHERE id = $1`, run); n != 0 {
		t.Errorf("parking spent %d attempts", n)
	}
	q.signal(run, "stay", `1`)
	q.wantPlace(run, "pending", "waiting")
	if got := q.claim(inc, 5); len(got) != 0 {
		t.Fatal("a waiting run was claimed")
	}
	conn := q.listen()
	q.signal(run, "go", `{"by": "ann"}`)
	q.wantNotifications(conn, "a signal to a waiting run", pool)
	q.wantPlace(run, "pending", "ready")
	for range 2 { // and it is the same in every later execution
		c = q.claimOne(inc)
		if got, err := q.waits(c, "go"); err != nil || got != `{"by": "ann"}` {
			t.Fatalf("the wait gives %s, %v", got, err)
		}
		q.settle(inc, retried(c, true))
	}
	q.check()
}

func TestEachSignalSatisfiesOneWaitAndIsKeptUntilThen(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, run := q.register(), q.start(jobs.StartParams{})
	q.signal(run, "go", `1`)
	c := q.claimOne(inc)
	q.signal(run, "go", `2`) // while it runs
	q.signal(run, "other", `9`)
	for _, want := range []string{"1", "2"} {
		if got, err := q.waits(c, "go"); err != nil || got != want {
			t.Fatalf("the wait gives %s, %v, want %s", got, err, want)
		}
	}
	_, err := q.waits(c, "go")
	q.park(inc, c, err)
	q.wantPlace(run, "pending", "waiting")
	q.signal(run, "go", `3`)
	c = q.claimOne(inc)
	for _, want := range []string{"1", "2", "3"} {
		if got, err := q.waits(c, "go"); err != nil || got != want {
			t.Fatalf("executed again, the wait gives %s, %v, want %s", got, err, want)
		}
	}
}

func TestSignalsGoToTheirTenantsLiveRunsOnlyW39(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, run := q.register(), q.start(jobs.StartParams{Tenant: "a"})
	for what, test := range map[string]struct {
		p    jobs.SignalParams
		want jobs.SignalAnswer
	}{
		"another tenant": {jobs.SignalParams{Run: run, Name: "go", Tenant: "b"}, jobs.SignalUnknown},
		"no tenant":      {jobs.SignalParams{Run: run, Name: "go"}, jobs.SignalUnknown},
		"no such run":    {jobs.SignalParams{Run: 1 << 40, Name: "go"}, jobs.SignalUnknown},
		"its tenant":     {jobs.SignalParams{Run: run, Name: "go", Tenant: "a"}, jobs.SignalAccepted},
	} {
		if got, err := jobs.Signal(t.Context(), q.db, test.p); err != nil || got != test.want {
			t.Errorf("%s: %s, %v, want %s", what, got, err, test.want)
		}
	}
	if _, err := jobs.Signal(t.Context(), q.db, jobs.SignalParams{Run: run}); err == nil {
		t.Error("a signal without a name was accepted")
	}
	c := q.claimOne(inc)
	q.settle(inc, completed(c))
	if got, err := jobs.Signal(t.Context(), q.db, jobs.SignalParams{Run: run, Name: "go", Tenant: "a"}); err != nil || got != jobs.SignalEnded {
		t.Errorf("a signal to an ended run: %s, %v", got, err)
	}
	// A signal belongs to a life: the next one does not get what was left of the one before.
	q.exec(`UPDATE run SET status = 'pending', claimed_by = NULL, finished_at = NULL, replays = 1 WHERE id = $1`, run)
	q.exec(`INSERT INTO ready (id, pool, job_type, vstart) VALUES ($1, $2, $3, clock_timestamp())`, run, pool, jobType)
	c = q.claimOne(inc)
	if got, err := q.waits(c, "go"); !jobs.Parks(err) {
		t.Errorf("the next life got the signal of the one before: %s, %v", got, err)
	}
}

// A caller's transaction with a signal in it stays open: nobody waits for it, and nothing is seen before it commits.
func TestS10NoWorkerWaitsForASignalInAnOpenTransaction(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	running := q.claimOne(inc)
	parked := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	_, err := q.waits(c, "go")
	q.park(inc, c, err)
	tx := q.begin()
	for _, run := range []int64{running.RunID, parked} {
		if _, err := jobs.Signal(t.Context(), tx, jobs.SignalParams{Run: run, Name: "go", Payload: json.RawMessage(`1`)}); err != nil {
			t.Fatal(err)
		}
	}
	q.exec(`SET lock_timeout = '1s'`)
	step(t, running, "a", 1)
	_, err = q.waits(running, "go")
	q.park(inc, running, err) // misses the signal that is not committed
	q.sweep()
	if got := q.claim(inc, 5); len(got) != 0 {
		t.Fatal("an uncommitted signal woke a run")
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.wantPlace(parked, "pending", "ready")
	q.wantPlace(running.RunID, "pending", "waiting")
	q.sweep()
	q.wantPlace(running.RunID, "pending", "ready")
	q.check()
}

// S7: a signal or an end that the park could not see is found by the sweep, in stretches.
func TestS7TheSweepWakesWhoseConditionHolds(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	wait := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	_, err := q.waits(c, "go")
	q.park(inc, c, err)
	q.exec(`INSERT INTO signal (run, replay, name, payload) VALUES ($1, 0, 'go', '1')`, wait) // as if it had been missed
	stays := q.start(jobs.StartParams{})
	c = q.claimOne(inc)
	_, err = q.waits(c, "never")
	q.park(inc, c, err)
	if n := q.sweep().Promoted; n != 1 {
		t.Errorf("the sweep moved %d runs, want 1", n)
	}
	q.wantPlace(wait, "pending", "ready")
	q.wantPlace(stays, "pending", "waiting")
	q.exec(`UPDATE audit_position SET waiting = $1`, stays)
	q.sweep() // the stretch after the last row is empty: the next one begins anew
	q.exec(`INSERT INTO signal (run, replay, name, payload) VALUES ($1, 0, 'never', '1')`, stays)
	q.sweep()
	q.wantPlace(stays, "pending", "ready")
}

func TestAWaitEndsWithItsTime(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, run := q.register(), q.start(jobs.StartParams{})
	for i := range 2 {
		c := q.claimOne(inc)
		_, err := jobs.WaitSignal(t.Context(), c, "go", time.Minute)
		q.park(inc, c, err)
		left := one[float64](q, `SELECT extract(epoch FROM wake_at - clock_timestamp())::float8 FROM waiting WHERE id = $1`, run)
		if left < 20 || left > 60-20*float64(i) {
			t.Errorf("the wait ends in %.0f s, want what is left of the minute", left)
		}
		// Woken for nothing after a while: the time counts from the first look.
		q.exec(`UPDATE waiting SET wake_at = clock_timestamp() WHERE id = $1`, run)
		q.exec(`UPDATE step SET started_at = started_at - interval '20 s'`)
		if moved, _, err := q.store.Promote(t.Context(), pool); err != nil || moved != 1 {
			t.Fatalf("promoted %d, %v, want 1", moved, err)
		}
	}
	q.exec(`UPDATE step SET started_at = started_at - interval '1 min'`)
	for range 2 {
		c := q.claimOne(inc)
		_, err := jobs.WaitSignal(t.Context(), c, "go", time.Minute)
		mustIs(t, err, jobs.ErrWaitTimeout, "a wait whose time is over")
		q.signal(run, "go", `1`) // too late for this wait
		q.settle(inc, retried(c, true))
	}
	q.check()
}

func TestSleepTakesItsTimeOnce(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, run := q.register(), q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	err := jobs.Sleep(t.Context(), c, "nap", time.Hour)
	q.park(inc, c, err)
	q.wantPlace(run, "pending", "waiting")
	if _, next, err := q.store.Promote(t.Context(), pool); err != nil || next < 50*time.Minute || next > time.Hour {
		t.Errorf("promote says %s, %v, want about an hour", next, err)
	}
	q.exec(`UPDATE waiting SET wake_at = clock_timestamp()`)
	q.exec(`UPDATE step SET started_at = started_at - interval '1 hour'`)
	if q.sweep().Promoted != 1 {
		t.Error("the sweep did not wake the sleeper")
	}
	for range 2 {
		c = q.claimOne(inc)
		if err := jobs.Sleep(t.Context(), c, "nap", time.Hour); err != nil {
			t.Errorf("after its time the sleep gives %v", err)
		}
		q.settle(inc, retried(c, true))
	}
	q.check()
}

func TestAWaitingRunCanBeEnded(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	parked := func(p jobs.StartParams) int64 {
		run := q.start(p)
		c := q.claimOne(inc)
		_, err := q.waits(c, "go")
		q.park(inc, c, err)
		return run
	}
	late := parked(jobs.StartParams{Deadline: time.Hour})
	q.exec(`UPDATE run SET deadline_at = clock_timestamp() WHERE id = $1`, late)
	q.exec(`UPDATE deadline SET at = clock_timestamp()`)
	asked := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	q.exec(`INSERT INTO cancel_request (run, replay, requested_by, reason) VALUES ($1, 0, 'ann', 'enough')`, asked)
	_, err := q.waits(c, "go")
	q.park(inc, c, err)
	q.sweep()
	q.wantPlace(late, "timed_out", "none")
	q.wantPlace(asked, "cancelled", "none")
}

// A run that is to end is not parked.
func TestACancelledOrOverdueHandlerDoesNotPark(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.start(jobs.StartParams{})
	c := q.claimOne(q.register())
	_, err := q.waits(c, "go")
	for _, test := range []struct {
		cause error
		want  jobs.Outcome
	}{
		{nil, jobs.Parked},
		{jobs.ErrDraining, jobs.Parked},
		{jobs.ErrTimeout, jobs.Parked},
		{&jobs.CancelRequested{}, jobs.Cancelled},
		{jobs.ErrDeadline, jobs.TimedOut},
	} {
		if s := (jobs.TypeConfig{}).Settle(c, nil, err, test.cause); s.Outcome != test.want {
			t.Errorf("with the cause %v the run is %s, want %s", test.cause, s.Outcome, test.want)
		}
	}
}

// A parked run keeps its lane, as one that waits for its retry does, unless its type releases it.
func TestAParkedRunKeepsItsLane(t *testing.T) {
	t.Parallel()
	for _, release := range []bool{false, true} {
		t.Run(fmt.Sprint("released ", release), func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			inc := q.register()
			runs := q.starts(2, jobs.StartParams{Lane: "l"})
			c := q.claimOne(inc)
			_, err := q.waits(c, "go")
			q.settle(inc, jobs.TypeConfig{ReleaseLaneOnRetry: release}.Settle(c, nil, err, nil))
			q.check()
			got := q.claim(inc, 5)
			if release != (len(got) == 1) {
				t.Fatalf("while the first run waits, %d of the lane were claimed", len(got))
			}
			q.signal(runs[0], "go", `1`)
			next := q.claim(inc, 5)
			if release == (len(next) == 1) {
				t.Fatalf("after its signal %d runs of the lane were claimed", len(next))
			}
			q.check()
			if release {
				q.settle(inc, completed(got[0]))
				next = q.claim(inc, 5)
			}
			if len(next) != 1 || next[0].RunID != runs[0] {
				t.Fatalf("claimed %v, want the woken run", next)
			}
		})
	}
}

// A parent and its child stand in one lane: a parent that kept it would wait for a child that waits for the lane, for ever.
func TestAParentLetsItsLaneGoToItsChildren(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, parent := q.register(), q.start(jobs.StartParams{Lane: "l"})
	c := q.claimOne(inc)
	child := q.start(jobs.StartParams{Lane: "l"})
	q.exec(`UPDATE run SET parent = $2, root = $2, spawn_replay = 0 WHERE id = $1`, child, parent)
	_, err := jobs.Await(t.Context(), c, "it")
	s := jobs.TypeConfig{}.Settle(c, nil, err, nil)
	if s.KeepLane {
		t.Error("the settlement keeps the lane")
	}
	s.KeepLane = true // the database does not rely on it
	q.settle(inc, s)
	got := q.claimOne(inc)
	if got.RunID != child {
		t.Fatalf("claimed run %d, want the child, %d", got.RunID, child)
	}
	q.settle(inc, completed(got))
	if got := q.claimOne(inc); got.RunID != parent {
		t.Fatalf("claimed run %d, want the parent, %d", got.RunID, parent)
	}
	q.check()
}

// child makes a run the child of a claim's, as a spawn does.
func (q *queue) child(parent *jobs.Claim) int64 {
	q.t.Helper()
	run := q.start(jobs.StartParams{})
	q.exec(`UPDATE run SET parent = $2, root = $2, spawn_replay = 0 WHERE id = $1`, run, parent.RunID)
	return run
}

func TestAParentAwaitsItsChildren(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, parent := q.register(), q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	first, second := q.child(c), q.child(c)
	_, err := jobs.Await(t.Context(), c, "both", second, first, second)
	q.park(inc, c, err)
	q.wantPlace(parent, "pending", "waiting")
	kids := q.claim(inc, 2)
	q.settle(inc, completed(kids[0]))
	q.wantPlace(parent, "pending", "waiting")
	q.settle(inc, jobs.Settlement{Claim: kids[1], Outcome: jobs.Failed, Code: "bad", Message: "no"})
	q.wantPlace(parent, "pending", "ready")
	c = q.claimOne(inc)
	got, err := jobs.Await(t.Context(), c, "both", first, second)
	if err != nil || len(got) != 2 || got[0].RunID != first || got[0].Status != "completed" || string(got[0].Output) != `{"ok": true}` ||
		got[1].RunID != second || got[1].Status != "failed" || got[1].Code != "bad" || got[1].Message != "no" {
		t.Errorf("the children ended as %+v, %v", got, err)
	}
	_, err = jobs.Await(t.Context(), c, "stranger", parent)
	if s := (jobs.TypeConfig{}).Settle(c, nil, err, nil); s.Outcome != jobs.Failed || s.Code != "invalid_wait" {
		t.Errorf("waiting for a run that is no child settles as %s %q: %v", s.Outcome, s.Code, err)
	}
	all, err := jobs.Await(t.Context(), c, "all")
	if err != nil || len(all) != 2 {
		t.Errorf("waiting for all children gives %+v, %v", all, err)
	}
	q.check()
}

// The limit counts from the first look, and leaves the children alone.
func TestAwaitingChildrenHasALimit(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, parent := q.register(), q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	first, second := q.child(c), q.child(c)
	kids := q.claim(inc, 2)
	_, err := jobs.AwaitWithin(t.Context(), c, "both", time.Minute, first, second)
	q.park(inc, c, err)
	q.settle(inc, completed(kids[0]))
	q.wantPlace(parent, "pending", "waiting")
	left := one[float64](q, `SELECT extract(epoch FROM wake_at - clock_timestamp())::float8 FROM waiting WHERE id = $1`, parent)
	if left < 20 || left > 60 {
		t.Errorf("the wait ends in %.0f s, want the minute", left)
	}
	q.exec(`UPDATE step SET started_at = started_at - interval '1 min'`)
	q.exec(`UPDATE waiting SET wake_at = clock_timestamp()`)
	if moved, _, err := q.store.Promote(t.Context(), pool); err != nil || moved != 1 {
		t.Fatalf("promoted %d, %v, want 1", moved, err)
	}
	for range 2 {
		c = q.claimOne(inc)
		_, err = jobs.AwaitWithin(t.Context(), c, "both", time.Minute, first, second)
		mustIs(t, err, jobs.ErrWaitTimeout, "a wait for children whose time is over")
		if s := (jobs.TypeConfig{}).Settle(c, nil, err, nil); s.Code != "timeout" {
			t.Errorf("a handler that returns it settles with the code %q, want timeout", s.Code)
		}
		q.settle(inc, retried(c, true))
	}
	q.wantPlace(kids[1].RunID, "running", "receipt")
	q.settle(inc, completed(kids[1])) // too late for this wait, in time for the next
	c = q.claimOne(inc)
	_, err = jobs.AwaitWithin(t.Context(), c, "both", time.Minute, first, second)
	mustIs(t, err, jobs.ErrWaitTimeout, "a wait that was over before the last child ended")
	got, err := jobs.AwaitWithin(t.Context(), c, "again", time.Minute, first, second)
	if err != nil || len(got) != 2 {
		t.Errorf("a wait for children that have ended gives %+v, %v", got, err)
	}
	q.check()
}

// However a child ends, its parent is woken by what ends it.
func TestEveryEndOfAChildWakesItsParent(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(q *queue, inc *jobs.Incarnation, child int64){
		"completed": func(q *queue, inc *jobs.Incarnation, _ int64) { q.settle(inc, completed(q.claimOne(inc))) },
		"failed": func(q *queue, inc *jobs.Incarnation, _ int64) {
			q.settle(inc, jobs.Settlement{Claim: q.claimOne(inc), Outcome: jobs.Failed})
		},
		"its deadline": func(q *queue, _ *jobs.Incarnation, child int64) {
			q.exec(`INSERT INTO deadline (run, at) VALUES ($1, clock_timestamp())`, child)
			q.sweep()
		},
		"completed by its handler": func(q *queue, inc *jobs.Incarnation, _ int64) {
			c := q.claimOne(inc)
			tx := q.begin()
			if err := jobs.Complete(q.t.Context(), tx, c, nil); err != nil {
				q.t.Fatal(err)
			}
			if err := tx.Commit(q.t.Context()); err != nil {
				q.t.Fatal(err)
			}
			q.settle(inc, jobs.TypeConfig{}.Settle(c, nil, nil, nil))
		},
		"lost": func(q *queue, _ *jobs.Incarnation, _ int64) {
			other := q.register()
			q.claimOne(other)
			q.exec(`UPDATE run SET lease_losses = 99 WHERE status = 'running'`)
			q.expire(other)
			q.sweep()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			inc, parent := q.register(), q.start(jobs.StartParams{})
			c := q.claimOne(inc)
			child := q.child(c)
			_, err := jobs.Await(t.Context(), c, "it")
			q.park(inc, c, err)
			end(q, inc, child)
			q.wantPlace(parent, "pending", "ready")
			q.check()
		})
	}
}

// interrupt calls do before the first statement that contains a text is sent.
type interrupt struct {
	text string
	do   func()
}

func (i *interrupt) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if do := i.do; do != nil && strings.Contains(data.SQL, i.text) {
		i.do = nil
		do()
	}
	return ctx
}

func (*interrupt) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// Between its settle and the second look after the commit, the other side commits: the second look sees it, and no sweep is
// needed.
func TestWhatMissedEachOtherIsSeenAfterTheCommit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		waits func(q *queue, c *jobs.Claim) error
		other string // what commits at last
	}{
		"the last two children": {
			waits: func(q *queue, c *jobs.Claim) error {
				_, err := jobs.Await(q.t.Context(), c, "both")
				return err
			},
			other: `UPDATE run SET status = 'completed' WHERE id = (SELECT min(id) FROM run WHERE parent = $1)`,
		},
		"a park and a signal": {
			waits: func(q *queue, c *jobs.Claim) error {
				_, err := q.waits(c, "go")
				return err
			},
			other: `SELECT signal($1, 'go')`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			inc, parent := q.register(), q.start(jobs.StartParams{})
			c := q.claimOne(inc)
			q.child(c)
			q.child(c)
			kids := q.claim(inc, 2)
			last := jobs.TypeConfig{}.Settle(c, nil, test.waits(q, c), nil)
			if last.Wait.Kind == jobs.WaitForChildren {
				q.settle(inc, last)
				last = completed(kids[1])
			}
			tx := q.begin()
			if _, err := tx.Exec(t.Context(), test.other, parent); err != nil {
				t.Fatal(err)
			}
			cfg, seen := q.db.Config(), ""
			cfg.ConnConfig.Tracer = &interrupt{text: "look_again", do: func() {
				seen = q.place(parent)
				if err := tx.Commit(t.Context()); err != nil {
					t.Error(err)
				}
			}}
			q.reconnect(cfg)
			q.settle(inc, last)
			if seen != "waiting" {
				t.Errorf("before the second look the parent stands in %q, want waiting", seen)
			}
			q.wantPlace(parent, "pending", "ready")
		})
	}
}

// The second look is for what was missed: usually the end of a child and the wake of its parent commit together.
func TestTheEndOfAChildWakesItsParentInOneCommit(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, parent := q.register(), q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	q.child(c)
	_, err := jobs.Await(t.Context(), c, "it")
	q.park(inc, c, err)
	kid := q.claimOne(inc)
	cfg, seen := q.db.Config(), ""
	cfg.ConnConfig.Tracer = &interrupt{text: "look_again", do: func() { seen = q.place(parent) }}
	q.reconnect(cfg)
	q.settle(inc, completed(kid))
	if seen != "ready" {
		t.Errorf("before the second look the parent stands in %q, want ready", seen)
	}
}

// A run with hundreds of waits has hundreds of steps and one place.
func TestAParkedRunIsTheSameRunEveryTime(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, run := q.register(), q.start(jobs.StartParams{MaxAttempts: 1})
	for i := range 5 {
		q.signal(run, "go", strconv.Itoa(i))
		c := q.claimOne(inc)
		for range i + 1 {
			if _, err := q.waits(c, "go"); err != nil {
				t.Fatal(err)
			}
		}
		_, err := q.waits(c, "go")
		q.park(inc, c, err)
	}
	got := one[string](q, `
SELECT status || ' ' || attempts || ' ' || claim_token || ' ' || (SELECT count(*) FROM step WHERE run = r.id) FROM run r WHERE id = $1`, run)
	if got != "pending 0 5 6" {
		t.Errorf("status, attempts, claims and steps are %s, want pending 0 5 6", got)
	}
	q.check()
}

func TestAStepWithoutAStoreSaysSo(t *testing.T) {
	t.Parallel()
	_, err := jobs.Step(t.Context(), &jobs.Claim{}, "a", func(context.Context) (int, error) { return 1, nil })
	if !errors.Is(err, jobs.ErrNoStore) {
		t.Errorf("error is %v, want ErrNoStore", err)
	}
}

func TestASignalToAClosingRunComesTooLateAndALargeOneNotAtAll(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root cancel")
	tr.end("root", jobs.Failed)
	tr.want("root waiting")
	p := jobs.SignalParams{Run: tr.runs["root"], Name: "go", Tenant: "t"}
	if got, err := jobs.Signal(t.Context(), tr.db, p); err != nil || got != jobs.SignalEnded {
		t.Errorf("a signal to a closing run: %s, %v, want ended", got, err)
	}
	p.Run, p.Payload = tr.runs["a"], json.RawMessage(`"`+strings.Repeat("x", jobs.MaxPayload)+`"`)
	_, err := jobs.Signal(t.Context(), tr.db, p)
	mustIs(t, err, jobs.ErrTooLarge, "a signal with a large payload")
}
