package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// queue is a database with our schema and a worker's standing in it, for statements one by one.
type queue struct {
	*database
	pool  *pgxpool.Pool
	store *jobs.Store
	inc   *jobs.Incarnation
}

func (b *bench) newQueue(ctx context.Context) (*queue, error) {
	db, err := b.server.newDatabase(ctx)
	if err != nil {
		return nil, err
	}
	if err := (synclineSystem{}).setUp(ctx, db); err != nil {
		return nil, err
	}
	tuning := spec.DefaultPool()
	tuning.LeaseMillis, tuning.HeartbeatMillis = 24*3600*1000, 3600*1000 // nobody beats here
	if err := (synclineSystem{}).tune(ctx, db, tuning); err != nil {
		return nil, err
	}
	q := &queue{database: db}
	if q.pool, err = schema.Connect(ctx, func() (string, error) { return db.URI, nil }, ourSchema, 2); err != nil {
		return nil, err
	}
	q.store = jobs.NewStore(q.pool)
	q.inc, err = q.store.Register(ctx, jobs.WorkerInfo{Pool: ourPool, Types: []string{ourType}})
	return q, err
}

func (q *queue) close(ctx context.Context) {
	q.pool.Close()
	_ = q.drop(context.WithoutCancel(ctx))
}

const (
	claimsMeasured = 40
	claimSize      = 10
)

// timed measures n calls that use a session: the median of the server's processor time, in microseconds. That is what a
// call costs; how long it takes depends on who else is on the machine.
func timed(conn *pgx.Conn, n int, call func() error) (float64, error) {
	var took []float64
	for range n {
		before := precise(conn.PgConn().PID())
		if err := call(); err != nil {
			return 0, err
		}
		took = append(took, float64((precise(conn.PgConn().PID())-before).Nanoseconds())/1000)
	}
	return median(took), nil
}

// claims measures claims from the head.
func (q *queue) claims(ctx context.Context) (float64, error) {
	conn, err := q.pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	return timed(conn.Conn(), claimsMeasured, func() error {
		var n int
		const claim = `SELECT count(*) FROM syncline.claim($1, $2, $3, $4) WHERE run <> 0`
		err := conn.QueryRow(ctx, claim, q.inc.ID, ourPool, q.inc.Types, claimSize).Scan(&n)
		if err == nil && n != claimSize {
			err = fmt.Errorf("claimed %d runs, want %d", n, claimSize)
		}
		return err
	})
}

