package main

import (
	"context"
	"fmt"
	"time"
)

// load is one measured run of one system over jobs that stand in the queue already.
type load struct {
	sys         system
	jobs        int
	concurrency int
	sleepMillis int
	// before runs after the jobs stand there and before the worker starts; its result, when not nil, after the end.
	before func(ctx context.Context, db *database) (func(), error)
	// profile is the file for the worker's processor profile; empty is none.
	profile string
}

// loadTimeout bounds one load.
const loadTimeout = 5 * time.Minute

// run measures one load in a database of its own.
func (l load) run(ctx context.Context, s *server) (m measurement, err error) {
	ctx, end := context.WithTimeout(ctx, loadTimeout)
	defer end()
	db, err := s.newDatabase(ctx)
	if err != nil {
		return m, err
	}
	defer func() { _ = db.drop(context.WithoutCancel(ctx)) }()
	if err := l.sys.setUp(ctx, db); err != nil {
		return m, fmt.Errorf("set up %s: %w", l.sys.name(), err)
	}
	if err := l.sys.enqueue(ctx, db, l.jobs); err != nil {
		return m, fmt.Errorf("enqueue for %s: %w", l.sys.name(), err)
	}
	if err := db.settle(ctx); err != nil {
		return m, err
	}
	if l.before != nil {
		after, err := l.before(ctx, db)
		if err != nil {
			return m, err
		}
		if after != nil {
			defer after()
		}
	}
	return l.measure(ctx, db)
}

// measure starts a worker and measures from its first job to the last result that the database has.
func (l load) measure(ctx context.Context, db *database) (m measurement, err error) {
	t := task{
		System: kind(l.sys), URI: db.URI, Count: int64(l.jobs), Concurrency: l.concurrency, SleepMillis: l.sleepMillis, Profile: l.profile,
	}
	argv, err := l.sys.command(ctx, db, t)
	if err != nil {
		return m, err
	}
	worker, err := startChild(ctx, t, argv)
	if err != nil {
		return m, err
	}
	defer func() { _, _ = worker.stop() }()
	first, err := worker.await(ctx, "first")
	if err != nil {
		return m, err
	}
	server0, client0, began := db.server.cpu(), worker.cpu(), time.Unix(0, first.At)
	wal0, err := db.wal(ctx)
	if err != nil {
		return m, err
	}
	if _, err := worker.await(ctx, "last"); err != nil {
		return m, err
	}
	if err := l.awaitSettled(ctx, db); err != nil {
		return m, err
	}
	took := time.Since(began)
	server1, client1 := db.server.cpu(), worker.cpu()
	wal1, err := db.wal(ctx)
	if err != nil {
		return m, err
	}
	kept, err := query[int](ctx, db, l.sys.keptSQL())
	per := float64(l.jobs)
	return measurement{
		System: l.sys.name(), Jobs: l.jobs, Kept: kept, Seconds: took.Seconds(), Rate: per / took.Seconds(),
		ServerMicros: float64((server1 - server0).Microseconds()) / per,
		ClientMicros: float64((client1 - client0).Microseconds()) / per,
		WALBytes:     float64(wal1-wal0) / per,
	}, err
}

// awaitSettled waits until the database has every result.
func (l load) awaitSettled(ctx context.Context, db *database) error {
	for {
		done, err := query[bool](ctx, db, l.sys.settledSQL())
		if err != nil || done {
			return err
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for the last results of %s: %w", l.sys.name(), ctx.Err())
		}
	}
}

// alternate runs every load in turn, rounds times, each round beginning with another one.
func alternate(ctx context.Context, s *server, r *report, name string, rounds int, loads []load) error {
	for round := range rounds {
		for i := range loads {
			l := loads[(i+round)%len(loads)]
			m, err := l.run(ctx, s)
			if err != nil {
				return fmt.Errorf("%s, round %d, %s: %w", name, round+1, l.sys.name(), err)
			}
			m.Case, m.Round = name, round+1
			r.add(m)
		}
	}
	return nil
}
