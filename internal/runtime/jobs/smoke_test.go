package jobs_test

import (
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func TestLifeOfARun(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	a := q.start(jobs.StartParams{})
	q.wantPlace(a, "pending", "ready")
	c := q.claimOne(inc)
	q.wantPlace(a, "running", "receipt")
	if r := q.settle(inc, completed(c)); r[0] != jobs.Done {
		t.Fatalf("settle answered %s", r[0])
	}
	q.wantPlace(a, "completed", "none")
	b := q.start(jobs.StartParams{Lane: "x"})
	d := q.start(jobs.StartParams{Lane: "x"})
	c = q.claimOne(inc)
	if c.RunID != b {
		t.Fatalf("claimed %d, want %d", c.RunID, b)
	}
	if got := q.claim(inc, 5); len(got) != 0 {
		t.Fatalf("claimed %d runs of a full lane", len(got))
	}
	q.wantPlace(d, "pending", "blocked")
	q.check()
	q.settle(inc, retried(c, false))
	q.check()
	q.expire(inc)
	t.Logf("%+v", q.sweep())
	q.check()
}
