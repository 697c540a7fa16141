//go:build chaos

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/test/kill/proxy"
)

// fleet keeps a number of workers alive; a worker that has ended is followed by another in its place.
type fleet struct {
	world *world
	rnd   *rand.Rand
	slots *slots
	// family and born name the workers that it starts.
	family string
	born   int
}

// slots are the places of workers. A worker that two faults replace at once is not in a place any more, and works on.
type slots struct {
	mu   sync.Mutex
	all  []*process
	next atomic.Bool // the next release is rolled out
}

func (s *slots) get(i int) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[i]
}

func (s *slots) set(i int, p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[i] = p
}

// newFleet is three workers of the pool of most runs, the first an old one, and one of the slow pool.
func newFleet(w *world, rnd *rand.Rand) *fleet {
	f := &fleet{world: w, rnd: rnd, slots: &slots{}, family: "w"}
	for i := range slowSlot + 1 {
		f.slots.all = append(f.slots.all, f.next(i, i == 0))
	}
	return f
}

// slowSlot is the place of the slow pool's worker.
const slowSlot = 3

// next starts a worker for a place, of the release that is rolled out, with a wall clock that is wrong by hours; an old
// one knows fewer job types.
func (f *fleet) next(place int, old bool) *process {
	f.born++
	return f.world.launch(fmt.Sprintf("%s%d", f.family, f.born), func(s *settings) {
		f.world.breaks(s)
		s.Clock = time.Duration(f.millis(-10*3600, 10*3600)) * time.Second
		if f.slots.next.Load() {
			s.Build = nextRelease
		}
		if place == slowSlot {
			s.Pool = slowPool
		}
		if old {
			s.Types = []string{oldType}
		}
	})
}

// refill replaces workers that have ended. Each pool always has one among them that knows all types.
func (f *fleet) refill() {
	for i := range f.slots.all {
		if !f.slots.get(i).lives() {
			f.slots.set(i, f.next(i, i == 0 && f.rnd.IntN(2) == 0))
		}
	}
}

func (f *fleet) any() *process { return f.slots.get(f.rnd.IntN(len(f.slots.all))) }

func (f *fleet) millis(from, to int64) int64 { return from + f.rnd.Int64N(to-from) }

// fault is something that befalls the world, to its end.
type fault struct {
	name string
	do   func(*fleet, context.Context)
}

// processFaults befall one worker at a time.
var processFaults = []fault{
	{"SIGKILL", (*fleet).kill},
	{"SIGSTOP past the lease", func(f *fleet, ctx context.Context) {
		f.freeze(ctx, f.millis(lease.Milliseconds()+200, 2*lease.Milliseconds()))
	}},
	{"SIGSTOP", func(f *fleet, ctx context.Context) { f.freeze(ctx, f.millis(100, lease.Milliseconds())) }},
	{"cut", (*fleet).cut},
	{"half-open", (*fleet).silence},
	{"replies", (*fleet).replies},
	{"rolling restart", (*fleet).roll},
	{"wall clock stepped", (*fleet).step},
}

// serverFaults befall the database and so everybody.
var serverFaults = []fault{
	{"server restarted", func(f *fleet, ctx context.Context) { f.away(ctx, (*pgtest.Instance).Stop) }},
	{"server killed", func(f *fleet, ctx context.Context) { f.away(ctx, (*pgtest.Instance).Kill) }},
	{"backends terminated", (*fleet).terminate},
	{"LISTEN lost", (*fleet).deafen},
	{"connections taken", (*fleet).exhaust},
	{"slow disk", (*fleet).slowDisk},
	{"other tuning", (*fleet).retune},
	{"caller stays", (*fleet).callerStays},
	{"endpoint breaks off", (*fleet).breakOff},
}

func (f *fleet) kill(ctx context.Context) {
	p := f.any()
	f.world.note("SIGKILL %s", p.name)
	p.signal(syscall.SIGKILL)
	<-p.done
	_ = wait(ctx, f.millis(1, 2000))
	f.refill()
}

func (p *process) freeze(ctx context.Context, millis int64) {
	p.world.during(p.name, "SIGSTOP", true, func() {
		p.signal(syscall.SIGSTOP)
		_ = wait(context.WithoutCancel(ctx), millis)
		p.signal(syscall.SIGCONT)
	})
}

func (f *fleet) freeze(ctx context.Context, millis int64) { f.any().freeze(ctx, millis) }

// cut ends a worker's connections and perhaps lets it make no new ones for a while.
func (f *fleet) cut(ctx context.Context) {
	p := f.any()
	f.world.during(p.name, "cut", false, func() {
		p.proxy.Refuse(f.rnd.IntN(2) == 0)
		p.proxy.Cut()
		_ = wait(ctx, f.millis(1, 3500))
		p.proxy.Refuse(false)
	})
}

// silence half-opens a worker's connections: nothing arrives and nothing is closed; what was sent arrives later.
func (f *fleet) silence(ctx context.Context) {
	p := f.any()
	f.world.during(p.name, "half-open", false, func() {
		p.proxy.Silence()
		_ = wait(ctx, f.millis(50, 4500))
		p.proxy.Resume()
		if f.rnd.IntN(2) == 0 {
			p.proxy.Cut()
		}
	})
}

