package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// drain ends the worker's work: no more claims; handlers may finish within the drain timeout, are cancelled then and get
// a short second budget; what has stopped is settled or given back; and only when nothing at all is left the lease goes
// with it. Otherwise the lease stays until it expires: a handler that still runs keeps its claim as long as it can.
func (w *Worker) drain(ctx context.Context) error {
	w.cfg.Log.InfoContext(ctx, "draining", slog.Duration("timeout", w.cfg.DrainTimeout))
	w.cfg.Metrics.Draining.Set(1)
	w.heart.draining.Store(true)
	w.heart.poke.set()
	patient, end := context.WithTimeout(ctx, w.cfg.DrainTimeout)
	w.claimer.stop(patient)
	done := w.ledger.await(patient, nothingLeft)
	end()
	final, end := context.WithTimeout(ctx, w.cfg.StopBudget)
	defer end()
	if !done {
		n := w.ledger.cancelAll(0, jobs.ErrDraining)
		w.cfg.Log.WarnContext(ctx, "drain timeout has passed, handlers are cancelled", slog.Int("cancelled", n))
		w.ledger.await(final, nothingLeft)
	}
	return w.leave(final)
}

// nothingLeft says that no handler runs and no result is unconfirmed.
func nothingLeft(running, unsettled int) bool { return running == 0 && unsettled == 0 }

// leave removes the lease when nothing is left.
func (w *Worker) leave(ctx context.Context) error {
	if running, unsettled := w.ledger.load(); !nothingLeft(running, unsettled) {
		return fmt.Errorf("%w: %d handlers have not stopped, %d results are not confirmed", ErrNotDrained, running, unsettled)
	}
	for {
		removed, err := w.heart.leave(ctx)
		if removed {
			w.executor.hands.close()
			w.executor.hands.wait()
			w.cfg.Log.InfoContext(ctx, "drained")
			return nil
		}
		if err == nil {
			err = errors.New("the database still knows of claims of this worker")
			w.claimer.reconcile(ctx) // a claim whose reply was lost
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return fmt.Errorf("%w: lease not removed: %w", ErrNotDrained, err)
		}
	}
}
