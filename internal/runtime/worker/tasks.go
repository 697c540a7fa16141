package worker

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// Task is something to do on a cadence while the worker is registered and does not drain: starting due schedules,
// removing old audit rows. Every worker of a pool runs it, so it must not mind being run at the same time elsewhere.
type Task struct {
	// Name is the task's name in logs and metrics.
	Name string
	// Every is the time from one end to the next start; it is jittered by a tenth.
	Every time.Duration
	// Timeout bounds one call.
	Timeout time.Duration
	// Run does it once. An error is logged; the next call comes as usual.
	Run func(ctx context.Context) error
}

// runTask calls a task until ctx ends, the first time at once. It is quiet while the worker has no lease.
func runTask(ctx context.Context, t Task, registered func() bool, log *slog.Logger, metrics *telemetry.Worker) {
	for {
		if registered() {
			if err := callTask(ctx, t); err != nil && ctx.Err() == nil {
				metrics.TaskFailures.WithLabelValues(t.Name).Inc()
				log.WarnContext(ctx, "periodic task failed", slog.String("task", t.Name), slog.Any("error", err))
			}
		}
		if !sleep(ctx, jitter(t.Every)) {
			return
		}
	}
}

func callTask(ctx context.Context, t Task) error {
	ctx, end := context.WithTimeout(ctx, t.Timeout)
	defer end()
	return t.Run(ctx)
}

// jitter is d, a tenth more or less, so that processes started together do not stay in step.
func jitter(d time.Duration) time.Duration {
	tenth := int64(d / 10)
	if tenth == 0 {
		return d
	}
	return d + time.Duration(rand.Int64N(2*tenth+1)-tenth)
}
