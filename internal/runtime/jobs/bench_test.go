package jobs_test

import (
	"encoding/json"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// BenchmarkClaimSettle claims and settles by one connection at a time in batches of 500. An operation is one run.
func BenchmarkClaimSettle(b *testing.B) {
	const batch = 500
	q := newQueue(b)
	inc := q.register()
	n := max(b.N, batch)
	q.exec(`
WITH r AS (
  INSERT INTO run (id, job_type, pool, root, input)
  SELECT g, $1, $2, g, '{"n": 1}' FROM generate_series(1, $3::bigint) AS g
  RETURNING id, run_at
)
INSERT INTO ready (id, pool, job_type, vstart) SELECT id, $2, $1, run_at FROM r`, jobType, pool, n)
	q.exec(`ANALYZE`)
	settlements := make([]jobs.Settlement, 0, batch)
	b.ResetTimer()
	for done := 0; done < b.N; {
		claims := q.claim(inc, batch)
		settlements = settlements[:0]
		for _, c := range claims {
			settlements = append(settlements, jobs.Settlement{Claim: c, Outcome: jobs.Completed, Output: json.RawMessage(`{"ok": 1}`)})
		}
		q.settle(inc, settlements...)
		done += len(claims)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
}
