package jobs_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

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
