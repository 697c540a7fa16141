package jobs_test

import (
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// limit declares the test's pool with limits, and with a lease that a slow machine does not outlast.
func (q *queue) limit(change func(*spec.Pool)) {
	q.t.Helper()
	tuning := spec.DefaultPool()
	tuning.LeaseMillis = 3_600_000
	change(&tuning)
	q.declare(pool, tuning)
}

// claimAgain claims and says when to ask again.
func (q *queue) claimAgain(inc *jobs.Incarnation, slots int) ([]*jobs.Claim, time.Duration) {
	q.t.Helper()
	claims, again, err := q.store.Claim(q.t.Context(), inc, slots)
	if err != nil {
		q.t.Fatalf("claim: %v", err)
	}
	return claims, again
}

func (q *queue) wantClaimed(inc *jobs.Incarnation, slots, want int, limited bool) []*jobs.Claim {
	q.t.Helper()
	claims, again := q.claimAgain(inc, slots)
	if len(claims) != want || (again > 0) != limited {
		q.t.Fatalf("a claim of %d got %d and asks again in %v, want %d and limited: %v", slots, len(claims), again, want, limited)
	}
	return claims
}

func TestMaxRunningCountsWhatRunsUnderEveryReceipt(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.limit(func(p *spec.Pool) { p.MaxRunning = 5 })
	a, b := q.register(), q.register()
	q.starts(20, jobs.StartParams{})
	q.start(jobs.StartParams{Lane: "l"})

	first := q.wantClaimed(a, 3, 3, false)
	q.wantClaimed(b, 4, 2, true)
	q.wantClaimed(a, 1, 0, true)
	q.settle(a, completed(first[0]), retried(first[1], false))
	q.wantClaimed(b, 4, 2, true)

	// A dead worker's runs count until they are put back.
	q.expire(b)
	q.wantClaimed(a, 4, 0, true)
	q.sweep()
	q.wantClaimed(a, 9, 4, true)
	q.check()
}

func TestMaxRunningOfAnotherPoolDoesNotCount(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.limit(func(p *spec.Pool) { p.MaxRunning = 2 })
	q.declare("other", spec.DefaultPool())
	other, err := q.store.Register(t.Context(), jobs.WorkerInfo{Pool: "other", Types: []string{jobType}})
	if err != nil {
		t.Fatal(err)
	}
	q.starts(9, jobs.StartParams{Pool: "other"})
	q.wantClaimed(other, 9, 9, false)
	q.starts(3, jobs.StartParams{})
	q.wantClaimed(q.register(), 9, 2, true)
}

// A receipt whose first run is gone still says what runs.
func TestMaxRunningOutlivesTheFirstRunOfAReceipt(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.limit(func(p *spec.Pool) { p.MaxRunning = 2 })
	inc := q.register()
	q.starts(3, jobs.StartParams{})
	claims := q.wantClaimed(inc, 2, 2, false)
	q.settle(inc, completed(claims[0]))
	q.exec(`DELETE FROM run WHERE id = $1`, claims[0].RunID)
	q.wantClaimed(inc, 2, 1, true)
}

// S10: whoever edits a pool, and another claim that is under way, make a claim come back at once.
func TestALimitedClaimWaitsForNobody(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.limit(func(p *spec.Pool) { p.MaxRunning = 50; p.StartRate = &spec.StartRate{PerSecond: 1000, Burst: 50} })
	inc := q.register()
	q.starts(3, jobs.StartParams{})

	editor := q.begin()
	if _, err := editor.Exec(t.Context(), `UPDATE pool SET tuning = jsonb_set(tuning, '{maxRunning}', '1')`); err != nil {
		t.Fatal(err)
	}
	q.wantClaimed(inc, 1, 1, false)

	claimer := q.begin()
	if _, err := claimer.Exec(t.Context(), `SELECT FROM pool_turn FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	_, again := q.claimAgain(inc, 1)
	if again <= 0 || again > 100*time.Millisecond {
		t.Fatalf("a claim that met another asks again in %v, want soon", again)
	}
	commit(t, claimer)
	q.wantClaimed(inc, 1, 1, false)
	commit(t, editor)
	q.wantClaimed(inc, 1, 0, true)
}

func TestStartRateIsATokenBucketOnTheDatabasesClock(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.limit(func(p *spec.Pool) { p.StartRate = &spec.StartRate{PerSecond: 0.01, Burst: 4} })
	inc := q.register()
	q.starts(30, jobs.StartParams{})
	q.wantClaimed(inc, 3, 3, false)
	q.wantClaimed(inc, 3, 1, true)
	q.wantClaimed(inc, 3, 0, true)
	for _, passed := range []struct {
		time string
		want int
	}{{"99 s", 0}, {"101 s", 1}, {"1 hour", 4}, {"-1 hour", 0}} {
		q.exec(`UPDATE pool_turn SET refilled_at = clock_timestamp() - $1::interval, tokens = 0`, passed.time)
		q.wantClaimed(inc, 9, passed.want, true)
	}
	// What is asked for, and not what a bucket could give, is spent.
	q.exec(`UPDATE pool_turn SET refilled_at = clock_timestamp(), tokens = 4`)
	q.wantClaimed(inc, 1, 1, false)
	if tokens := one[float64](q, `SELECT tokens FROM pool_turn`); tokens < 3 || tokens > 3.5 {
		t.Fatalf("%v tokens are left of 4 after one start, want 3", tokens)
	}
}

func TestRetryOfARateLimitIsWhenThereAreTokens(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.limit(func(p *spec.Pool) { p.StartRate = &spec.StartRate{PerSecond: 2, Burst: 1} })
	inc := q.register()
	q.starts(5, jobs.StartParams{})
	q.wantClaimed(inc, 1, 1, false)
	_, again := q.claimAgain(inc, 5)
	if again < 50*time.Millisecond || again > 500*time.Millisecond {
		t.Fatalf("two starts a second: the next is asked for in %v, want within half a second", again)
	}
}

// Limits come and go with the tuning, and a pool without one has no row.
func TestTheGateFollowsTheTuning(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	gate := func() string {
		return one[string](q, `SELECT coalesce((SELECT row(max_running, starts_per_second, burst, fair)::text FROM pool_gate WHERE pool = $1), 'none')`, pool)
	}
	for _, step := range []struct {
		change func(*spec.Pool)
		want   string
	}{
		{func(*spec.Pool) {}, "none"},
		{func(p *spec.Pool) { p.MaxRunning = 7 }, "(7,0,1,f)"},
		{func(p *spec.Pool) { p.StartRate = &spec.StartRate{PerSecond: 0.5, Burst: 3} }, "(0,0.5,3,f)"},
		{func(p *spec.Pool) { p.Fairness = spec.FairnessTenant }, "(0,0,1,t)"},
		{func(p *spec.Pool) { p.Fairness = spec.FairnessNone }, "none"},
	} {
		q.limit(step.change)
		if got := gate(); got != step.want {
			t.Fatalf("the gate is %s, want %s", got, step.want)
		}
	}
	q.limit(func(p *spec.Pool) { p.MaxRunning = 7 })
	q.exec(`DELETE FROM pool`)
	if n := one[int](q, `SELECT (SELECT count(*) FROM pool_gate) + (SELECT count(*) FROM pool_turn)`); n != 0 {
		t.Fatalf("%d rows are left of the limits of a pool that is gone", n)
	}
}

// C2: a claim of a pool with limits is one statement as well; without limits nothing is written or locked for them.
func TestC2AClaimOfALimitedPoolIsOneStatement(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	written := func(slots int) map[string]int64 {
		tx := q.begin()
		before := updated(t, tx)
		if _, err := tx.Exec(t.Context(), `SELECT count(*) FROM claim($1, $2, $3, $4)`, inc.ID, pool, inc.Types, slots); err != nil {
			t.Fatal(err)
		}
		rows := updated(t, tx)
		for table, n := range before {
			rows[table] -= n
		}
		commit(t, tx)
		return rows
	}
	q.starts(4, jobs.StartParams{})
	if rows := written(1); rows["pool_turn"]+rows["pool_gate"] != 0 {
		t.Errorf("a claim of a pool without limits wrote %v", rows)
	}
	q.limit(func(p *spec.Pool) { p.MaxRunning = 3; p.StartRate = &spec.StartRate{PerSecond: 1, Burst: 3} })
	if rows := written(1); rows["pool_turn"] != 1 {
		t.Errorf("a claim of a pool with a start rate wrote %v, want one row of pool_turn", rows)
	}
	s := q.count()
	q.wantClaimed(inc, 5, 1, true)
	if n := s.take(); n != 1 {
		t.Errorf("a limited claim took %d statements, want 1", n)
	}
}

func TestAnUnknownLimitIsRefusedWithThePool(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	_, err := q.db.Exec(t.Context(), `UPDATE pool SET tuning = jsonb_set(tuning, '{maxRunning}', '"many"')`)
	if err == nil {
		t.Fatal("a limit that is no number was taken")
	}
}
