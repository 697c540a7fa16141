package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// phase is how long baseline, stress and recovery each last.
const phase = 8 * time.Second

// pressed is a queue under a steady stream of starts, with workers that could do more.
type pressed struct {
	*database
	bench   *bench
	name    string
	task    task
	argv    []string
	rate    atomic.Int64 // starts a second
	started atomic.Int64
	mu      sync.Mutex
	workers []*child
}

// hardship makes life hard until ctx ends. What it returns ends it in any case.
type hardship struct {
	name    string // of the case, behind "pressure-"
	what    string
	workers int
	sleep   int   // milliseconds that a run takes
	slots   int   // runs at once in a worker
	rate    int64 // starts a second
	down    bool  // the database is away for a part of it: no rate is asked for
	strike  func(ctx context.Context, p *pressed) error
}

// asCase makes a hardship a case of its own.
func (h hardship) asCase() benchCase {
	return benchCase{"pressure-" + h.name, func(b *bench, ctx context.Context, name string) error { return b.press(ctx, name, h) }}
}

func hardships() []hardship {
	return []hardship{
		{name: "xid", what: "transaction with an xid left idle", workers: 1, slots: 100, rate: 1000, strike: idleXID},
		{name: "scanners", what: "four REPEATABLE READ scanners", workers: 1, slots: 100, rate: 1000, strike: scanners},
		{name: "overload", what: "1.5 times what the workers can do", workers: 1, slots: 40, sleep: 200, rate: 60, strike: overload},
		{name: "burst", what: "45 minutes' work at once", workers: 1, slots: 1000, rate: 20, strike: burst},
		{name: "connections", what: "all spare connections taken", workers: 1, slots: 100, rate: 1000, strike: takeConnections},
		{name: "terminate", what: "backends terminated", workers: 1, slots: 100, rate: 1000, strike: terminate},
		{name: "kill", what: "one of two workers killed again and again", workers: 2, slots: 100, rate: 1000, strike: killWorkers},
		{name: "restart", what: "PostgreSQL stopped and started", workers: 1, slots: 100, rate: 1000, down: true, strike: restart},
	}
}

// press measures one hardship: the rate of completed runs before, meanwhile and after, and what is lost.
func (b *bench) press(ctx context.Context, name string, h hardship) error {
	ctx, end := context.WithTimeout(ctx, loadTimeout)
	defer end()
	p, err := b.prepare(ctx, name, h)
	if err != nil {
		return err
	}
	defer func() { _ = p.drop(context.WithoutCancel(ctx)) }()
	streaming, stopStream := context.WithCancel(ctx)
	defer stopStream()
	streamed := make(chan struct{})
	go func() { defer close(streamed); p.stream(streaming) }()
	for range h.workers {
		if err := p.addWorker(ctx); err != nil {
			return err
		}
	}
	if err := p.wait(ctx, 2*time.Second); err != nil { // until everybody is warm
		return err
	}
	base, err := p.measure(ctx, nil)
	if err != nil {
		return err
	}
	stress, err := p.measure(ctx, h.strike)
	if err != nil {
		return err
	}
	p.rate.Store(h.rate)
	recovered, err := p.catchUp(ctx)
	if err != nil {
		return err
	}
	after, err := p.measure(ctx, nil)
	if err != nil {
		return err
	}
	stopStream()
	<-streamed
	return p.conclude(ctx, h, base, stress, after, recovered)
}

func (b *bench) prepare(ctx context.Context, name string, h hardship) (*pressed, error) {
	db, err := b.server.newDatabase(ctx)
	if err != nil {
		return nil, err
	}
	sys := synclineSystem{}
	if err := sys.setUp(ctx, db); err != nil {
		return nil, err
	}
	tuning := spec.DefaultPool()
	tuning.Concurrency, tuning.LeaseMillis, tuning.HeartbeatMillis, tuning.SweepMillis = h.slots, 3000, 1000, 1000
	p := &pressed{
		database: db, bench: b, name: name, argv: goWorker(),
		task: task{System: sys.name(), URI: db.URI, Concurrency: h.slots, SleepMillis: h.sleep},
	}
	p.rate.Store(h.rate)
	return p, sys.tune(ctx, db, tuning)
}

