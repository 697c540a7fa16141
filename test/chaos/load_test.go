//go:build chaos

package chaos_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/test/chaos/history"
)

// caller starts runs and cancels some, in transactions of its own that stay open for a while and are not always committed,
// until ctx ends.
type caller struct {
	world *world
	rnd   *rand.Rand
	seen  []int64
	// keyed says that a start of the transaction under way has taken its keys or looked at a lane already. Two such starts can
	// meet another transaction that makes them the other way round, and one of them fails: that is for callers to avoid.
	keyed bool
	// tenants is how many there are; 0 is none.
	tenants int
}

func (c *caller) run(ctx context.Context) {
	for ctx.Err() == nil {
		starts, err := c.transaction()
		if err != nil { // faults are all around; whether the commit happened is not known
			_ = wait(ctx, 100)
			continue
		}
		c.world.acknowledged(starts...)
		for _, s := range starts {
			c.seen = append(c.seen, s.Run)
		}
		c.poke()
		_ = wait(ctx, c.rnd.Int64N(120))
	}
}

// transaction starts some runs and perhaps cancels one; without runs it was rolled back as intended.
func (c *caller) transaction() (starts []history.Start, err error) {
	ctx, end := context.WithTimeout(context.Background(), 5*time.Second)
	defer end()
	tx, err := c.world.queue.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	c.keyed = false
	for range 1 + c.rnd.IntN(3) {
		some, err := c.start(ctx, tx)
		if err != nil {
			return nil, err
		}
		starts = append(starts, some...)
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
	return starts, tx.Commit(ctx)
}

// start starts a run, or some of one type in one call.
func (c *caller) start(ctx context.Context, tx pgx.Tx) ([]history.Start, error) {
	wishes := []jobs.StartParams{c.wish()}
	for range c.rnd.IntN(4) {
		if next := c.wish(); next.Type == wishes[0].Type {
			wishes = append(wishes, next)
		}
	}
	begin := jobs.StartMany
	if len(wishes) == 1 {
		begin = func(ctx context.Context, q jobs.Querier, p []jobs.StartParams) ([]jobs.StartResult, error) {
			r, err := jobs.Start(ctx, q, p[0])
			return []jobs.StartResult{r}, err
		}
	}
	results, err := begin(ctx, tx, wishes)
	if err != nil {
		return nil, err
	}
	starts := make([]history.Start, len(results))
	for i, r := range results {
		starts[i] = history.Start{Run: r.RunID}
		if r.Created || wishes[i].DedupeKey == "" { // a run that stands for a dedupe key is not bound to the start's other key
			starts[i].Tenant, starts[i].Key = wishes[i].Tenant, wishes[i].IdempotencyKey
		}
	}
	return starts, nil
}

// poke signals some runs and replays one that has ended, now and then. Refusals are in the nature of it.
func (c *caller) poke() {
	ctx, end := context.WithTimeout(context.Background(), 5*time.Second)
	defer end()
	for range c.rnd.IntN(4) {
		_, _ = c.world.queue.Exec(ctx, "SELECT signal($1, 'go', '1')", c.any())
	}
	if c.one(5) {
		mode := []string{"scratch", "last_step"}[c.rnd.IntN(2)]
		_, _ = c.world.queue.Exec(ctx, "SELECT replay($1, $2)", c.any(), mode)
	}
}

// any is one of the runs seen.
func (c *caller) any() int64 {
	if len(c.seen) == 0 {
		return 0
	}
	return c.seen[c.rnd.IntN(len(c.seen))]
}

// cancel cancels one of the runs seen, now and then.
func (c *caller) cancel(ctx context.Context, tx pgx.Tx) error {
	if !c.one(4) {
		return nil
	}
	_, err := tx.Exec(ctx, "SELECT cancel($1, 'caller', 'changed its mind')", c.any())
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
	c.memory(&t)
	if c.world.endpoint != nil && c.one(5) {
		t.Deaf = false // what is said to an endpoint that nobody waits for is not heard
		p := params(t)
		p.Type = hookType
		c.place(&p)
		return p
	}
	p := params(t)
	if c.one(4) {
		p.Type = newType
	}
	c.place(&p)
	return p
}

// keys are so few that callers meet.
const keys = 6

// admission makes some starts look at what is there already. A refusal rolls the caller's transaction back.
func (c *caller) admission(p *jobs.StartParams) {
	if c.keyed || !c.one(3) {
		return
	}
	c.keyed = true
	switch c.rnd.IntN(8) {
	case 0:
		p.Lane, p.LaneNamespace, p.LaneLimit, p.Collision = "rejects", "chaos", 1, jobs.CollisionReject
	case 1:
		p.Lane, p.LaneNamespace, p.LaneLimit, p.Collision = "replaces", "chaos", 1, jobs.CollisionReplace
	case 2:
		p.DedupeKey, p.DedupeWindow = strconv.Itoa(c.rnd.IntN(3)), time.Second
	case 3:
		p.DedupeKey, p.DedupeWindow = "long", time.Minute
	case 4: // one start takes both in one order
		p.DedupeKey, p.DedupeWindow = strconv.Itoa(c.rnd.IntN(3)), time.Second
		p.IdempotencyKey = p.Type + "/both/" + strconv.Itoa(c.rnd.IntN(keys))
	default:
		p.IdempotencyKey = p.Type + "/" + strconv.Itoa(c.rnd.IntN(keys))
	}
}

// memory gives a task things that the engine remembers between its executions.
func (c *caller) memory(t *task) {
	if c.one(3) {
		t.Steps = 1 + c.rnd.IntN(3)
	}
	if c.one(8) {
		t.Sleep = 20 + c.rnd.Int64N(400)
	}
	if c.one(8) {
		t.Signal = 300 + c.rnd.Int64N(1500)
	}
	if c.one(10) {
		t.Children, t.Close = 1+c.rnd.IntN(3), []string{"", "cancel", "abandon"}[c.rnd.IntN(3)]
	}
}

// place says when, by whom and in which lane a run shall be executed.
func (c *caller) place(p *jobs.StartParams) {
	if c.one(5) {
		p.Pool = slowPool
	}
	if c.one(2) {
		lane := c.rnd.IntN(4)
		p.Lane, p.LaneNamespace, p.LaneLimit = strconv.Itoa(lane), "chaos", 1+lane%2
	}
	c.admission(p)
	if c.tenants > 0 {
		p.Tenant = "t" + strconv.Itoa(c.rnd.IntN(c.tenants))
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
