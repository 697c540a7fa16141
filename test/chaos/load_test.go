//go:build chaos

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// caller starts runs and cancels some, in transactions of its own that stay open for a while and are not always committed,
// until ctx ends.
type caller struct {
	world *world
	rnd   *rand.Rand
	seen  []int64
}

func (c *caller) run(ctx context.Context) {
	for ctx.Err() == nil {
		ids, err := c.transaction()
		if err != nil { // faults are all around; whether the commit happened is not known
			_ = wait(ctx, 100)
			continue
		}
		c.world.acknowledged(ids...)
		c.seen = append(c.seen, ids...)
		_ = wait(ctx, c.rnd.Int64N(120))
	}
}

// transaction starts some runs and perhaps cancels one; without runs it was rolled back as intended.
func (c *caller) transaction() (ids []int64, err error) {
	ctx, end := context.WithTimeout(context.Background(), 5*time.Second)
	defer end()
	tx, err := c.world.queue.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	for range 1 + c.rnd.IntN(5) {
		r, err := jobs.Start(ctx, tx, c.wish())
		if err != nil {
			return nil, err
		}
		ids = append(ids, r.RunID)
	}
	if err := c.cancel(ctx, tx); err != nil {
		return nil, err
	}
	if c.rnd.IntN(8) == 0 {
		_ = wait(ctx, c.rnd.Int64N(600))
	}
	if c.rnd.IntN(12) == 0 {
		return nil, tx.Rollback(ctx)
	}
	return ids, tx.Commit(ctx)
}

// cancel cancels one of the runs seen, now and then.
func (c *caller) cancel(ctx context.Context, tx pgx.Tx) error {
	if len(c.seen) == 0 || c.rnd.IntN(4) > 0 {
		return nil
	}
	_, err := tx.Exec(ctx, "SELECT cancel($1, 'caller', 'changed its mind')", c.seen[c.rnd.IntN(len(c.seen))])
	return err
}

// wish is a run of a random kind.
func (c *caller) wish() jobs.StartParams {
	t := task{Acts: c.rnd.IntN(4), Pause: 5 + c.rnd.Int64N(80)}
	if c.rnd.IntN(10) == 0 {
		t.Pause += 400
	}
	t.Fenced, t.Snooze, t.Complete = c.one(3), c.one(10), c.one(3)
	if c.one(4) {
		t.Fail, t.Panic = 1+c.rnd.IntN(2), c.one(4)
	}
	if t.Complete {
		t.Hold, t.Linger, t.Forget = c.rnd.Int64N(60), c.rnd.Int64N(150), c.one(6)
	}
	t.Deaf = c.one(12)
	p := params(t)
	if c.one(4) {
		p.Type = newType
	}
	c.place(&p)
	return p
}

// place says when and in which lane a run shall be executed.
func (c *caller) place(p *jobs.StartParams) {
	if c.one(2) {
		lane := c.rnd.IntN(4)
		p.Lane, p.LaneNamespace, p.LaneLimit = fmt.Sprint(lane), "chaos", 1+lane%2
	}
	if c.one(5) {
		p.Delay = time.Duration(c.rnd.Int64N(800)) * time.Millisecond
	}
	if c.one(15) {
		p.Deadline = time.Duration(500+c.rnd.Int64N(4000)) * time.Millisecond
	}
	p.Priority = c.rnd.IntN(5) - 2
}

// one is true once in n times.
func (c *caller) one(n int) bool { return c.rnd.IntN(n) == 0 }