// replies arms faults of single statements: replies lost, loud or silent, and requests and replies that come late.
func (f *fleet) replies(ctx context.Context) {
	statements := []string{
		"FROM claim(", "FROM settle(", "UPDATE worker w", "FROM reconcile(", "commit", "complete(", "FROM sweep(", "FROM step_end(", "FROM wait_for(", "FROM spawn(",
	}
	p := f.any()
	f.world.during(p.name, "replies", false, func() {
		for range 1 + f.rnd.IntN(4) {
			statement, effect := statements[f.rnd.IntN(len(statements))], proxy.Effect(f.rnd.IntN(4))
			f.world.note("%s: effect %d on %q", p.name, effect, statement)
			fault := p.proxy.Arm(statement, effect)
			time.AfterFunc(time.Duration(f.millis(200, 3000))*time.Millisecond, fault.Release)
			_ = wait(ctx, f.millis(50, 600))
		}
	})
}

// roll replaces every worker, one after the other, under load.
func (f *fleet) roll(ctx context.Context) {
	for i := range f.slots.all {
		p := f.slots.get(i)
		f.world.note("SIGTERM %s", p.name)
		p.told.Store(true)
		p.signal(syscall.SIGTERM)
		if f.rnd.IntN(2) == 0 {
			f.slots.set(i, f.next(i, i == 0 && f.rnd.IntN(2) == 0)) // overlapping, as a deployment does
			_ = wait(ctx, f.millis(1, 500))
			continue
		}
		_ = p.exit(10 * time.Second)
		f.slots.set(i, f.next(i, false))
	}
}

// step moves a worker's wall clock by hours, which must not matter.
func (f *fleet) step(context.Context) {
	p := f.any()
	f.world.note("the wall clock of %s is stepped by %v", p.name, p.clock)
	p.signal(stepSignal)
}

func (f *fleet) away(ctx context.Context, end func(*pgtest.Instance) error) {
	f.world.during("", "server away", false, func() {
		if err := end(f.world.server.Instance); err != nil {
			f.world.t.Errorf("end the server: %v", err)
		}
		_ = wait(ctx, f.millis(1, 3500))
		if err := f.world.server.Start(context.WithoutCancel(ctx)); err != nil {
			f.world.t.Errorf("start the server: %v", err)
		}
	})
}

const (
	terminateAll = `
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename <> 'postgres'`
	terminateListeners = `
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'LISTEN%'`
)

// terminated runs a statement as a superuser, whose connections nobody takes.
func (f *fleet) terminated(ctx context.Context, statement string) {
	if err := f.world.server.admin(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, statement, f.world.db.Name)
		return err
	}); err != nil {
		f.world.note("terminate: %v", err)
	}
}

// terminate is a storm: every backend, several times.
func (f *fleet) terminate(ctx context.Context) {
	f.world.during("", "backends terminated", false, func() {
		for range 1 + f.rnd.IntN(6) {
			f.terminated(ctx, terminateAll)
			_ = wait(ctx, f.millis(20, 500))
		}
	})
}

// deafen ends listeners. Nothing but waking may suffer, so it is no fault to the checker.
func (f *fleet) deafen(ctx context.Context) {
	for range 1 + f.rnd.IntN(3) {
		f.world.note("LISTEN lost")
		f.terminated(ctx, terminateListeners)
		_ = wait(ctx, f.millis(50, 500))
	}
}

// exhaust takes every connection that is to be had, and half of the time ends the workers' so that they want new ones.
func (f *fleet) exhaust(ctx context.Context) {
	f.world.during("", "connections taken", false, func() {
		var taken []*pgx.Conn
		defer func() {
			for _, c := range taken {
				_ = c.Close(context.Background())
			}
		}()
		for range maxConnections {
			conn, err := pgx.Connect(ctx, f.world.db.URI)
			if err != nil {
				break
			}
			taken = append(taken, conn)
		}
		if f.rnd.IntN(2) == 0 {
			f.any().proxy.Cut()
		}
		_ = wait(ctx, f.millis(200, 3000))
	})
}

// slowDisk makes the server's writes to its log and its tables take tens of milliseconds each.
func (f *fleet) slowDisk(ctx context.Context) {
	f.world.during("", "slow disk", false, func() {
		f.delayWrites(time.Duration(f.millis(10, 60)) * time.Millisecond)
		_ = wait(ctx, f.millis(500, 3000))
		f.delayWrites(0)
	})
}

func (f *fleet) delayWrites(by time.Duration) {
	if err := f.world.server.host.delayWrites(by); err != nil {
		f.world.t.Errorf("make the disk slow: %v", err)
	}
}

// retune changes concurrency and the lease's length while the workers live. A longer lease is recovered later, so it is a
// fault to the checker as long as it is in force.
func (f *fleet) retune(ctx context.Context) {
	f.world.during("", "other tuning", false, func() {
		f.world.retune(ctx, func(p *spec.Pool) { p.Concurrency, p.LeaseMillis = 2+f.rnd.IntN(10), f.millis(2700, 5000) })
		_ = wait(ctx, f.millis(500, 2000))
		f.world.retune(context.WithoutCancel(ctx), func(*spec.Pool) {})
	})
}

// callerStays cancels a run in a transaction that stays open, and rolls it back or commits it later. Nobody may wait for it.
func (f *fleet) callerStays(ctx context.Context) {
	tx, err := f.world.queue.Begin(ctx)
	if err != nil {
		return
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	const some = "SELECT cancel(id, 'caller', 'stays') FROM (SELECT id FROM run WHERE status IN ('pending', 'running') ORDER BY id DESC LIMIT 3) AS r"
	_, err = tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0")
	if err == nil {
		_, err = tx.Exec(ctx, some)
	}
	f.world.note("a caller stays in its transaction: %v", err)
	_ = wait(ctx, f.millis(500, 4000))
	if f.rnd.IntN(2) == 0 {
		err = tx.Commit(ctx)
	}
	f.world.note("the caller ends its transaction: %v", err)
}
