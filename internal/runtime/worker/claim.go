package worker

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// claimer is the one loop that claims, reconciles and promotes.
//
// A claim and a reconcile of one process are never under way together: a reconcile could not tell a claim whose reply is
// still on its way from one that nobody knows of.
type claimer struct {
	store     Store
	pool      string
	build     string
	life      *life
	tuning    *tuning
	serving   *serving
	ledger    *ledger
	present   func() *jobs.Incarnation
	handOut   func(inc *jobs.Incarnation, flights []*flight)
	leaseLost func() // the database says that the incarnation has no lease
	log       *slog.Logger
	metrics   *telemetry.Worker

	givenUp context.Context // ends when a drain waits no longer for a claim
	giveUp  context.CancelFunc

	turn    turn // of a claim with its hand-out, or of a reconcile
	poke    signal
	woken   atomic.Bool
	unsure  atomic.Bool // a reconcile is due
	stopped atomic.Bool

	mu       sync.Mutex
	nextLook time.Time // when to promote and claim without being woken

	enough    atomic.Int64 // the number of running handlers at which a waiting loop looks again
	more      bool         // there may be due runs; run owns it
	starved   bool         // the last look ended for want of slots; run owns it
	busy      bool         // the last claim came back full; run owns it
	freeSince time.Time    // since when free slots gather; run owns it
	shown     shown        // the job types that the worker's row names; run owns it
	refused   int          // claims in a row that a limit left empty, each when it was due; run owns it
	askAt     time.Time    // when to ask again what a limit has cut, zero without one; run owns it
	trouble   outage
}

// wake makes the loop look for due runs.
func (c *claimer) wake() {
	c.woken.Store(true)
	c.poke.set()
}

// freed tells the loop that a handler has stopped and how many run now. While the loop waits it looks only when that is
// few enough to claim: a look for every slot would cost more than the runs.
func (c *claimer) freed(running int) {
	if int64(running) <= c.enough.Load() {
		c.poke.set()
	}
}

// reconcileSoon makes the loop compare the database's receipts with what is held, before the next claim.
func (c *claimer) reconcileSoon() {
	c.unsure.Store(true)
	c.poke.set()
}

// dueIn makes the loop look again after d, or earlier.
func (c *claimer) dueIn(d time.Duration) {
	at := time.Now().Add(d)
	c.mu.Lock()
	earlier := at.Before(c.nextLook)
	if earlier {
		c.nextLook = at
	}
	c.mu.Unlock()
	if earlier {
		c.poke.set()
	}
}

// stop ends claiming. When it returns, no claim is under way and what the last one brought has been given back; a claim
// that has no answer when ctx ends is given up.
func (c *claimer) stop(ctx context.Context) {
	c.stopped.Store(true)
	defer context.AfterFunc(ctx, c.giveUp)()
	c.turn.take()
	defer c.turn.leave()
}

