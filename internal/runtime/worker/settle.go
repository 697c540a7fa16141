package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

const (
	// settleBatch bounds the results of one statement.
	settleBatch = 1000
	// busyWait is how long a run whose row a handler's transaction still holds waits for its next settle.
	busyWait = 100 * time.Millisecond
)

// settler writes results: whatever has gathered while the last write was on the wire goes out at once, so a lone run
// waits for nobody and a crowd shares its commits. A result is kept until the database has answered for it.
type settler struct {
	store   Store
	ledger  *ledger
	tally   *tally
	claimer *claimer
	timeout func() time.Duration
	log     *slog.Logger
	metrics *telemetry.Worker

	poke    signal
	mu      sync.Mutex
	queue   []result
	trouble outage
}

// result is what became of one claim.
type result struct {
	inc       *jobs.Incarnation
	s         jobs.Settlement
	notBefore time.Time
	again     bool // a write before may have been answered by a reply that was lost
}

// add queues a result.
func (s *settler) add(inc *jobs.Incarnation, settlement jobs.Settlement) {
	s.mu.Lock()
	s.queue = append(s.queue, result{inc: inc, s: settlement})
	s.mu.Unlock()
	s.poke.set()
}

// run writes until ctx ends.
func (s *settler) run(ctx context.Context) {
	wait := settleBackoff()
	for {
		batch, next := s.take(time.Now())
		if len(batch) == 0 {
			if !s.idle(ctx, next) {
				return
			}
			continue
		}
		if err := s.write(ctx, batch); err != nil {
			for i := range batch {
				batch[i].again = true
			}
			s.putBack(batch)
			s.trouble.failed(ctx, s.log, err)
			if !sleep(ctx, wait.NextBackOff()) {
				return
			}
			continue
		}
		wait.Reset()
		s.trouble.over(ctx, s.log)
	}
}

func settleBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 2*time.Second
	return b
}

// idle waits for a result, or for next when there is one that waits; false when ctx ended.
func (s *settler) idle(ctx context.Context, next time.Time) bool {
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-s.poke:
	case <-due:
	case <-ctx.Done():
		return false
	}
	return true
}

// take removes what may be written in one statement: results of one incarnation that need not wait. Without any, next
// is when the first one may be, zero when there is none at all.
func (s *settler) take(now time.Time) (batch []result, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rest []result
	for _, r := range s.queue {
		switch {
		case r.notBefore.After(now):
			if next.IsZero() || r.notBefore.Before(next) {
				next = r.notBefore
			}
		case len(batch) < settleBatch && (len(batch) == 0 || batch[0].inc == r.inc):
			batch = append(batch, r)
			continue
		}
		rest = append(rest, r)
	}
	s.queue = rest
	return batch, next
}

// putBack returns a batch whose outcome is unknown: written again, it is answered as done or already done.
func (s *settler) putBack(batch []result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(batch, s.queue...)
}

// write settles a batch and applies the answers.
func (s *settler) write(ctx context.Context, batch []result) error {
	settlements := make([]jobs.Settlement, len(batch))
	for i, r := range batch {
		settlements[i] = r.s
	}
	short, end := context.WithTimeout(ctx, s.timeout())
	defer end()
	answers, err := s.store.Settle(short, batch[0].inc, settlements)
	if err != nil {
		return err
	}
	s.metrics.SettleBatch.Observe(float64(len(batch)))
	for i, answer := range answers {
		s.answered(ctx, batch[i], answer)
	}
	s.claimer.freed()
	return nil
}

// answered applies the database's answer about one claim.
func (s *settler) answered(ctx context.Context, r result, answer jobs.SettleResult) {
	if answer == jobs.Busy {
		r.notBefore = time.Now().Add(busyWait)
		s.putBack([]result{r})
		return
	}
	outcome := r.outcome(answer)
	s.report(ctx, r, outcome, answer)
	s.tally.count(outcome, answer)
	s.metrics.Unsettled.Dec()
	s.ledger.leave(heldBy(r.s.Claim))
	if r.s.Delay > 0 && answer == jobs.Done {
		s.claimer.dueIn(r.s.Delay)
	}
}

// outcome is what became of the run as far as this process can tell. A handler that completed its run itself is settled
// as failed to find out; the database then answers that the run had ended already. So it does when somebody else to whom
// the handler gave the token completed it, and no write of this process can have been first.
func (r result) outcome(answer jobs.SettleResult) jobs.Outcome {
	if answer == jobs.Already && (r.s.Claim.CompletionAsked() || !r.again) {
		return jobs.Completed
	}
	return r.s.Outcome
}

// report tells logs and metrics of one answer.
func (s *settler) report(ctx context.Context, r result, outcome jobs.Outcome, answer jobs.SettleResult) {
	c := r.s.Claim
	log := s.log.With(slog.Int64("run", c.RunID), slog.Int64("token", c.Token), slog.String("type", c.Type), slog.Int("attempt", c.Attempt))
	switch {
	case answer == jobs.Lost:
		s.metrics.Settled.WithLabelValues(string(telemetry.Lost), c.Type).Inc()
		log.WarnContext(ctx, "result dropped: the claim was lost")
		return
	case outcome != jobs.Completed:
		log.InfoContext(ctx, "run did not complete", slog.String("outcome", string(outcome)),
			slog.String("code", r.s.Code), slog.String("message", r.s.Message), slog.Duration("delay", r.s.Delay))
	}
	s.metrics.Settled.WithLabelValues(string(labels[outcome]), c.Type).Inc()
}

// labels are the outcomes as metrics name them.
var labels = map[jobs.Outcome]telemetry.Outcome{
	jobs.Completed: telemetry.Completed, jobs.Failed: telemetry.Failed, jobs.Retried: telemetry.Failed,
	jobs.Snoozed: telemetry.Snoozed, jobs.GivenBack: telemetry.GivenBack, jobs.Cancelled: telemetry.Cancelled,
	jobs.TimedOut: telemetry.TimedOut, jobs.Parked: telemetry.Parked,
}
