//go:build chaos

package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// strained is a world under load.
type strained struct {
	*world
	a, b *process
	born int
	fed  atomic.Int64
}

// unrecorded takes the recorder away: here the rate counts, and final states.
func (w *world) unrecorded() { w.exec("DROP FUNCTION public.record() CASCADE") }

const feedSQL = `
SELECT count(start('work', $1::jsonb, jsonb_build_object('pool', 'p', 'idempotency_key', $2::text || n)))
FROM generate_series($3::bigint, $4::bigint) AS n`

// feed starts so many runs a second until ctx ends. What may not have arrived is sent again under the same keys.
func (x *strained) feed(ctx context.Context, key string, perSecond int64, takes time.Duration) {
	const ticks = 20
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	for next := int64(0); ctx.Err() == nil; next += perSecond / ticks {
		x.enqueueMany(key, next, perSecond/ticks, takes)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (x *strained) enqueueMany(key string, from, n int64, takes time.Duration) {
	input, err := json.Marshal(task{Acts: 1, Pause: takes.Milliseconds()})
	if err != nil {
		panic(err)
	}
	for {
		_, err := x.queue.Exec(context.Background(), feedSQL, string(input), key, from, from+n-1)
		if err == nil {
			x.fed.Add(n)
			return
		}
		_ = wait(context.Background(), 50)
	}
}

// ask reads a number as soon as there is a database to ask.
func (x *strained) ask(sql string) (n int64) {
	x.must(sql, func() bool { return x.queue.QueryRow(context.Background(), sql).Scan(&n) == nil })
	return n
}

func (x *strained) completed() int64 {
	return x.ask("SELECT count(*) FROM run WHERE status = 'completed'")
}

// waiting is how many runs have not ended.
func (x *strained) waiting() int64 {
	return x.ask("SELECT count(*) FROM run WHERE status IN ('pending', 'running')")
}

// measure counts runs for the length of a phase.
func (x *strained) measure() rate {
	began, completed, fed := machineClock(), x.completed(), x.fed.Load()
	_ = wait(context.Background(), phase.Milliseconds())
	completed, fed = x.completed()-completed, x.fed.Load()-fed
	took := (machineClock() - began).Seconds()
	return rate{completed: float64(completed) / took, offered: float64(fed) / took}
}

// lostNothing wants every run to be there and to complete.
func (x *strained) lostNothing() {
	x.t.Helper()
	x.must("every run has ended", func() bool { return x.waiting() == 0 })
	if there, completed := x.ask("SELECT count(*) FROM run"), x.completed(); there != x.fed.Load() || completed != there {
		x.t.Errorf("%d runs were started, %d are there, %d completed", x.fed.Load(), there, completed)
	}
}

// idle leaves a transaction open that has an id, and so keeps what is dead since from being removed.
func (x *strained) idle(ctx context.Context) {
	x.open(func(tx pgx.Tx) {
		x.in(tx, "SELECT pg_current_xact_id()")
		<-ctx.Done()
	})
}

// scan reads the hot tables from four old snapshots, all the time.
func (x *strained) scan(ctx context.Context) {
	const all = `
SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM ready) + (SELECT count(*) FROM scheduled) + (SELECT count(*) FROM receipt)`
	var scanners sync.WaitGroup
	for range 4 {
		scanners.Go(func() {
			err := pgx.BeginTxFunc(context.Background(), x.db.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "SET LOCAL search_path = "+schemaName); err != nil {
					return err
				}
				for ctx.Err() == nil {
					if _, err := tx.Exec(context.Background(), all); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				x.t.Errorf("scan: %v", err)
			}
		})
	}
	scanners.Wait()
}

// overload feeds half more than both workers can do, and at its end one of them has to drain within its budget.
func (x *strained) overload(ctx context.Context) {
	const capacity = int64(2 * 4 * time.Second / handling)
	x.feed(ctx, "more", capacity*3/2-offered, handling)
	x.a.signal(syscall.SIGTERM)
	if code := x.a.exit(5*time.Second + time.Second + busy); code != 0 {
		x.t.Errorf("a worker that had to drain under pressure ended with %d (-1: not within its budget), want 0", code)
	}
	x.a = x.again("a")
}

// again starts a worker in the place of one that has ended.
func (x *strained) again(name string) *process {
	x.born++
	return x.worker(fmt.Sprintf("%s%d", name, x.born))
}

// burst starts runs that would take one worker with one slot 45 minutes, at once.
func (x *strained) burst(ctx context.Context) {
	const takes = 500 * time.Millisecond
	const portion = 300
	for n := int64(0); n < int64(45*time.Minute/takes); n += portion {
		x.enqueueMany("burst", n, portion, takes)
	}
	<-ctx.Done()
}

// exhaust takes every connection that is to be had.
func (x *strained) exhaust(ctx context.Context) {
	var taken []*pgx.Conn
	for range maxConnections {
		conn, err := pgx.Connect(ctx, x.db.URI)
		if err != nil {
			break
		}
		taken = append(taken, conn)
	}
	<-ctx.Done()
	for _, c := range taken {
		_ = c.Close(context.Background())
	}
}

const terminateWorkers = `
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'syncline-worker/%'`

// storm ends all backends of workers, again and again.
func (x *strained) storm(ctx context.Context) {
	for ctx.Err() == nil {
		err := x.server.admin(context.Background(), func(c *pgx.Conn) error {
			_, err := c.Exec(context.Background(), terminateWorkers, x.db.Name)
			return err
		})
		if err != nil {
			x.t.Errorf("terminate backends: %v", err)
		}
		_ = wait(ctx, 500)
	}
}

// kills ends one worker again and again, as a crash loop does.
func (x *strained) kills(ctx context.Context) {
	for ctx.Err() == nil {
		x.b.signal(syscall.SIGKILL)
		<-x.b.done
		x.b = x.again("b")
		_ = wait(ctx, 1500)
	}
}

// restart stops the server for a while.
func (x *strained) restart(ctx context.Context) {
	if err := x.server.Stop(); err != nil {
		x.t.Errorf("stop the server: %v", err)
	}
	_ = wait(ctx, 2000)
	if err := x.server.Start(context.Background()); err != nil {
		x.t.Errorf("start the server: %v", err)
	}
}
