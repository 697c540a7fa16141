package jobs_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func ids(claims []*jobs.Claim) []int64 {
	list := make([]int64, len(claims))
	for i, c := range claims {
		list[i] = c.RunID
	}
	slices.Sort(list)
	return list
}

func (q *queue) wantClaims(inc *jobs.Incarnation, slots int, want ...int64) []*jobs.Claim {
	q.t.Helper()
	claims := q.claim(inc, slots)
	if got := ids(claims); !slices.Equal(got, want) {
		q.t.Fatalf("claimed %v, want %v", got, want)
	}
	q.check()
	return claims
}

func TestS8ALaneNeverHasMoreClaimsThanItsLimit(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	one, two := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	w := []int64{}
	for range 3 {
		w = append(w, q.start(jobs.StartParams{Lane: "wide", LaneLimit: 2}))
	}
	q.wantClaims(inc, 10, one, w[0], w[1])
	q.wantPlace(two, "pending", "blocked")
	q.wantPlace(w[2], "pending", "blocked")
	q.wantClaims(inc, 10)
}

func TestS8ClaimersAtOnceShareALaneByTurns(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const runs, claimers = 40, 4
	order := q.starts(runs, jobs.StartParams{Lane: "a"})
	var mu sync.Mutex
	var seen []int64
	var wg sync.WaitGroup
	for range claimers {
		inc := q.register()
		wg.Go(func() {
			for {
				mu.Lock()
				finished := len(seen) == runs
				mu.Unlock()
				if finished || t.Failed() {
					return
				}
				claims, _, err := q.store.Claim(t.Context(), inc, 3)
				if err != nil || len(claims) > 1 {
					t.Errorf("claimed %d runs of the lane at once, error %v", len(claims), err)
					return
				}
				for _, c := range claims {
					mu.Lock()
					seen = append(seen, c.RunID)
					mu.Unlock()
					if _, err := q.store.Settle(t.Context(), inc, []jobs.Settlement{completed(c)}); err != nil {
						t.Errorf("settle: %v", err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if !slices.Equal(seen, order) {
		t.Fatalf("the lane ran in the order %v, want %v", seen, order)
	}
	q.check()
}

func TestS8TwoClaimersCannotReorderALane(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	a, b := q.register(), q.register()
	first, _ := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	// A claim in flight has the lane and its first run; another claimer passes the lane over instead of taking the second.
	tx := q.begin()
	rawClaim(t, tx, a, 1)
	q.wantClaims(b, 5)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.wantClaims(b, 5, first)
}

func TestS8AClaimPassesALockedLaneOver(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first := q.start(jobs.StartParams{Lane: "a"})
	q.giveBack(inc, q.wantClaims(inc, 1, first)...)
	lane := q.begin()
	if _, err := lane.Exec(t.Context(), `SELECT FROM lane FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	q.impatient()
	free := q.start(jobs.StartParams{})
	q.wantClaims(inc, 5, free)
	commit(t, lane)
	q.wantClaims(inc, 5, first)
}

func TestS8ALaneIsHeldUntilItsHandlerHasStopped(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first, second := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	c := q.wantClaims(inc, 5, first)[0]
	tx := q.begin()
	q.complete(tx, c)
	commit(t, tx)
	q.wantClaims(inc, 5)
	q.sweep()
	q.wantClaims(inc, 5)
	if r := q.settle(inc, decide(c, nil))[0]; r != jobs.Already {
		t.Fatalf("settle answered %s, want already", r)
	}
	q.wantPlace(second, "pending", "ready")
	q.wantClaims(inc, 5, second)
}

func TestS8TheHoldOfACompletedRunGoesWithItsDeadWorker(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first, second := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	c := q.wantClaims(inc, 5, first)[0]
	q.wantClaims(inc, 5)
	tx := q.begin()
	q.complete(tx, c)
	commit(t, tx)
	q.expire(inc)
	if r := q.sweep(); r.Holds != 1 {
		t.Fatalf("sweep did %+v, want the hold freed", r)
	}
	q.wantClaims(q.register(), 5, second)
}

func TestS8TheHoldOfARunThatStillRunsStays(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	dead, live := q.register(), q.register()
	first, second := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	c := q.wantClaims(dead, 5, first)[0]
	tx := q.begin()
	if err := jobs.Fence(t.Context(), tx, c); err != nil {
		t.Fatal(err)
	}
	q.expire(dead)
	q.sweep()
	q.wantClaims(live, 5)
	commit(t, tx)
	q.sweep()
	q.wantClaims(live, 5, first)
	q.wantPlace(second, "pending", "blocked")
}

func TestS8OrderWithinALaneIsPriorityThenEnqueueW31(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	running := q.start(jobs.StartParams{Lane: "a"})
	c := q.wantClaims(inc, 5, running)[0]
	low, first, second := q.start(jobs.StartParams{Lane: "a", Priority: -1}), q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	high := q.start(jobs.StartParams{Lane: "a", Priority: 1})
	q.wantClaims(inc, 5)
	for _, want := range []int64{high, first, second, low} {
		q.settle(inc, completed(c))
		c = q.wantClaims(inc, 5, want)[0]
	}
}

func TestS8ARetryKeepsItsLaneW31(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, other := q.register(), q.register()
	first, second := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	c := q.wantClaims(inc, 1, first)[0]
	q.settle(inc, retried(c, true))
	third := q.start(jobs.StartParams{Lane: "a"})
	again := q.wantClaims(other, 5, first)[0]
	q.wantPlace(second, "pending", "blocked")
	q.wantPlace(third, "pending", "blocked")
	q.settle(other, completed(again))
	q.wantClaims(inc, 5, second)
}

func TestS8AJobTypeMayReleaseItsLaneOnRetry(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first, second := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	c := q.wantClaims(inc, 1, first)[0]
	q.settle(inc, jobs.TypeConfig{ReleaseLaneOnRetry: true}.Settle(c, nil, errors.New("boom"), nil))
	q.wantPlace(first, "pending", "scheduled")
	q.wantClaims(inc, 5, second)
}

func TestS8ALeaseLossReleasesTheLane(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	dead, live := q.register(), q.register()
	first, second := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	q.wantClaims(dead, 1, first)
	q.exec(`UPDATE run SET lease_losses = 1 WHERE id = $1`, first)
	q.expire(dead)
	q.sweep()
	q.wantPlace(first, "pending", "scheduled")
	q.wantClaims(live, 5, second)
}

// replayBeside completes a claim's run and has it replayed while the handler of that life has not stopped.
func (q *queue) replayBeside(c *jobs.Claim) {
	q.t.Helper()
	tx := q.begin()
	q.complete(tx, c)
	commit(q.t, tx)
	q.exec(`UPDATE run SET status = 'pending', replays = replays + 1, claimed_by = NULL, finished_at = NULL WHERE id = $1`, c.RunID)
	q.exec(`INSERT INTO ready (id, pool, job_type, vstart, lane) SELECT id, pool, job_type, run_at, lane FROM run WHERE id = $1`, c.RunID)
}

func TestS8ARunsOwnOldHoldMeansTheLaneIsHeld(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	a, b := q.register(), q.register()
	for _, limit := range []int{1, 2} {
		run := q.start(jobs.StartParams{Lane: "a", LaneLimit: limit, LaneNamespace: string(rune('a' + limit))})
		old := q.wantClaims(a, 1, run)[0]
		q.replayBeside(old)
		q.wantClaims(b, 5)
		q.sweep()
		q.wantClaims(b, 5)
		q.settle(a, decide(old, nil))
		q.settle(b, completed(q.wantClaims(b, 5, run)[0]))
	}
}

func TestS8CancellingARetryFreesItsKeptHold(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first, second := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	c := q.wantClaims(inc, 1, first)[0]
	s := retried(c, true)
	s.Delay = time.Hour
	q.settle(inc, s)
	q.wantClaims(inc, 5)
	q.wantPlace(second, "pending", "blocked")
	// Somebody else has the lane: cancel does not need it.
	lane := q.begin()
	if _, err := lane.Exec(t.Context(), `SELECT FROM lane FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	if a, err := jobs.Cancel(t.Context(), q.db, jobs.CancelParams{Run: first, By: "me", Reason: "enough"}); err != nil || a != jobs.CancelDone {
		t.Fatalf("cancel answered %q, %v", a, err)
	}
	commit(t, lane)
	q.sweep()
	q.wantClaims(inc, 5, second)
}

func TestS8CancellingAScopeFreesKeptHoldsOnly(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	cancel := func(scope string) {
		t.Helper()
		r, err := jobs.CancelScope(t.Context(), q.db, jobs.ScopeParams{Scope: scope}, "ann", "gone")
		if err != nil || r != (jobs.ScopeResult{Changed: 1}) {
			t.Fatalf("cancel answered %+v, %v, want one cancelled", r, err)
		}
	}
	kept := q.start(jobs.StartParams{Lane: "a", Scope: "kept"})
	q.settle(inc, retried(q.wantClaims(inc, 1, kept)[0], true))
	cancel("kept")
	next := q.start(jobs.StartParams{Lane: "a"})
	q.wantClaims(inc, 1, next)

	executing := q.start(jobs.StartParams{Lane: "b", Scope: "executing"})
	q.replayBeside(q.wantClaims(inc, 1, executing)[0])
	cancel("executing")
	q.start(jobs.StartParams{Lane: "b"})
	q.wantClaims(inc, 1)
}

func TestS8EverySweepWakesLanesWithRoom(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first, second, third := q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"}), q.start(jobs.StartParams{Lane: "a"})
	q.wantClaims(inc, 5, first)
	// The hold went without anybody waking the lane.
	q.exec(`DELETE FROM lane_hold`)
	q.exec(`UPDATE run SET status = 'cancelled' WHERE id = $1`, first)
	if r := q.sweep(); r.Workers != 0 {
		t.Fatalf("sweep did %+v", r)
	}
	q.wantPlace(second, "pending", "ready")
	q.wantPlace(third, "pending", "blocked")
}

func TestS8ALaneOfSeveralTypesDoesNotStallOnOneThatNobodyServes(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	shared := jobs.StartParams{Lane: "a", LaneNamespace: "shared"}
	first := q.start(shared)
	other := shared
	other.Type = "nobody"
	unserved, last := q.start(other), q.start(shared)
	c := q.wantClaims(inc, 5, first)[0]
	q.wantPlace(unserved, "pending", "blocked")
	q.settle(inc, completed(c))
	q.wantClaims(inc, 5, last)
}

func TestS8LanesOfOtherTenantsAndNamespacesAreOthers(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register(jobType, "other")
	var want []int64
	for _, p := range []jobs.StartParams{
		{Lane: "a"}, {Lane: "a", Tenant: "t"}, {Lane: "a", Tenant: "u"}, {Lane: "a", LaneNamespace: "n"}, {Lane: "a", Type: "other"}, {Lane: "b"},
	} {
		want = append(want, q.start(p))
	}
	same := q.start(jobs.StartParams{Lane: "a", LaneNamespace: jobType})
	q.wantClaims(inc, 10, want...)
	q.wantPlace(same, "pending", "blocked")
}

func TestS8LanesAndOtherRunsAreClaimedInOneOrder(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	a, b := q.start(jobs.StartParams{}), q.start(jobs.StartParams{Lane: "a"})
	c, d := q.start(jobs.StartParams{}), q.start(jobs.StartParams{Lane: "b"})
	q.wantClaims(inc, 2, a, b)
	q.wantClaims(inc, 1, c)
	q.wantClaims(inc, 1, d)
}

func TestS8AFullLaneCostsOthersNothingW30(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	lane := q.starts(150, jobs.StartParams{Lane: "a"})
	free := q.start(jobs.StartParams{})
	q.wantClaims(inc, 1, lane[0])
	if n := one[int](q, `SELECT count(*) FROM blocked`); n != len(lane)-1 {
		t.Fatalf("%d runs of the full lane are blocked, want %d", n, len(lane)-1)
	}
	q.wantClaims(inc, 1, free)
}

func TestS8UnusedLanesAreRemoved(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Lane: "a"})
	c := q.wantClaims(inc, 1, run)[0]
	q.sweep()
	if n := one[int](q, `SELECT count(*) FROM lane`); n != 1 {
		t.Fatal("a lane with a hold was removed")
	}
	q.settle(inc, completed(c))
	q.sweep()
	if n := one[int](q, `SELECT count(*) FROM lane`); n != 0 {
		t.Fatal("a lane that nobody uses is left")
	}
}
