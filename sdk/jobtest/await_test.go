package jobtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/schema/schematest"
	"github.com/syncline-dev/syncline/sdk/job"
	"github.com/syncline-dev/syncline/sdk/jobtest"
)

// A parent waits as long as it likes, parked, and then decides by itself: its child, which nobody serves, goes on.
func TestAParentGivesUpOnAChildInTime(t *testing.T) {
	t.Parallel()
	b := jobtest.New(t, schematest.NewDB(t).URI, job.Handle("parent", func(ctx context.Context, r *job.Run, _ struct{}) (string, error) {
		child, err := r.Spawn(ctx, "slow", job.StartParams{Type: "nobody's", Pool: jobtest.Pool})
		if err != nil {
			return "", err
		}
		_, err = job.AwaitWithin(ctx, r, "child", 200*time.Millisecond, child.RunID)
		if errors.Is(err, job.ErrWaitTimeout) {
			return "gave up", nil
		}
		return "", err
	}))
	d := b.Do("parent", struct{}{})
	if d.Status != "completed" || string(d.Output) != `"gave up"` || d.Attempts != 1 {
		t.Errorf("the parent is %s after %d attempts with %s: %s", d.Status, d.Attempts, d.Output, d.Error)
	}
}
