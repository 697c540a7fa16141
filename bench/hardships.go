package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// idleXID leaves a transaction with an xid open.
func idleXID(ctx context.Context, p *pressed) error {
	conn, err := pgx.Connect(ctx, p.SuperuserURI())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `BEGIN; SELECT pg_current_xact_id()`); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// scanners read the hot tables in snapshots that they hold.
func scanners(ctx context.Context, p *pressed) error {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			conn, err := pgx.Connect(ctx, p.SuperuserURI())
			if err != nil {
				return
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for ctx.Err() == nil {
				_, _ = conn.Exec(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM syncline.run; SELECT count(*) FROM syncline.ready; SELECT count(*) FROM syncline.receipt;
SELECT pg_sleep(0.5); COMMIT`)
			}
		})
	}
	all.Wait()
	return nil
}

// overload starts half as many runs again as the workers have time for.
func overload(ctx context.Context, p *pressed) error {
	capacity := int64(p.task.Concurrency * 1000 / p.task.SleepMillis)
	p.rate.Store(capacity * 3 / 2)
	<-ctx.Done()
	return nil
}

// burst starts what would come in 45 minutes.
func burst(ctx context.Context, p *pressed) error {
	n := p.rate.Load() * 45 * 60
	ctx = context.WithoutCancel(ctx) // the phase lasts until they are there, if that takes longer
	if err := p.exec(ctx, enqueueSQL, ourType, ourPool, n); err != nil {
		return err
	}
	p.started.Add(n)
	return p.exec(ctx, `SELECT syncline.wake(ARRAY[$1])`, ourPool)
}

// takeConnections opens connections until the server has none left.
func takeConnections(ctx context.Context, p *pressed) error {
	var taken []*pgx.Conn
	for {
		conn, err := pgx.Connect(ctx, p.URI)
		if err != nil {
			break
		}
		taken = append(taken, conn)
	}
	<-ctx.Done()
	for _, conn := range taken {
		_ = conn.Close(context.WithoutCancel(ctx))
	}
	return nil
}

// terminate ends one of the workers' sessions, picked at random, four times a second.
func terminate(ctx context.Context, p *pressed) error {
	const sql = `
SELECT pg_terminate_backend(pid)
FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'syncline-worker%' ORDER BY random() LIMIT 1) AS x`
	for ctx.Err() == nil {
		if _, err := p.admin.Exec(ctx, sql); err != nil {
			return err
		}
		if p.wait(ctx, 250*time.Millisecond) != nil {
			break
		}
	}
	return nil
}

// killWorkers kills one of the workers with SIGKILL every second and starts another.
func killWorkers(ctx context.Context, p *pressed) error {
	whole := context.WithoutCancel(ctx)
	for p.wait(ctx, time.Second) == nil {
		p.mu.Lock()
		i := rand.IntN(len(p.workers))
		victim := p.workers[i]
		p.workers = append(p.workers[:i], p.workers[i+1:]...)
		p.mu.Unlock()
		victim.kill()
		if err := p.addWorker(whole); err != nil {
			return err
		}
	}
	return nil
}

// restart stops the server, and starts it two seconds later.
func restart(ctx context.Context, p *pressed) error {
	if err := p.server.Stop(); err != nil {
		return err
	}
	if err := p.wait(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := p.server.Start(ctx); err != nil {
		return err
	}
	return p.server.findPostmaster(ctx)
}
