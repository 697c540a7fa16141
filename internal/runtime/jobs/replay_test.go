package jobs_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func (q *queue) replay(run int64, mode jobs.ReplayMode, want int) {
	q.t.Helper()
	if life, err := jobs.Replay(q.t.Context(), q.db, run, "", mode); err != nil || life != want {
		q.t.Fatalf("replay answered life %d, %v, want %d", life, err, want)
	}
}

func (q *queue) fail(inc *jobs.Incarnation, c *jobs.Claim) {
	q.t.Helper()
	q.settle(inc, jobs.Settlement{Claim: c, Outcome: jobs.Failed, Code: "bad", Message: "no"})
}

func TestReplaysAtOnceMakeOneLifeW24(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	q.fail(inc, q.claimOne(inc))
	var replayed atomic.Int64
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() {
			life, err := jobs.Replay(t.Context(), q.db, run, "", jobs.ReplayScratch)
			switch {
			case err == nil && life == 1:
				replayed.Add(1)
			case !errors.Is(err, jobs.ErrNotReplayable):
				t.Errorf("replay answered life %d, %v", life, err)
			}
		})
	}
	wg.Wait()
	if replayed.Load() != 1 {
		t.Fatalf("%d replays gave the run a life, want 1", replayed.Load())
	}
	q.wantPlace(run, "pending", "ready")
	q.claimOne(inc)
	_, err := jobs.Replay(t.Context(), q.db, run, "", jobs.ReplayScratch)
	mustIs(t, err, jobs.ErrNotReplayable, "replay of a running run")
	q.check()
}

// A replay that began before another one's life must not reset that life.
func TestALateReplayChangesNothingW24(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	q.fail(inc, q.claimOne(inc))
	first := q.begin()
	if _, err := jobs.Replay(t.Context(), first, run, "", jobs.ReplayScratch); err != nil {
		t.Fatal(err)
	}
	late := background(func() error {
		_, err := jobs.Replay(t.Context(), q.db, run, "", jobs.ReplayScratch)
		return err
	})
	q.awaitWaiter()
	commit(t, first)
	mustIs(t, <-late, jobs.ErrNotReplayable, "the late replay")
	if n := one[int](q, `SELECT replays FROM run`); n != 1 {
		t.Fatalf("the run has been replayed %d times, want once", n)
	}
}

func TestAReplayBeginsANewLifeAndKeepsTheOldOneW24(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Deadline: time.Hour, MaxAttempts: 2})
	q.settle(inc, retried(q.claimOne(inc), false))
	c := q.claimOne(inc)
	q.settle(inc, completed(c))
	q.exec(`UPDATE run SET deadline_at = deadline_at - interval '2 hours'`)
	listener := q.listen()
	q.replay(run, jobs.ReplayScratch, 1)
	q.wantNotifications(listener, "a replay", pool)
	const lifeSQL = `
SELECT number || ' ' || replay || ' ' || outcome || ' ' || coalesce(output::text, '') || ' ' || pod
FROM attempt WHERE run = $1 ORDER BY number DESC LIMIT 1`
	if got, want := one[string](q, lifeSQL, run), `2 0 completed {"ok": true} pod`; got != want {
		t.Errorf("the life before is kept as %q, want %q", got, want)
	}
	again := q.claimOne(inc)
	if again.Attempt != 1 || again.Token != c.Token+1 {
		t.Errorf("the next life is claimed for attempt %d under token %d, want 1 under %d", again.Attempt, again.Token, c.Token+1)
	}
	if d := time.Until(again.Deadline); d < 50*time.Minute || d > time.Hour {
		t.Errorf("the next life has %s until its deadline, want an hour", d)
	}
	q.fail(inc, again)
	q.replay(run, jobs.ReplayScratch, 2)
	q.cancelIn(q.db, run, jobs.CancelDone)
	q.replay(run, jobs.ReplayScratch, 3)
	const livesSQL = `SELECT string_agg(replay || ' ' || outcome, ', ' ORDER BY replay, number) FROM attempt WHERE run = $1`
	if got, want := one[string](q, livesSQL, run), "0 retried, 0 completed, 1 failed, 2 cancelled"; got != want {
		t.Errorf("the lives are kept as %q, want %q", got, want)
	}
	if n := one[int](q, `SELECT count(*)::int FROM deadline WHERE run = $1`, run); n != 1 {
		t.Errorf("the run has %d deadlines, want 1", n)
	}
	q.check()
}

