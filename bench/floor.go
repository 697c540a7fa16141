package main

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// floorSystem is the bare-SQL floor: one connection that claims and settles in turn by the same two statements, and does
// nothing else. The difference to Syncline is what a worker costs.
type floorSystem struct{ synclineSystem }

func (floorSystem) name() string { return "floor" }

const (
	floorClaimSQL  = `SELECT array_agg(run), array_agg(token), max(receipt) FROM syncline.claim($1, $2, $3, $4) WHERE run <> 0`
	floorSettleSQL = `SELECT run, token, result FROM syncline.settle($1, $2, $3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, $4, false)`
)

// runFloor is the loop.
func runFloor(ctx context.Context, t task) error {
	pool, err := schema.Connect(ctx, func() (string, error) { return t.URI, nil }, ourSchema, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	inc, err := jobs.NewStore(pool).Register(ctx, jobs.WorkerInfo{Pool: ourPool, Types: []string{ourType}})
	if err != nil {
		return err
	}
	h := newHandler(t)
	for h.handled.Load() < t.Count {
		if err := floorBatch(ctx, pool, inc, h); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

func floorBatch(ctx context.Context, pool *pgxpool.Pool, inc *jobs.Incarnation, h *handler) error {
	var runs, tokens []int64
	var receipt int64
	err := pool.QueryRow(ctx, floorClaimSQL, inc.ID, ourPool, inc.Types, h.task.Concurrency).Scan(&runs, &tokens, &receipt)
	if err != nil {
		return err
	}
	for range runs {
		h.handle(nil)
	}
	_, err = pool.Exec(ctx, floorSettleSQL, inc.ID, runs, tokens, []int64{receipt})
	return err
}
