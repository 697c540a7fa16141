package worker

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// The next beat is an hour away: what brings the request is the notification.
func TestACancelArrivesLongBeforeTheNextBeatW19(t *testing.T) {
	t.Parallel()
	r := onPostgreSQL(t)
	r.tuning.HeartbeatMillis, r.tuning.LeaseMillis = 3_600_000, 3*3_600_000
	var by atomic.Value
	r.handle("long", jobs.TypeConfig{}, func(ctx context.Context, _ *jobs.Claim) (json.RawMessage, error) {
		<-ctx.Done()
		if request, asked := errors.AsType[*jobs.CancelRequested](context.Cause(ctx)); asked {
			by.Store(request.By)
		}
		return nil, ctx.Err()
	})
	r.work()
	run := r.start(jobs.StartParams{Type: "long"})
	r.becomes(run, "running")
	if a, err := jobs.Cancel(t.Context(), r.db, jobs.CancelParams{Run: run, By: "ann"}); err != nil || a != jobs.CancelAsked {
		t.Fatalf("cancel answered %q, %v", a, err)
	}
	r.becomes(run, "cancelled")
	if by.Load() != "ann" {
		t.Errorf("the handler heard of a request by %v, want ann", by.Load())
	}
}