func (p *pressed) addWorker(ctx context.Context) error {
	w, err := startChild(ctx, p.task, p.argv)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers = append(p.workers, w)
	return nil
}

// stream starts runs at the rate until ctx ends, over a connection that it makes anew when it breaks.
func (p *pressed) stream(ctx context.Context) {
	const step = 50 * time.Millisecond
	var conn *pgx.Conn
	var owed float64
	for range time.Tick(step) {
		if ctx.Err() != nil {
			break
		}
		if conn == nil || conn.IsClosed() {
			if conn, _ = pgx.Connect(ctx, p.SuperuserURI()); conn == nil {
				continue
			}
		}
		owed += float64(p.rate.Load()) * step.Seconds()
		n := int64(owed)
		if n == 0 {
			continue
		}
		if _, err := conn.Exec(ctx, enqueueSQL, ourType, ourPool, n); err == nil {
			_, _ = conn.Exec(ctx, `SELECT syncline.wake(ARRAY[$1])`, ourPool)
			p.started.Add(n)
			owed -= float64(n)
		}
	}
	if conn != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
	}
}

func (p *pressed) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// completed counts completed runs, however long the database is away.
func (p *pressed) completed(ctx context.Context) (int64, error) {
	return persistently(ctx, p, `SELECT count(*) FROM syncline.run WHERE status = 'completed'`)
}

// persistently reads a number over a connection of its own, again and again until it succeeds.
func persistently(ctx context.Context, p *pressed, sql string) (n int64, err error) {
	for {
		conn, err := pgx.Connect(ctx, p.SuperuserURI())
		if err == nil {
			err = conn.QueryRow(ctx, sql).Scan(&n)
			_ = conn.Close(ctx)
		}
		if err == nil {
			return n, nil
		}
		if wait := p.wait(ctx, 50*time.Millisecond); wait != nil {
			return 0, errors.Join(wait, err)
		}
	}
}

// measure is the rate of completed runs over one phase, under a hardship when there is one.
func (p *pressed) measure(ctx context.Context, strike func(context.Context, *pressed) error) (float64, error) {
	before, err := p.completed(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	during, end := context.WithTimeout(ctx, phase)
	defer end()
	if strike != nil {
		if err := strike(during, p); err != nil && during.Err() == nil {
			return 0, err
		}
	}
	<-during.Done()
	after, err := p.completed(ctx)
	return float64(after-before) / time.Since(began).Seconds(), err
}

// catchUp waits until what has piled up is done and says how long that took.
func (p *pressed) catchUp(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for {
		due, err := persistently(ctx, p, `SELECT count(*) FROM (SELECT FROM syncline.ready LIMIT 500) AS x`)
		if err != nil || due < 500 {
			return time.Since(began), err
		}
		if err := p.wait(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// conclude lets the workers finish and drain, and judges.
func (p *pressed) conclude(ctx context.Context, h hardship, base, stress, after float64, recovered time.Duration) error {
	for {
		left, err := persistently(ctx, p, `SELECT count(*) FROM syncline.run WHERE status IN ('pending', 'running')`)
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		if err := p.wait(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%d runs are left: %w", left, err)
		}
	}
	var drained time.Duration
	for _, w := range p.workers {
		took, err := w.stop()
		if err != nil {
			return err
		}
		drained = max(drained, took)
	}
	done, err := p.completed(ctx)
	if err != nil {
		return err
	}
	r, name := p.bench.report, p.name
	r.figure(name, "baseline", "runs/s", base)
	r.figure(name, "stress", "runs/s", stress)
	r.figure(name, "recovery", "runs/s", after)
	r.figure(name, "time to catch up", "s", recovered.Seconds())
	r.figure(name, "time to drain", "s", drained.Seconds())
	_, _ = fmt.Fprintf(os.Stderr, "%s\n", h.what)
	r.list(os.Stderr, name, "baseline")
	if !h.down {
		r.atLeast(name, "stress against baseline", stress/base, 0.7)
	}
	r.atLeast(name, "recovery against baseline", after/base, 0.9)
	r.atLeast(name, "completed of the starts that were acknowledged", float64(done)/float64(p.started.Load()), 1)
	r.atMost(name, "seconds to drain", drained.Seconds(), 10)
	return nil
}
