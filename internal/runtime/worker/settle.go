package worker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

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

	poke     signal
	mu       sync.Mutex
	queue    []result
	spare    []result                      // room of the last batch for the next queue; run owns it
	counters map[ending]prometheus.Counter // run owns it
	trouble  outage
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
		clear(batch)
		s.spare = batch[:0]
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
	if len(s.queue) == 0 {
		return nil, time.Time{}
	}
	if s.uniform(now) {
		batch, s.queue, s.spare = s.queue, s.spare, nil
		return batch, time.Time{}
	}
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

// uniform says that the whole queue may be written in one statement: nearly always.
func (s *settler) uniform(now time.Time) bool {
	return len(s.queue) <= settleBatch && !slices.ContainsFunc(s.queue, func(r result) bool {
		return r.inc != s.queue[0].inc || r.notBefore.After(now)
	})
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
	confirmed := make([]jobs.Held, 0, len(batch))
	for i, answer := range answers {
		if s.answered(ctx, batch[i], answer) {
			confirmed = append(confirmed, heldBy(batch[i].s.Claim))
		}
	}
	s.metrics.Unsettled.Sub(float64(len(confirmed)))
	s.ledger.leave(confirmed...)
	s.claimer.poke.set()
	return nil
}

// answered applies the database's answer about one claim; false when the claim is still held.
func (s *settler) answered(ctx context.Context, r result, answer jobs.SettleResult) bool {
	if answer == jobs.Busy {
		r.notBefore = time.Now().Add(busyWait)
		s.putBack([]result{r})
		return false
	}
	outcome := r.outcome(answer)
	s.report(ctx, r, outcome, answer)
	s.tally.count(outcome, answer)
	if r.s.Delay > 0 && answer == jobs.Done {
		s.claimer.dueIn(r.s.Delay)
	}
	return true
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
	label := labels[outcome]
	switch {
	case answer == jobs.Lost:
		label = telemetry.Lost
		s.logOf(c).WarnContext(ctx, "result dropped: the claim was lost")
	case outcome != jobs.Completed:
		s.logOf(c).InfoContext(ctx, "run did not complete", slog.String("outcome", string(outcome)),
			slog.String("code", r.s.Code), slog.String("message", r.s.Message), slog.Duration("delay", r.s.Delay))
	}
	s.settled(label, c.Type).Inc()
}

func (s *settler) logOf(c *jobs.Claim) *slog.Logger {
	return s.log.With(slog.Int64("run", c.RunID), slog.Int64("token", c.Token), slog.String("type", c.Type), slog.Int("attempt", c.Attempt))
}

// ending is an outcome of a job type.
type ending struct {
	outcome telemetry.Outcome
	jobType string
}

// settled is the counter of an ending, remembered: looking it up by its labels costs more than the rest of the count.
func (s *settler) settled(outcome telemetry.Outcome, jobType string) prometheus.Counter {
	e := ending{outcome, jobType}
	c := s.counters[e]
	if c == nil {
		c = s.metrics.Settled.WithLabelValues(string(outcome), jobType)
		s.counters[e] = c
	}
	return c
}

// labels are the outcomes as metrics name them.
var labels = map[jobs.Outcome]telemetry.Outcome{
	jobs.Completed: telemetry.Completed, jobs.Failed: telemetry.Failed, jobs.Retried: telemetry.Failed,
	jobs.Snoozed: telemetry.Snoozed, jobs.GivenBack: telemetry.GivenBack, jobs.Cancelled: telemetry.Cancelled,
	jobs.TimedOut: telemetry.TimedOut, jobs.Parked: telemetry.Parked,
}
