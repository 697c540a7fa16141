package main

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
)

// named is a system under another name, for a load under other circumstances.
type named struct {
	system
	as string
}

func (n named) name() string { return n.as }

func (n named) command(ctx context.Context, db *database, t task) ([]string, error) {
	return n.system.command(ctx, db, t)
}

// snapshot measures what an old snapshot that somebody holds open costs.
func (b *bench) snapshot(ctx context.Context, name string) error {
	n := b.scaled(150_000)
	held := func(ctx context.Context, db *database) (func(), error) { return holdSnapshot(ctx, db) }
	loads := b.pick([]load{
		{sys: synclineSystem{}, jobs: n, concurrency: 1000},
		{sys: named{synclineSystem{}, "syncline+snapshot"}, jobs: n, concurrency: 1000, before: held, profile: b.profileFile("snapshot")},
		{sys: riverSystem{}, jobs: n, concurrency: 1000},
		{sys: named{riverSystem{}, "river+snapshot"}, jobs: n, concurrency: 1000, before: held},
	})
	if err := alternate(ctx, b.server, b.report, name, b.rounds, loads); err != nil {
		return err
	}
	b.report.table(os.Stderr, name, "syncline")
	b.report.atLeast(name, "with a foreign snapshot held, of the undisturbed rate", b.report.ratio(name, "syncline+snapshot", "syncline"), 0.7)
	return nil
}

// holdSnapshot opens a REPEATABLE READ transaction that sees the database as it is now, until the end.
func holdSnapshot(ctx context.Context, db *database) (func(), error) {
	conn, err := pgx.Connect(ctx, db.SuperuserURI())
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return nil, err
	}
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM pg_class`).Scan(&n); err != nil {
		return nil, err
	}
	return func() { _ = conn.Close(context.WithoutCancel(ctx)) }, nil
}

// later measures what many runs of a higher priority cost that are not due yet.
func (b *bench) later(ctx context.Context, name string) error {
	n := b.scaled(150_000)
	delayed := func(ctx context.Context, db *database) (func(), error) {
		err := db.exec(ctx, `
WITH r AS (
  INSERT INTO syncline.run (id, job_type, pool, root, priority, run_at)
  SELECT id, $1, $2, id, 100, clock_timestamp() + interval '1 day'
  FROM (SELECT nextval('syncline.run_id_seq') AS id FROM generate_series(1, $3::bigint)) AS n
  RETURNING id, pool, job_type, run_at, priority
)
INSERT INTO syncline.scheduled (id, pool, job_type, run_at, priority) SELECT id, pool, job_type, run_at, priority FROM r`,
			ourType, ourPool, b.scaled(200_000))
		if err != nil {
			return nil, err
		}
		return nil, db.settle(ctx)
	}
	loads := []load{
		{sys: synclineSystem{}, jobs: n, concurrency: 1000},
		{sys: named{synclineSystem{}, "syncline+later"}, jobs: n, concurrency: 1000, before: delayed},
	}
	if err := alternate(ctx, b.server, b.report, name, b.rounds, loads); err != nil {
		return err
	}
	b.report.table(os.Stderr, name, "syncline")
	b.report.atLeast(name, "with 200 000 of higher priority that are not due, of the rate without",
		b.report.ratio(name, "syncline+later", "syncline"), 0.9)
	return nil
}

// slots measures handlers that take a tenth of a second, against the rate that their slots allow.
func (b *bench) slots(ctx context.Context, name string) error {
	const concurrency, millis = 200, 100
	l := load{sys: synclineSystem{}, jobs: b.scaled(20_000), concurrency: concurrency, sleepMillis: millis}
	if err := alternate(ctx, b.server, b.report, name, b.rounds, []load{l}); err != nil {
		return err
	}
	b.report.table(os.Stderr, name, "syncline")
	ideal := concurrency * 1000.0 / millis
	rates := b.report.of(name, "syncline", func(m measurement) float64 { return m.Rate })
	b.report.atLeast(name, fmt.Sprintf("of the ideal %.0f a second", ideal), median(rates)/ideal, 0.95)
	return nil
}

// kind is the program of a system's workers, whatever name the load has.
func kind(s system) string {
	if n, ok := s.(named); ok {
		return kind(n.system)
	}
	return s.name()
}
