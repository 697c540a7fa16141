package jobs_test

import (
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// spawn starts a child of a claimed run and gives its id.
func (q *queue) spawn(c *jobs.Claim, key string, p jobs.StartParams) int64 {
	q.t.Helper()
	r := q.spawns(c, key, p)
	if !r.Created {
		q.t.Fatalf("child %q of run %d was there", key, c.RunID)
	}
	return r.RunID
}

func (q *queue) spawns(c *jobs.Claim, key string, p jobs.StartParams) jobs.StartResult {
	q.t.Helper()
	if p.Type == "" {
		p.Type = jobType
	}
	if p.Pool == "" {
		p.Pool = pool
	}
	r, err := jobs.Spawn(q.t.Context(), q.db, c, key, p)
	if err != nil {
		q.t.Fatalf("spawn: %v", err)
	}
	return r
}

var _ testing.TB
