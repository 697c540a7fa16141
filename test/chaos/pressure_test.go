//go:build chaos

package chaos_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

const (
	// offered is the load of every pressure, in runs a second, and handling how long each takes.
	offered  = 100
	handling = 50 * time.Millisecond
	// ample is a concurrency with which each of the two workers could do three times what is offered.
	ample = 16
	// phase is how long the rate is measured before, under and after the stress.
	phase = 4 * time.Second
	// bearable is what of the baseline must be left under stress while the database is up; recovered is when it is back.
	bearable, recovered = 0.7, 0.9
)

// pressure is a strain that the engine has to bear, and to recover from by itself.
type pressure struct {
	name string
	// strain lasts until ctx ends.
	strain func(*strained, context.Context)
	// concurrency is each worker's.
	concurrency int
	// away says that the database is away meanwhile, so that nothing is promised until it is back.
	away bool
}

var pressures = []pressure{
	{name: "a transaction with an xid left idle", strain: (*strained).idle, concurrency: ample},
	{name: "four REPEATABLE READ scanners", strain: (*strained).scan, concurrency: ample},
	{name: "1.5 times the load that the workers can do", strain: (*strained).overload, concurrency: 4},
	{name: "a burst of 45 minutes' work", strain: (*strained).burst, concurrency: 150},
	{name: "all spare connections taken", strain: (*strained).exhaust, concurrency: ample},
	{name: "a storm of pg_terminate_backend", strain: (*strained).storm, concurrency: ample},
	{name: "one of two workers killed again and again", strain: (*strained).kills, concurrency: ample},
	{name: "PostgreSQL stopped and started", strain: (*strained).restart, concurrency: ample, away: true},
}

// TestPressure strains the engine in one way after the other and prints what that left of its rate.
func TestPressure(t *testing.T) {
	s := newServer(t, -2*time.Hour)
	for _, p := range pressures {
		t.Run(p.name, func(t *testing.T) { p.apply(t, s) })
	}
}

// apply measures the rate before, under and after the stress.
func (p pressure) apply(t *testing.T, s *server) {
	w := newWorld(t, s)
	w.unrecorded()
	w.tune(func(tuning *spec.Pool) { tuning.Concurrency = p.concurrency })
	x := &strained{world: w, a: w.worker("a"), b: w.worker("b")}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var feeding sync.WaitGroup
	feeding.Go(func() { x.feed(ctx, "base", offered, handling) })
	x.must("the first runs complete", func() bool { return x.completed() > offered })
	r := rates{name: p.name, before: x.measure()}
	stress, endStress := context.WithCancel(ctx)
	var strain sync.WaitGroup
	strain.Go(func() { p.strain(x, stress) })
	if p.away {
		_ = wait(ctx, phase.Milliseconds())
	} else {
		r.under = x.measure()
	}
	endStress()
	strain.Wait()
	x.must("the backlog is worked off", func() bool { return x.waiting() < offered/2 })
	r.after = x.measure()
	end()
	feeding.Wait()
	x.lostNothing()
	report.pressure(r)
	if share := r.share(r.under); !p.away && share < bearable {
		t.Errorf("under stress %.2f of the baseline were left, want at least %.1f: %+v", share, bearable, r)
	}
	if share := r.share(r.after); share < recovered {
		t.Errorf("after the stress there is %.2f of the baseline, want at least %.1f: %+v", share, recovered, r)
	}
}

// rates are those of one pressure; under is zero when nothing is promised.
type rates struct {
	name                 string
	before, under, after rate
}

// rate is how many runs a second were completed, and how many were offered: on a busy machine not all that should be.
type rate struct {
	completed, offered float64
}

// share is what a rate is of the baseline, as far as there was enough to do.
func (r rates) share(of rate) float64 { return of.completed / min(r.before.completed, of.offered) }
