package worker

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// S4: who cuts handlers off looks once. A claim that comes back at that very moment is either seen by it or not handed out.
func TestNoHandOutSlipsBehindTheFence(t *testing.T) {
	t.Parallel()
	const tries = 20_000
	metrics, log := telemetry.NewWorker(prometheus.NewRegistry(), "batch"), slog.New(slog.NewTextHandler(io.Discard, nil))
	inc := &jobs.Incarnation{ID: 1, Pool: "batch"}
	out := 0
	for try := range tries {
		var handed []*flight
		loop := &claimer{
			life: newLife(), ledger: newLedger(), tuning: newTuning(spec.DefaultPool(), 0), log: log, metrics: metrics,
			handOut: func(_ *jobs.Incarnation, flights []*flight) { handed = flights },
		}
		loop.life.begin(inc.ID, time.Now(), time.Now(), time.Hour, time.Second)
		claims := []*jobs.Claim{{RunID: int64(try), Token: 1, Worker: inc.ID}}
		var ready atomic.Int32
		together := func() { // both go on at the same time
			ready.Add(1)
			for ready.Load() < 2 {
				runtime.Gosched()
			}
		}
		var both sync.WaitGroup
		both.Go(func() {
			together()
			loop.dispatch(t.Context(), inc, claims)
		})
		both.Go(func() { // as heart.lost does
			together()
			loop.life.end()
			loop.ledger.cancelAll(0, jobs.ErrLeaseLost)
		})
		both.Wait()
		out += len(handed)
		for _, f := range handed {
			if f.ctx.Err() == nil {
				t.Fatalf("try %d: a claim was handed out after its lease, and nobody stops its handler", try)
			}
		}
		if len(handed) == 0 && len(loop.ledger.held()) > 0 {
			t.Fatalf("try %d: a claim that was not handed out is held", try)
		}
	}
	t.Logf("%d of %d claims were handed out before the fence came", out, tries)
}

func TestAHandlerThatIsStoppedBeforeItBeginsIsNotCalled(t *testing.T) {
	var calls atomic.Int32
	count := func(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
		calls.Add(1)
		return succeed(ctx, c)
	}
	for name, c := range map[string]struct {
		cause    error
		deadline time.Duration // after the worker's start
		status   string
	}{
		"lease lost":        {cause: jobs.ErrLeaseLost, status: "pending"},
		"draining":          {cause: jobs.ErrDraining, status: "pending"},
		"asked to":          {cause: &jobs.CancelRequested{By: "ann"}, status: "cancelled"},
		"past its deadline": {deadline: time.Second, status: "timed_out"},
	} {
		t.Run(name, func(t *testing.T) {
			q := newFakeQueue(t, 1)
			q.tuning.Hold = true // what is given back is not claimed again
			inBubble(t, q, count, func(b *bubble) {
				b.at(2 * time.Second)
				claim := &jobs.Claim{RunID: 2, Token: 1, Worker: 1, Type: "test"}
				if c.deadline != 0 {
					claim.Deadline = b.begin.Add(c.deadline)
				}
				b.q.mu.Lock()
				b.q.runs[2] = &fakeRun{status: "running", worker: 1, token: 1}
				b.q.mu.Unlock()
				flights := b.w.ledger.add([]*jobs.Claim{claim})
				if c.cause != nil {
					b.w.ledger.cancelAll(0, c.cause)
				}
				b.w.executor.start(b.w.heart.present.Load(), flights)
				b.at(3 * time.Second)
				if r := b.q.run(2); r.status != c.status {
					b.Errorf("the run is %s, want %s", r.status, c.status)
				}
			})
			if n := calls.Load(); n != 0 {
				t.Errorf("the handler was called %d times", n)
			}
		})
	}
}
