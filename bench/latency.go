package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// latency measures the time from an enqueue in one process to the start of the handler in another, while both are idle.
// "bare" is what the machine and PostgreSQL take of it.
func (b *bench) latency(ctx context.Context, name string) error {
	systems := b.pick([]load{
		{sys: synclineSystem{}, concurrency: 10}, {sys: riverSystem{}, concurrency: 10},
		{sys: graphileSystem{b.peers}, concurrency: 10}, {sys: bareSystem{}, concurrency: 10},
	})
	for round := range b.rounds {
		for i := range systems {
			l := systems[(i+round)%len(systems)]
			if err := b.oneLatency(ctx, name, l); err != nil {
				return fmt.Errorf("%s, %s: %w", name, l.sys.name(), err)
			}
		}
	}
	b.report.list(os.Stderr, name, "river p50")
	b.report.atMost(name, "median against River's", b.report.middle(name, "syncline p50")/b.report.middle(name, "river p50"), 0.8)
	b.report.atMost(name, "p99 against River's", b.report.middle(name, "syncline p99")/b.report.middle(name, "river p99"), 1)
	return nil
}

const (
	// latencyJobs are enqueued one by one, latencyEvery apart: nobody is busy.
	latencyJobs  = 200
	latencyEvery = 50 * time.Millisecond
)

func (b *bench) oneLatency(ctx context.Context, name string, l load) error {
	ctx, end := context.WithTimeout(ctx, loadTimeout)
	defer end()
	db, err := b.server.newDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.drop(context.WithoutCancel(ctx)) }()
	if err := l.sys.setUp(ctx, db); err != nil {
		return err
	}
	const warm = 20
	t := task{System: l.sys.name(), URI: db.URI, Count: warm + latencyJobs, Concurrency: l.concurrency, Latency: true}
	argv, err := l.sys.command(ctx, db, t)
	if err != nil {
		return err
	}
	worker, err := startChild(ctx, t, argv)
	if err != nil {
		return err
	}
	defer func() { _, _ = worker.stop() }()
	if err := enqueueSlowly(ctx, db, l.sys, warm+latencyJobs); err != nil {
		return err
	}
	last, err := worker.await(ctx, "last")
	if err != nil {
		return err
	}
	measured := slices.Sorted(slices.Values(last.Latencies[warm:]))
	at := func(q float64) float64 { return float64(measured[int(q*float64(len(measured)-1))]) / 1e6 }
	b.report.figure(name, l.sys.name()+" p50", "ms", at(0.5))
	b.report.figure(name, l.sys.name()+" p99", "ms", at(0.99))
	return nil
}

func enqueueSlowly(ctx context.Context, db *database, sys system, n int) error {
	conn, err := pgx.Connect(ctx, db.URI)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	tick := time.NewTicker(latencyEvery)
	defer tick.Stop()
	for range n {
		<-tick.C
		if err := sys.enqueueOne(ctx, conn, time.Now().UnixNano()); err != nil {
			return err
		}
	}
	return nil
}
