package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// holdLook is the time between two looks for handlers in a pool that is held and drained: a claim that was under way when
// the hold came may have brought some after the first look.
const holdLook = time.Second

// holder empties a worker whose pool is held and drained: when the drain timeout has passed since the hold came, handlers
// are cancelled, and their runs are given back without spending an attempt. The worker stays; nothing is claimed until the
// hold is lifted.
type holder struct {
	tuning  *tuning
	ledger  *ledger
	timeout time.Duration
	log     *slog.Logger
	due     time.Time // when handlers are cancelled, zero while nothing is drained; run owns it
}

// run watches the tuning until ctx ends.
func (h *holder) run(ctx context.Context) {
	for {
		pool, changed := h.tuning.get()
		t := time.NewTimer(h.next(pool.Drain, time.Now()))
		select {
		case <-t.C:
			h.empty(ctx)
		case <-changed:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// next is the time until the next look.
func (h *holder) next(drain bool, now time.Time) time.Duration {
	switch {
	case !drain:
		h.due = time.Time{}
		return forever
	case h.due.IsZero():
		h.due = now.Add(h.timeout)
	}
	return max(h.due.Sub(now), 0)
}

// empty cancels what runs, and plans the next look.
func (h *holder) empty(ctx context.Context) {
	h.due = time.Now().Add(holdLook)
	if n := h.ledger.cancelAll(0, jobs.ErrDraining); n > 0 {
		h.log.InfoContext(ctx, "the pool is held and its drain timeout has passed, handlers are cancelled", slog.Int("cancelled", n))
	}
}