func TestReplayObeysTheCollisionModeW25(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	rejecting, replacing := q.start(inLane(jobs.CollisionReject)), q.start(jobs.StartParams{Lane: "b", Collision: jobs.CollisionReplace})
	for _, c := range q.claim(inc, 2) {
		q.fail(inc, c)
	}
	other, replaced := q.start(inLane(jobs.CollisionReject)), q.start(jobs.StartParams{Lane: "b"})
	_, err := jobs.Replay(t.Context(), q.db, rejecting, "", jobs.ReplayScratch)
	if collision, ok := errors.AsType[*jobs.CollisionError](err); !ok || collision.RunID != other {
		t.Errorf("replay into a taken lane is answered %v, want a collision with run %d", err, other)
	}
	q.replay(replacing, jobs.ReplayScratch, 1)
	q.wantPlace(replaced, "cancelled", "none")
	q.check()
}

func TestReplayObeysTheDedupeWindowW25(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first := q.start(deduped())
	q.fail(inc, q.claimOne(inc))
	second := q.start(deduped())
	_, err := jobs.Replay(t.Context(), q.db, first, "", jobs.ReplayScratch)
	if collision, ok := errors.AsType[*jobs.CollisionError](err); !ok || collision.RunID != second {
		t.Errorf("replay with a taken key is answered %v, want a collision with run %d", err, second)
	}
	q.fail(inc, q.claimOne(inc))
	q.replay(second, jobs.ReplayScratch, 1)
	if r, err := jobs.Start(t.Context(), q.db, deduped()); err != nil || r.RunID != second {
		t.Errorf("a start finds %+v, %v, want the run that lives again", r, err)
	}
	_, err = jobs.Replay(t.Context(), q.db, first, "", jobs.ReplayScratch)
	mustIs(t, err, jobs.ErrCollision, "replay with the key of a run that lives again")
}

// The key of a failed run went to a later one, which has failed too: whoever lives again has it.
func TestAReplayTakesItsDedupeKeyBackW25(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first := q.start(deduped())
	q.fail(inc, q.claimOne(inc))
	second := q.start(deduped())
	q.fail(inc, q.claimOne(inc))
	q.replay(first, jobs.ReplayScratch, 1)
	if r, err := jobs.Start(t.Context(), q.db, deduped()); err != nil || r.RunID != first {
		t.Errorf("a start finds %+v, %v, want run %d, which lives again", r, err, first)
	}
	_, err := jobs.Replay(t.Context(), q.db, second, "", jobs.ReplayScratch)
	mustIs(t, err, jobs.ErrCollision, "replay of the run that had the key in between")
}

// A start that found the key of a failed run free, while a replay of that run is under way, finds it taken.
func TestAReplayKeepsItsDedupeKeyFromAStartUnderWayW25(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(deduped())
	q.fail(inc, q.claimOne(inc))
	tx := q.begin()
	if _, err := jobs.Replay(t.Context(), tx, run, "", jobs.ReplayScratch); err != nil {
		t.Fatal(err)
	}
	var r jobs.StartResult
	done := background(func() (err error) {
		r, err = jobs.Start(t.Context(), q.db, deduped())
		return err
	})
	q.awaitWaiter()
	commit(t, tx)
	if err := <-done; err != nil || r.RunID != run {
		t.Fatalf("start answered %+v, %v, want run %d", r, err, run)
	}
}

func TestReplayWaitsForTheHandlerThatCompletedItsRunW26(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	complete := func(c *jobs.Claim) {
		t.Helper()
		tx := q.begin()
		q.complete(tx, c)
		commit(t, tx)
		_, err := jobs.Replay(t.Context(), q.db, run, "", jobs.ReplayScratch)
		mustIs(t, err, jobs.ErrNotReplayable, "replay while the handler executes")
	}
	c := q.claimOne(inc)
	complete(c)
	if r := q.settle(inc, decide(c, nil)); r[0] != jobs.Already {
		t.Fatalf("settle answered %s, want already", r[0])
	}
	q.replay(run, jobs.ReplayScratch, 1)

	complete(q.claimOne(inc))
	q.expire(inc)
	q.sweep()
	q.replay(run, jobs.ReplayScratch, 2)
}

func TestReplayIsOfTheTenantsOwnRunsW39(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Tenant: "t"})
	q.fail(inc, q.claimOne(inc))
	for _, tenant := range []string{"", "u"} {
		_, err := jobs.Replay(t.Context(), q.db, run, tenant, jobs.ReplayScratch)
		mustIs(t, err, jobs.ErrUnknownRun, "replay for tenant "+tenant)
	}
	if life, err := jobs.Replay(t.Context(), q.db, run, "t", ""); err != nil || life != 1 {
		t.Fatalf("replay answered life %d, %v", life, err)
	}
	_, err := jobs.Replay(t.Context(), q.db, run, "t", "last_checkpoint")
	mustIs(t, err, jobs.ErrInvalidStart, "replay in another mode")
}

