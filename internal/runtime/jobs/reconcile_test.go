package jobs_test

import (
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// TestReconcileForgetsAClaimThatItsDeadlineHasEnded loses the reply of a claim whose deadline then ends the run: no handler
// executes, so the lane must be free and a replay allowed while the worker lives. The model found it (W26-note-stays).
func TestReconcileForgetsAClaimThatItsDeadlineHasEnded(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{Lane: "lane", Deadline: time.Hour})
	next := q.start(jobs.StartParams{Lane: "lane"})
	q.claimOne(inc) // the reply is lost
	q.exec(`UPDATE run SET deadline_at = clock_timestamp() - interval '1 minute' WHERE id = $1`, run)
	q.exec(`UPDATE deadline SET at = clock_timestamp() - interval '1 minute'`)
	q.sweep()
	q.wantPlace(run, "timed_out", "none")

	if _, err := q.store.Reconcile(t.Context(), inc, nil); err != nil {
		t.Fatal(err)
	}
	for what, query := range map[string]string{
		"holds of the lane": `SELECT count(*) FROM lane_hold`, "receipts": `SELECT count(*) FROM receipt`,
		"notes of handlers that may execute": `SELECT count(*) FROM completing`,
	} {
		if n := one[int](q, query); n != 0 {
			t.Errorf("%d %s are left after the reconcile, want none: nothing executes", n, what)
		}
	}
	if c := q.claimOne(inc); c.RunID != next {
		t.Errorf("claimed run %d, want %d, which waits for the lane", c.RunID, next)
	}
}
