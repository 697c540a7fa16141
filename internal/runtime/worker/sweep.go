package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// sweeper puts back what dead workers of all pools held, on the pool's period, while this process has been in touch long
// enough to judge others.
type sweeper struct {
	store   Store
	life    *life
	tuning  *tuning
	longest func() time.Duration // longest heartbeat period of the database
	wake    func()
	log     *slog.Logger
	metrics *telemetry.Worker
	trouble outage
}

// run sweeps until ctx ends.
func (s *sweeper) run(ctx context.Context) {
	for {
		pool, changed := s.tuning.get()
		t := time.NewTimer(jitter(pool.Sweep()))
		select {
		case <-t.C:
			if s.mayJudge(time.Now()) {
				s.once(ctx)
			}
		case <-changed:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// mayJudge says whether the contact has been unbroken for the longest heartbeat period of the database, so that after
// an outage everybody else has had the time to renew.
func (s *sweeper) mayJudge(now time.Time) bool {
	pool, _ := s.tuning.current()
	return s.life.unbroken(now, pool.Heartbeat()) >= s.longest()
}

func (s *sweeper) once(ctx context.Context) {
	short, end := context.WithTimeout(ctx, statementTimeout(s.tuning))
	defer end()
	r, err := s.store.Sweep(short)
	if err != nil {
		if ctx.Err() == nil {
			s.trouble.failed(ctx, s.log, err)
		}
		return
	}
	s.trouble.over(ctx, s.log)
	s.metrics.LeasesRecovered.Add(float64(r.Recovered))
	if r.Workers+r.Recovered+r.Ended+r.Repaired > 0 {
		s.log.InfoContext(ctx, "swept", slog.Int("workers", r.Workers), slog.Int("recovered", r.Recovered), slog.Int("ended", r.Ended),
			slog.Int("holds", r.Holds), slog.Int("promoted", r.Promoted), slog.Int("repaired", r.Repaired))
		s.wake()
	}
}