func TestReplayKeepsCompletedStepsAndChildrenOrForgetsThem(t *testing.T) {
	t.Parallel()
	for mode, want := range map[jobs.ReplayMode]bool{jobs.ReplayScratch: false, jobs.ReplayLastStep: true} {
		q := newQueue(t)
		inc := q.register()
		run := q.start(jobs.StartParams{})
		c := q.claimOne(inc)
		step(t, c, "done", 1)
		if _, err := jobs.Step(t.Context(), c, "not done", fails); err == nil {
			t.Fatal("the step did not fail")
		}
		good, bad := q.spawn(c, "good", jobs.StartParams{}), q.spawn(c, "bad", jobs.StartParams{})
		for _, k := range q.claim(inc, 2) {
			if k.RunID == good {
				q.settle(inc, completed(k))
			} else {
				q.fail(inc, k)
			}
		}
		q.fail(inc, c)
		q.replay(run, mode, 1)
		next := q.claimOne(inc)
		if got := step(t, next, "done", 2); (got == 1) != want {
			t.Errorf("%s: the completed step gives %d", mode, got)
		}
		if got := step(t, next, "not done", 3); got != 0 && got != 3 {
			t.Errorf("%s: the failed step gives %d, want that of its execution", mode, got)
		}
		if r := q.spawns(next, "good", jobs.StartParams{}); (r.RunID == good) != want || r.Created == want {
			t.Errorf("%s: the completed child is answered %+v, it was %d", mode, r, good)
		}
		if r := q.spawns(next, "bad", jobs.StartParams{}); r.RunID == bad || !r.Created {
			t.Errorf("%s: the failed child is answered %+v, want a new one", mode, r)
		}
	}
}

// A wait that had timed out has timed out in the life that keeps it, too: it did not get a signal without a payload.
func TestReplayKeepsHowAWaitHadEnded(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	_, err := jobs.WaitSignal(t.Context(), c, "go", time.Millisecond)
	if err == nil {
		t.Fatal("there was a signal")
	}
	if jobs.Parks(err) {
		q.park(inc, c, err)
		q.exec(`UPDATE step SET started_at = started_at - interval '1 hour'`)
		q.exec(`UPDATE waiting SET wake_at = clock_timestamp()`)
		q.sweep()
		c = q.claimOne(inc)
		_, err = jobs.WaitSignal(t.Context(), c, "go", time.Millisecond)
	}
	mustIs(t, err, jobs.ErrWaitTimeout, "the wait")
	q.fail(inc, c)
	q.replay(run, jobs.ReplayLastStep, 1)
	payload, err := jobs.WaitSignal(t.Context(), q.claimOne(inc), "go", time.Millisecond)
	if !errors.Is(err, jobs.ErrWaitTimeout) {
		t.Errorf("the life that keeps the wait got %s, %v, want the timeout", payload, err)
	}
}

// What a replay forgets, an await of all children does not wait for; what it keeps counts.
func TestAwaitingAllChildrenMeansThoseOfTheLife(t *testing.T) {
	t.Parallel()
	for mode, want := range map[jobs.ReplayMode]string{jobs.ReplayScratch: "new", jobs.ReplayLastStep: "done new"} {
		q := newQueue(t)
		inc := q.register()
		run := q.start(jobs.StartParams{})
		c := q.claimOne(inc)
		names := map[int64]string{q.spawn(c, "done", jobs.StartParams{}): "done"}
		q.settle(inc, completed(q.claimOne(inc)))
		names[q.spawn(c, "failed", jobs.StartParams{})] = "failed"
		q.fail(inc, q.claimOne(inc))
		names[q.spawn(c, "lasting", jobs.StartParams{Delay: time.Hour, ClosePolicy: jobs.CloseAbandon})] = "lasting"
		q.fail(inc, c)

		q.replay(run, mode, 1)
		c = q.claimOne(inc)
		names[q.spawn(c, "new", jobs.StartParams{})] = "new"
		_, err := jobs.Await(t.Context(), c, "all")
		q.park(inc, c, err)
		q.wantPlace(run, "pending", "waiting")
		q.settle(inc, completed(q.claimOne(inc)))
		q.wantPlace(run, "pending", "ready")
		children, err := jobs.Await(t.Context(), q.claimOne(inc), "all")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, child := range children {
			got = append(got, names[child.RunID])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("after a replay of mode %s the await gives the children %v, want %s", mode, got, want)
		}
	}
}
