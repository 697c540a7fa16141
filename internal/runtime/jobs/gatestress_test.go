package jobs_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// crowd is a number of workers that share a pool's limit and do to their claims whatever can be done.
type crowd struct {
	*queue
	limit int
	ends  atomic.Int64 // runs completed
	seen  atomic.Int64 // the most runs in flight that anybody saw
}

// work claims and then completes, fails, gives back or abandons, until enough runs have been completed.
func (c *crowd) work(ctx context.Context, seed uint64, enough int64) error {
	rnd := rand.New(rand.NewPCG(seed, 0))
	inc, err := c.store.Register(ctx, jobs.WorkerInfo{Pool: pool, Types: []string{jobType}})
	for err == nil && c.ends.Load() < enough {
		var claims []*jobs.Claim
		claims, _, err = c.store.Claim(ctx, inc, 1+rnd.IntN(c.limit))
		if err == nil && rnd.IntN(20) == 0 {
			inc, err = c.die(ctx, inc)
			continue
		}
		for _, claim := range claims {
			if err == nil {
				err = c.finish(ctx, inc, claim, rnd)
			}
		}
		if errors.Is(err, jobs.ErrLeaseLost) {
			inc, err = c.store.Register(ctx, jobs.WorkerInfo{Pool: pool, Types: []string{jobType}})
		}
	}
	return err
}

// die leaves what an incarnation holds to the sweep.
func (c *crowd) die(ctx context.Context, inc *jobs.Incarnation) (*jobs.Incarnation, error) {
	if _, err := c.db.Exec(ctx, `UPDATE worker SET expires_at = clock_timestamp() - interval '1 ms' WHERE id = $1`, inc.ID); err != nil {
		return nil, err
	}
	if _, err := c.store.Sweep(ctx); err != nil {
		return nil, err
	}
	return c.store.Register(ctx, jobs.WorkerInfo{Pool: pool, Types: []string{jobType}})
}

func (c *crowd) finish(ctx context.Context, inc *jobs.Incarnation, claim *jobs.Claim, rnd *rand.Rand) error {
	s := completed(claim)
	switch rnd.IntN(6) {
	case 0:
		s = jobs.Settlement{Claim: claim, Outcome: jobs.GivenBack}
	case 1:
		s = retried(claim, false)
	default:
		c.ends.Add(1)
	}
	_, err := c.store.Settle(ctx, inc, []jobs.Settlement{s})
	return err
}

// watch counts what runs, over and over, by itself.
func (c *crowd) watch(ctx context.Context) {
	for ctx.Err() == nil {
		var n int64
		if c.db.QueryRow(ctx, `SELECT count(*) FROM run WHERE status = 'running'`).Scan(&n) == nil && n > c.seen.Load() {
			c.seen.Store(n)
		}
	}
}

// Never more than maxRunning, with many claimers at once, workers that die, and runs that are given back or retried; and
// the limit is used: nothing is claimed twice, nothing stays behind.
func TestMaxRunningIsNeverExceededByManyClaimersAtOnceW34(t *testing.T) {
	t.Parallel()
	const limit, workers, enough = 6, 14, 200
	q := newQueue(t)
	q.limit(func(p *spec.Pool) { p.MaxRunning = limit; p.Fairness = spec.FairnessTenant })
	q.pending("a", enough)
	q.pending("", enough)
	c := &crowd{queue: q, limit: limit}
	ctx, stop := context.WithCancel(t.Context())
	var watchers, wg sync.WaitGroup
	for range 2 {
		watchers.Go(func() { c.watch(ctx) })
	}
	for i := range workers {
		wg.Go(func() {
			if err := c.work(t.Context(), uint64(i), enough); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	stop()
	watchers.Wait()
	if n := c.seen.Load(); n > limit || n < limit/2 {
		t.Errorf("at most %d runs were in flight at once, want the limit of %d to be reached and never passed", n, limit)
	}
	q.check()
}

// However many workers claim at once, what they start together is what the bucket holds: its burst and what flowed in
// meanwhile, by the database's clock.
func TestTheStartRateIsSharedByManyClaimersAtOnce(t *testing.T) {
	t.Parallel()
	for name, rate := range map[string]spec.StartRate{
		"nothing flows in":     {PerSecond: 0.001, Burst: 17},
		"faster than a second": {PerSecond: 150, Burst: 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.limit(func(p *spec.Pool) { p.StartRate = &rate })
			const runs, workers = 400, 16
			q.pending("", runs)
			began := one[time.Time](q, `SELECT refilled_at FROM pool_turn`)
			var started atomic.Int64
			var wg sync.WaitGroup
			for i := range workers {
				wg.Go(func() {
					n, err := q.claimAll(t.Context(), 1+i%7, 60)
					if err != nil {
						t.Errorf("worker %d: %v", i, err)
					}
					started.Add(n)
				})
			}
			wg.Wait()
			passed := one[float64](q, `SELECT extract(epoch FROM clock_timestamp() - $1::timestamptz)::float8`, began)
			most := float64(rate.Burst) + rate.PerSecond*passed
			if n := started.Load(); n < int64(rate.Burst) || float64(n) > most {
				t.Errorf("%d workers started %d runs in %.2f s, want at least the burst of %d and at most %.1f", workers, n, passed, rate.Burst, most)
			}
			q.check()
		})
	}
}

// claimAll claims as a worker of its own, up to a number of runs a time, so often.
func (q *queue) claimAll(ctx context.Context, slots, times int) (n int64, err error) {
	inc, err := q.store.Register(ctx, jobs.WorkerInfo{Pool: pool, Types: []string{jobType}})
	for i := 0; i < times && err == nil; i++ {
		var claims []*jobs.Claim
		claims, _, err = q.store.Claim(ctx, inc, slots)
		n += int64(len(claims))
	}
	return n, err
}

// A backlog of one tenant, and limits that cut every claim to a slot or two: another tenant's run is started by the next
// claim but one, and the tokens and slots that are there are used.
func TestLimitsLeaveATenantItsTurnBesideALargeBacklog(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.limit(func(p *spec.Pool) {
		p.MaxRunning, p.Fairness, p.StartRate = 3, spec.FairnessTenant, &spec.StartRate{PerSecond: 0.001, Burst: 9}
	})
	inc := q.register()
	q.pending("many", 50_000)
	q.exec(`ANALYZE`)
	held := q.wantClaimed(inc, 10, 3, true) // maxRunning cuts it
	few := q.starts(3, jobs.StartParams{Tenant: "few"})
	q.wantClaimed(inc, 10, 0, true)
	for i, want := range []string{"few:1", "many:1", "few:1", "many:1"} {
		q.settle(inc, completed(held[0]))
		next := q.wantClaimed(inc, 10, 1, true)
		if got := shares(next); got != want {
			t.Errorf("slot %d goes to %s, want %s", i, got, want)
		}
		held = append(held[1:], next...)
	}
	for _, c := range held {
		q.settle(inc, completed(c))
	}
	// Two of the nine tokens are left.
	if got := shares(q.wantClaimed(inc, 10, 2, true)); got != "few:1 many:1" {
		t.Errorf("the last tokens go to %s, want one to each", got)
	}
	q.wantClaimed(inc, 10, 0, true)
	if n := one[int](q, `SELECT count(*) FROM run WHERE id = ANY ($1) AND claimed_at IS NULL`, few); n != 0 {
		t.Errorf("%d runs of the small tenant were not started with nine tokens", n)
	}
	q.check()
}
