package database

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/schedule"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

const (
	// sweepPeriod is the time between two sweeps of a database without workers.
	sweepPeriod = 15 * time.Second
	// rateWindow is the time over which completed runs are counted.
	rateWindow = time.Minute
)

// standIn does for pools without workers what workers do for theirs: it starts the runs that are due, and when the whole
// database has no worker that would, it sweeps and removes old runs. It keeps rule S5: no sweep before this process's own
// contact has been unbroken for the longest heartbeat period of the database.
func (a *actor) standIn(ctx context.Context, db *pgxpool.Pool) error {
	pools, alone := a.unattended()
	for _, pool := range pools {
		_, err := schedule.Tick(ctx, db, pool)
		if err != nil && ctx.Err() != nil {
			return err // the round's time is over: no fault of one row
		}
		a.grumble("start due runs", pool, err)
	}
	now := time.Now()
	if !alone || now.Before(a.sweepDue) || now.Sub(a.contact) < a.snapshot.LongestHeartbeat() {
		return nil
	}
	if err := schema.Sweep(ctx, db); err != nil {
		return err
	}
	more, err := schema.Retire(ctx, db)
	if err == nil && !more {
		a.sweepDue = now.Add(sweepPeriod)
	}
	return err
}

// grumble logs an error about a part of the database's work when it is another one than before. It may be the fault of
// one row: whether the database itself is to blame, the next snapshot tells.
func (a *actor) grumble(what, where string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && a.grumbled[what+where] != text {
		a.log.Error(err, what, "pool", where)
	}
	if a.grumbled[what+where] = text; text == "" {
		delete(a.grumbled, what+where)
	}
}

// unattended lists the pools that no worker serves; alone says that none of the database's pools has one.
func (a *actor) unattended() (pools []string, alone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	alone = true
	for name, p := range a.snapshot.Pools {
		if p.Workers > 0 {
			alone = false
		} else {
			pools = append(pools, name)
		}
	}
	return pools, alone
}

// rate watches a growing counter.
type rate struct {
	points []point
}

type point struct {
	at    time.Time
	count int64
}

// add notes the counter's value. One that shrinks was reset: the watch begins anew.
func (r *rate) add(at time.Time, count int64) {
	if n := len(r.points); n > 0 && count < r.points[n-1].count {
		r.points = nil
	}
	r.points = append(r.points, point{at, count})
	for len(r.points) > 2 && at.Sub(r.points[1].at) >= rateWindow {
		r.points = r.points[1:]
	}
}

// perMinute is how much the counter grew within the last minute, nil until a minute has been watched.
func (r *rate) perMinute() *int64 {
	if r == nil || len(r.points) < 2 {
		return nil
	}
	first, last := r.points[0], r.points[len(r.points)-1]
	watched := last.at.Sub(first.at)
	if watched < rateWindow {
		return nil
	}
	return new((last.count - first.count) * int64(rateWindow) / int64(watched))
}

// measure notes the counters of a new snapshot. The caller holds mu.
func (a *actor) measure(now time.Time) {
	for name, p := range a.snapshot.Pools {
		if a.rates[name] == nil {
			a.rates[name] = &rate{}
		}
		a.rates[name].add(now, p.Completed)
	}
	for name := range a.rates {
		if _, ok := a.snapshot.Pools[name]; !ok {
			delete(a.rates, name)
		}
	}
}