// run loops until ctx ends. After stop it only reconciles.
func (c *claimer) run(ctx context.Context) {
	for {
		_, changed := c.tuning.get()
		c.enough.Store(math.MaxInt64)
		t := time.NewTimer(c.once(ctx))
		c.rest()
		select {
		case <-t.C:
		case <-c.poke:
		case <-changed:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// rest says how many handlers must have stopped for the loop to look again. Slots that were freed before it said so are
// looked at now.
func (c *claimer) rest() {
	switch pool, _ := c.tuning.current(); {
	case !c.more, !c.askAt.IsZero(): // what a limit counts is settled, not stopped
		c.enough.Store(-1)
	case c.starved:
		c.enough.Store(int64(c.load(pool.Concurrency).enough(c.busy)))
		if now := c.load(pool.Concurrency); now.ask(c.busy, 0) > 0 || now.free() > 0 && c.freeSince.IsZero() {
			c.poke.set()
		}
	}
}

func (c *claimer) load(concurrency int) load {
	running, unsettled := c.ledger.load()
	return load{concurrency: concurrency, running: running, unsettled: unsettled}
}

// once does what is due and says how long nothing else will be.
func (c *claimer) once(ctx context.Context) time.Duration {
	pool, _ := c.tuning.current()
	c.starved = false
	if c.unsure.Swap(false) && !c.reconcile(ctx) {
		return jitter(pool.Poll())
	}
	if c.stopped.Load() {
		return pool.Poll()
	}
	c.show(ctx)
	c.look(ctx, pool.Poll())
	if c.woken.Swap(false) {
		c.more = true
	}
	for c.more && !pool.Hold && !c.stopped.Load() && !c.unsure.Load() {
		n, gather := c.ask(pool.Concurrency)
		c.starved = n == 0
		if c.starved {
			return min(gather, c.untilLook())
		}
		if pause := c.claim(ctx, n, pool.Poll()); pause > 0 {
			return min(pause, c.untilLook())
		}
	}
	return c.untilLook()
}

// shown is what the row of an incarnation was last made to say.
type shown struct {
	worker int64
	types  []string
}

// show has the incarnation claim what is served now, before the next claim. When its row could not be changed, which is
// for those who look at it, the next look tries again.
func (c *claimer) show(ctx context.Context) {
	inc, types := c.present(), c.serving.list()
	if c.shown.worker != inc.ID {
		c.shown = shown{inc.ID, inc.Types} // as it was registered
	}
	if slices.Equal(c.shown.types, types) || !c.life.acts(inc.ID, time.Now()) {
		return
	}
	short, end := c.bounded(ctx)
	defer end()
	if err := c.store.Serve(short, inc, types, c.build); err != nil {
		c.trouble.failed(ctx, c.log, err)
	} else {
		c.shown.types = types
		c.log.InfoContext(ctx, "job types served", slog.Any("types", types))
	}
	c.more = true
}

// look promotes what has become due when it is time to, and plans the next look: at the nearest due time, at the
// latest after poll.
func (c *claimer) look(ctx context.Context, poll time.Duration) {
	c.mu.Lock()
	due := !time.Now().Before(c.nextLook)
	if due {
		c.nextLook = time.Now().Add(jitter(poll))
	}
	c.mu.Unlock()
	if !due {
		return
	}
	c.more = true
	short, end := c.bounded(ctx)
	defer end()
	moved, next, err := c.store.Promote(short, c.pool)
	if err != nil {
		c.trouble.failed(ctx, c.log, err)
		return
	}
	// Due but not moved: somebody's transaction holds the row. The timer looks again.
	if next > 0 || next == 0 && moved > 0 {
		c.dueIn(next)
	}
}

// ask is the number of runs to claim now. When it is 0 because freed slots shall gather, gather is the time until they
// are claimed however few there are.
func (c *claimer) ask(concurrency int) (n int, gather time.Duration) {
	l := c.load(concurrency)
	if l.free() == 0 {
		c.freeSince = time.Time{}
		return 0, forever
	}
	if c.freeSince.IsZero() {
		c.freeSince = time.Now()
	}
	waited := time.Since(c.freeSince)
	if n = l.ask(c.busy, waited); n == 0 {
		return 0, gatherTime - waited
	}
	c.freeSince = time.Time{}
	return n, forever
}

// forever is a wait that something else ends.
const forever = time.Duration(math.MaxInt64)

// untilLook is the time until the next look.
func (c *claimer) untilLook() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(c.nextLook)
}

// claim claims up to n runs and hands them out. When there is no use in going on at once, it says how long nothing else
// will be.
func (c *claimer) claim(ctx context.Context, n int, poll time.Duration) (pause time.Duration) {
	c.turn.take()
	defer c.turn.leave()
	inc := c.present()
	if c.stopped.Load() || !c.life.acts(inc.ID, time.Now()) {
		return forever
	}
	short, end := c.bounded(ctx)
	defer context.AfterFunc(c.givenUp, end)()
	claims, again, err := c.store.Claim(short, inc, n)
	end()
	if err != nil {
		c.claimFailed(ctx, err)
		return forever
	}
	c.trouble.over(ctx, c.log)
	c.busy = len(claims) == n
	c.more = c.busy || again > 0
	c.metrics.Claims.WithLabelValues(claimResult(len(claims), n, again)).Inc()
	c.dispatch(ctx, inc, claims)
	return c.held(len(claims), again, poll)
}

// held is how long a limit of the pool makes the next claim wait, 0 when none does. A run that ends here makes it come
// earlier. While others get what the limit allows, the wait grows up to a second, but not beyond the poll period unless
// the limit itself says so: a crowd of workers must not ask all the time for what one of them gets.
func (c *claimer) held(got int, again, poll time.Duration) time.Duration {
	now := time.Now()
	switch {
	case got > 0 || again == 0:
		c.refused = 0
	case !now.Before(c.askAt): // an earlier question was none of the crowd's
		c.refused = min(c.refused+1, 10)
	}
	c.askAt = time.Time{}
	if again == 0 {
		return 0
	}
	wait := max(again, min(again<<c.refused/2, poll, time.Second))
	wait += rand.N(wait/4 + 1)
	c.askAt = now.Add(wait)
	return wait
}

// claimFailed handles a claim that may or may not have claimed. Its connection is closed, so no reply comes any more;
// the reconcile finds out. A lease that is gone or expired claimed nothing: the next beat decides.
func (c *claimer) claimFailed(ctx context.Context, err error) {
	c.metrics.Claims.WithLabelValues("error").Inc()
	c.trouble.failed(ctx, c.log, err)
	if errors.Is(err, jobs.ErrLeaseLost) {
		c.leaseLost()
		return
	}
	c.unsure.Store(true)
}

func claimResult(got, asked int, again time.Duration) string {
	switch {
	case got == asked:
		return "full"
	case again > 0:
		return "limited"
	case got == 0:
		return "empty"
	}
	return "partial"
}

// dispatch hands out what a committed claim brought, unless the process may no longer act as the incarnation that
// claimed, or drains. It looks once the claims are held: a fence or a drain that comes after the look reaches them.
func (c *claimer) dispatch(ctx context.Context, inc *jobs.Incarnation, claims []*jobs.Claim) {
	if len(claims) == 0 {
		return
	}
	flights := c.ledger.add(claims)
	switch {
	case !c.life.acts(inc.ID, time.Now()):
		c.ledger.drop(flights)
		c.log.WarnContext(ctx, "claim came after the lease's deadline, nothing is handed out", slog.Int("runs", len(claims)))
		inc.Forget(claims...)
		c.unsure.Store(true)
	case c.stopped.Load():
		c.ledger.drop(flights)
		c.giveBack(ctx, inc, claims)
	default:
		c.handOut(inc, flights)
		c.metrics.Claimed.Add(float64(len(claims)))
	}
}

// giveBack returns what was claimed but never handed out. What is not confirmed is for reconciles.
func (c *claimer) giveBack(ctx context.Context, inc *jobs.Incarnation, claims []*jobs.Claim) {
	short, end := c.bounded(ctx)
	defer end()
	defer context.AfterFunc(c.givenUp, end)()
	results, err := c.store.GiveBack(short, inc, claims...)
	if err != nil {
		c.trouble.failed(ctx, c.log, err)
	}
	if err != nil || slices.Contains(results, jobs.Busy) {
		inc.Forget(claims...)
		c.unsure.Store(true)
	}
}

// reconcile gives back what the database thinks is claimed here and is not held; false when it could not ask.
func (c *claimer) reconcile(ctx context.Context) bool {
	c.turn.take()
	defer c.turn.leave()
	short, end := c.bounded(ctx)
	defer end()
	c.metrics.Reconciles.Inc()
	n, err := c.store.Reconcile(short, c.present(), c.ledger.held())
	if errors.Is(err, jobs.ErrLeaseLost) { // whatever the incarnation held is not its own any more
		c.leaseLost()
		return true
	}
	if err != nil {
		c.trouble.failed(ctx, c.log, err)
		c.unsure.Store(true)
		return false
	}
	if n > 0 {
		c.log.InfoContext(ctx, "gave back runs that were claimed but never handed out", slog.Int("runs", n))
		c.woken.Store(true)
	}
	return true
}

// bounded limits one statement: to a third of the lease, so that a connection that fell silent costs no lease, and to ten
// seconds. A statement that is given up closes its connection.
func (c *claimer) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, statementTimeout(c.tuning))
}

func statementTimeout(t *tuning) time.Duration {
	pool, _ := t.current()
	return min(pool.Lease()/3, 10*time.Second)
}

// turn is held by one at a time. It is a channel and not a mutex, because it is held as long as a statement takes.
type turn chan struct{}

func newTurn() turn   { return make(turn, 1) }
func (t turn) take()  { t <- struct{}{} }
func (t turn) leave() { <-t }
