package main

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"
)

// bareSystem is the least that a queue in PostgreSQL can do between an enqueue and the start of a handler: a row and a
// notification in one transaction, and a claim that is committed before the handler starts, each by a statement that does
// nothing else. No leases, no order but the id's. It says how much of a latency belongs to the machine and the server.
type bareSystem struct{}

func (bareSystem) name() string { return "bare" }

func (bareSystem) setUp(ctx context.Context, db *database) error {
	return db.exec(ctx, `
CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, input jsonb NOT NULL, claimed boolean NOT NULL DEFAULT false);
CREATE INDEX ON bare (id) WHERE NOT claimed`)
}

func (bareSystem) enqueue(ctx context.Context, db *database, n int) error {
	return db.exec(ctx, `INSERT INTO bare (input) SELECT '{"at": 0}' FROM generate_series(1, $1::bigint)`, n)
}

func (bareSystem) enqueueOne(ctx context.Context, conn *pgx.Conn, at int64) error {
	in, err := json.Marshal(input{At: at})
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `WITH i AS (INSERT INTO bare (input) VALUES ($1)) SELECT pg_notify('bare', '')`, string(in))
	return err
}

func (bareSystem) settledSQL() string {
	return `SELECT NOT EXISTS (SELECT FROM bare WHERE NOT claimed)`
}

func (bareSystem) keptSQL() string { return `SELECT count(*) FROM bare` }

func (bareSystem) command(context.Context, *database, task) ([]string, error) { return goWorker(), nil }

const bareClaimSQL = `
WITH c AS (SELECT id FROM bare WHERE NOT claimed ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
UPDATE bare SET claimed = true FROM c WHERE c.id = bare.id RETURNING bare.input`

// runBare claims whenever it is notified, on a connection of its own.
func runBare(ctx context.Context, t task) error {
	listener, err := pgx.Connect(ctx, t.URI)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close(context.WithoutCancel(ctx)) }()
	claimer, err := pgx.Connect(ctx, t.URI)
	if err != nil {
		return err
	}
	defer func() { _ = claimer.Close(context.WithoutCancel(ctx)) }()
	if _, err := listener.Exec(ctx, `LISTEN bare`); err != nil {
		return err
	}
	h := newHandler(t)
	for {
		rows, err := claimer.Query(ctx, bareClaimSQL, t.Concurrency)
		if err != nil {
			return err
		}
		inputs, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if err != nil {
			return err
		}
		for _, in := range inputs {
			h.handle(func() int64 { return inputAt(in) })
		}
		if _, err := listener.WaitForNotification(ctx); err != nil {
			if ctx.Err() != nil { // asked to end
				return nil
			}
			return err
		}
	}
}