// beats measures heartbeats, and their WAL in bytes.
func (q *queue) beats(ctx context.Context, number int64) (micros, bytes float64, err error) {
	conn, err := schema.Dial(ctx, func() (string, error) { return q.URI, nil }, ourSchema)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	const n = 100
	before, err := q.wal(ctx)
	if err != nil {
		return 0, 0, err
	}
	micros, err = timed(conn, n, func() error {
		number++
		_, err := q.store.Beat(ctx, conn, q.inc, jobs.BeatParams{Number: number, Lease: 24 * time.Hour, Heartbeat: time.Hour})
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	after, err := q.wal(ctx)
	return micros, float64(after-before) / n, err
}

// sweeps measures sweeps that find nothing.
func (q *queue) sweeps(ctx context.Context) (float64, error) {
	conn, err := q.pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	return timed(conn.Conn(), 10, func() error {
		_, err := jobs.Sweep(ctx, conn)
		return err
	})
}

// cost measures claims, heartbeats and sweeps in a small database and in one that fills up, by turns.
func (b *bench) cost(ctx context.Context, name string) error {
	small, err := b.newQueue(ctx)
	if err != nil {
		return err
	}
	defer small.close(ctx)
	large, err := b.newQueue(ctx)
	if err != nil {
		return err
	}
	defer large.close(ctx)
	if err := b.heartbeats(ctx, name, large); err != nil {
		return err
	}
	const base = "claim, 1k pending"
	stages := b.stages()
	for _, s := range stages {
		if err := s.prepare(ctx, large); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		for range b.rounds {
			for _, x := range []struct {
				what string
				q    *queue
			}{{base, small}, {s.what, large}} {
				if err := fill(ctx, x.q); err != nil {
					return err
				}
				micros, err := x.q.claims(ctx)
				if err != nil {
					return fmt.Errorf("%s: %w", x.what, err)
				}
				b.report.figure(name, x.what, "µs", micros)
			}
		}
	}
	if err := b.sweepCost(ctx, name, small, large); err != nil {
		return err
	}
	b.report.list(os.Stderr, name, base)
	for _, s := range stages {
		b.report.atMost(name, s.what+" against 1k pending", b.report.middle(name, s.what)/b.report.middle(name, base), 2)
	}
	b.report.atMost(name, "heartbeat with 10k in flight against 10", b.report.middle(name, "beat, 10k in flight")/b.report.middle(name, "beat, 10 in flight"), 1.5)
	b.report.atMost(name, "sweep over history against little", b.report.middle(name, "sweep, history")/b.report.middle(name, "sweep, little history"), 2)
	return nil
}

// fill sees to a thousand due runs of the type that is claimed.
func fill(ctx context.Context, q *queue) error {
	due, err := query[int](ctx, q.database, `SELECT count(*) FROM (SELECT FROM syncline.ready WHERE job_type = $1 AND lane IS NULL LIMIT 1000) AS x`, ourType)
	if err != nil || due == 1000 {
		return err
	}
	return (synclineSystem{}).enqueue(ctx, q.database, 1000-due)
}

// stage is how the large database is filled further.
type stage struct {
	what    string
	prepare func(ctx context.Context, q *queue) error
}

func (b *bench) stages() []stage {
	million, history := b.scaled(1_000_000), b.scaled(10_000_000)
	move := func(sqls ...string) func(context.Context, *queue) error {
		return func(ctx context.Context, q *queue) error {
			for _, sql := range sqls {
				if err := q.exec(ctx, sql); err != nil {
					return err
				}
			}
			return q.settle(ctx)
		}
	}
	return []stage{
		{fmt.Sprintf("claim, %s pending", count(million)), func(ctx context.Context, q *queue) error {
			if err := (synclineSystem{}).enqueue(ctx, q.database, million); err != nil {
				return err
			}
			return q.settle(ctx)
		}},
		{fmt.Sprintf("claim, %s of another type", count(million)), move(`UPDATE syncline.ready SET job_type = 'alien'`)},
		{fmt.Sprintf("claim, %s blocked behind one lane", count(million)), move(
			`INSERT INTO syncline.lane (id, namespace, key, max_claims) VALUES (1, 'bench', 'one', 1)`,
			`INSERT INTO syncline.lane_hold (run, lane, token, worker) VALUES (-1, 1, 1, NULL)`,
			`WITH d AS (DELETE FROM syncline.ready WHERE job_type = 'alien' RETURNING id, pool, vstart)
INSERT INTO syncline.blocked (id, lane, pool, job_type, vstart) SELECT id, 1, pool, '`+ourType+`', vstart FROM d`)},
		{fmt.Sprintf("claim, %s completed", count(history)), func(ctx context.Context, q *queue) error {
			return complete(ctx, q, history)
		}},
	}
}

func count(n int) string {
	switch {
	case n >= 1_000_000:
		return fmt.Sprintf("%gM", float64(n)/1e6)
	case n >= 1000:
		return fmt.Sprintf("%gk", float64(n)/1e3)
	}
	return fmt.Sprint(n)
}

// complete writes n runs that have completed.
func complete(ctx context.Context, q *queue, n int) error {
	for _, sql := range []string{
		`UPDATE syncline.run SET status = 'completed', finished_at = now() WHERE id IN (SELECT id FROM syncline.blocked)`,
		`TRUNCATE syncline.blocked`,
	} {
		if err := q.exec(ctx, sql); err != nil {
			return err
		}
	}
	for left := n; left > 0; left -= 500_000 {
		err := q.exec(ctx, `
INSERT INTO syncline.run (id, job_type, pool, root, status, claimed_by, claimed_at, finished_at, claim_token, settled_token, attempts, spare)
SELECT id, $1, $2, id, 'completed', 1, now(), now(), 1, 1, 1, NULL
FROM (SELECT nextval('syncline.run_id_seq') AS id FROM generate_series(1, $3::bigint)) AS n`, ourType, ourPool, min(left, 500_000))
		if err != nil {
			return err
		}
	}
	return q.settle(ctx)
}

// heartbeats measures a beat with few and with many runs in flight.
func (b *bench) heartbeats(ctx context.Context, name string, q *queue) error {
	var claims []*jobs.Claim
	number := int64(1)
	for _, inFlight := range []int{10, 10_000} {
		if err := (synclineSystem{}).enqueue(ctx, q.database, inFlight-len(claims)); err != nil {
			return err
		}
		for len(claims) < inFlight {
			more, _, err := q.store.Claim(ctx, q.inc, min(inFlight-len(claims), 1000))
			if err != nil {
				return err
			}
			claims = append(claims, more...)
		}
		for range b.rounds {
			micros, bytes, err := q.beats(ctx, number)
			if err != nil {
				return err
			}
			number += 100
			b.report.figure(name, fmt.Sprintf("beat, %s in flight", count(inFlight)), "µs", micros)
			b.report.figure(name, fmt.Sprintf("beat, %s in flight, WAL", count(inFlight)), "B", bytes)
		}
	}
	return settleAll(ctx, q, claims)
}

func settleAll(ctx context.Context, q *queue, claims []*jobs.Claim) error {
	var batch []jobs.Settlement
	for _, c := range claims {
		batch = append(batch, jobs.Settlement{Claim: c, Outcome: jobs.Completed, Output: json.RawMessage(`null`)})
	}
	_, err := q.store.Settle(ctx, q.inc, batch)
	return err
}

// sweepCost measures sweeps that find nothing to take over: beside runs in flight, and without and with much history.
func (b *bench) sweepCost(ctx context.Context, name string, small, large *queue) error {
	sweep := func(what string, q *queue) error {
		micros, err := q.sweeps(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		b.report.figure(name, what, "µs", micros)
		return nil
	}
	inFlight, err := query[int](ctx, small.database, `SELECT count(*) FROM syncline.run WHERE status = 'running'`)
	if err != nil {
		return err
	}
	for range b.rounds {
		if err := sweep(fmt.Sprintf("sweep, %s in flight", count(inFlight)), small); err != nil {
			return err
		}
	}
	for _, sql := range []string{
		`UPDATE syncline.run SET status = 'completed', finished_at = now(), settled_token = claim_token WHERE status = 'running'`,
		`DELETE FROM syncline.receipt`,
	} {
		if err := small.exec(ctx, sql); err != nil {
			return err
		}
	}
	if err := small.settle(ctx); err != nil {
		return err
	}
	for range b.rounds {
		if err := errors.Join(sweep("sweep, little history", small), sweep("sweep, history", large)); err != nil {
			return err
		}
	}
	return nil
}

// enqueue measures what a start costs inside a caller's transaction.
func (b *bench) enqueue(ctx context.Context, name string) error {
	q, err := b.newQueue(ctx)
	if err != nil {
		return err
	}
	defer q.close(ctx)
	if err := q.exec(ctx, `CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body jsonb)`); err != nil {
		return err
	}
	quiet := spec.DefaultPool()
	quiet.WakeMode = spec.WakePoll
	raw, err := json.Marshal(quiet)
	if err != nil {
		return err
	}
	if err := q.exec(ctx, `INSERT INTO syncline.pool (name, tuning) VALUES ('quiet', $1)`, string(raw)); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, q.URI)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	const insert = `INSERT INTO orders (body) VALUES ('{"n": 1}')`
	const start = `SELECT syncline.start('noop', '{"n": 1}', '{"pool": "%s"}')`
	ways := []struct{ what, also string }{
		{"bare insert", ""},
		{"with a second bare insert", insert},
		{"with start and wake-up", fmt.Sprintf(start, ourPool)},
		{"with start, no wake-up", fmt.Sprintf(start, "quiet")},
	}
	for range b.rounds {
		for _, w := range ways {
			micros, err := transactions(ctx, conn, insert, w.also)
			if err != nil {
				return fmt.Errorf("%s: %w", w.what, err)
			}
			b.report.figure(name, w.what, "µs", micros)
		}
	}
	b.report.list(os.Stderr, name, "bare insert")
	return nil
}

// transactions measures transactions of one or two statements.
func transactions(ctx context.Context, conn *pgx.Conn, insert, also string) (float64, error) {
	return timed(conn, 300, func() error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, insert); err != nil || also == "" {
				return err
			}
			_, err := tx.Exec(ctx, also)
			return err
		})
	})
}
