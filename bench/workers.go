package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

// fleet is the number of workers of the case "workers".
const fleet = 10

// workers measures ten worker processes on one pool: how much a claim takes and who waits for whom.
func (b *bench) workers(ctx context.Context, name string) error {
	for range b.rounds {
		if err := b.oneFleet(ctx, name, b.scaled(100_000)); err != nil {
			return err
		}
	}
	b.report.list(os.Stderr, name, "rate")
	return nil
}

func (b *bench) oneFleet(ctx context.Context, name string, n int) error {
	ctx, end := context.WithTimeout(ctx, loadTimeout)
	defer end()
	db, err := b.server.newDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.drop(context.WithoutCancel(ctx)) }()
	sys := synclineSystem{}
	if err := sys.setUp(ctx, db); err != nil {
		return err
	}
	if err := sys.enqueue(ctx, db, n); err != nil {
		return err
	}
	if err := db.settle(ctx); err != nil {
		return err
	}
	t := task{System: sys.name(), URI: db.URI, Concurrency: 100}
	argv, err := sys.command(ctx, db, t)
	if err != nil {
		return err
	}
	began := time.Now()
	for range fleet {
		w, err := startChild(ctx, t, argv)
		if err != nil {
			return err
		}
		defer func() { _, _ = w.stop() }()
	}
	samples, waits, err := watchLocks(ctx, db, sys.settledSQL())
	if err != nil {
		return err
	}
	took := time.Since(began)
	claims, err := query[float64](ctx, db, `SELECT last_value::float8 FROM syncline.receipt_id_seq`)
	if err != nil {
		return err
	}
	b.report.figure(name, "rate", "runs/s", float64(n)/took.Seconds())
	b.report.figure(name, "runs a claim", "runs", float64(n)/claims)
	for what, n := range waits {
		b.report.figure(name, "sessions that wait for "+what, "of those busy", float64(n)/float64(max(1, samples)))
	}
	return nil
}

// watchLocks samples what busy sessions wait for until nothing is left to do.
func watchLocks(ctx context.Context, db *database, settled string) (busy int, waits map[string]int, err error) {
	const look = `
SELECT coalesce(wait_event_type, '') = 'Lock', coalesce(wait_event, 'nothing')
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'`
	waits = map[string]int{"lock: extend": 0, "lock: transactionid": 0, "lock: tuple": 0}
	for {
		rows, err := db.admin.Query(ctx, look)
		if err != nil {
			return 0, nil, fmt.Errorf("look at sessions: %w", err)
		}
		var lock bool
		var event string
		_, err = pgx.ForEachRow(rows, []any{&lock, &event}, func() error {
			busy++
			if lock {
				waits["lock: "+event]++
			}
			return nil
		})
		if err != nil {
			return 0, nil, fmt.Errorf("look at sessions: %w", err)
		}
		done, err := query[bool](ctx, db, settled+` AND NOT EXISTS (SELECT FROM syncline.ready)`)
		if err != nil || done {
			return busy, waits, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
	}
}
