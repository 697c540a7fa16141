package jobs_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// soakHour is the load of one hour: how many runs are started in it.
const soakHour = 1500

// hour lets an hour's load through the queue: some runs are retried, some fail, some are given back.
func (q *queue) hour(inc *jobs.Incarnation) {
	q.t.Helper()
	q.exec(`
WITH r AS (
  INSERT INTO run (id, job_type, pool, root, input)
  SELECT x.id, $1, $2, x.id, jsonb_build_object('text', repeat('x', 200))
  FROM (SELECT nextval('run_id_seq') AS id FROM generate_series(1, $3::int)) AS x
  RETURNING id, run_at)
INSERT INTO ready (id, pool, job_type, vstart) SELECT id, $2, $1, run_at FROM r`, jobType, pool, soakHour)
	for {
		claims := q.claim(inc, 500)
		if len(claims) == 0 {
			return
		}
		batch := make([]jobs.Settlement, len(claims))
		for i, c := range claims {
			batch[i] = jobs.Settlement{Claim: c, Outcome: jobs.Completed, Output: json.RawMessage(`{"ok": true}`)}
			switch {
			case i%10 == 0 && c.Attempt == 1:
				batch[i] = retried(c, false)
			case i%25 == 1:
				batch[i] = jobs.Settlement{Claim: c, Outcome: jobs.Failed, Code: "soak", Message: "failed"}
			case i%50 == 2 && c.Token == 1:
				batch[i] = jobs.Settlement{Claim: c, Outcome: jobs.GivenBack}
			}
		}
		q.settle(inc, batch...)
	}
}

// sizes are the bytes of the queue's tables and, by themselves, of their indexes.
func (q *queue) sizes() map[string]int64 {
	q.t.Helper()
	all := map[string]int64{}
	for _, table := range []string{"run", "ready", "receipt", "attempt", "failure"} {
		all[table] = one[int64](q, `SELECT pg_table_size($1::regclass)`, table)
		all[table+" indexes"] = one[int64](q, `SELECT pg_indexes_size($1::regclass)`, table)
	}
	return all
}

// A day's load, replayed fast, with the retention that a day would need: every hour's runs are old when the next hour has
// passed. Tables and indexes stay as large as a few hours make them; times are not looked at. VACUUM is called after each
// hour, as autovacuum would have long done in a real one.
func TestADaysLoadLeavesTablesAndIndexesBoundedW46W72(t *testing.T) {
	// Not beside other tests: up to PostgreSQL 15 a transaction that is open in any database of the server keeps the empty pages of
	// indexes from being used again.
	q := newQueue(t)
	q.limit(func(p *spec.Pool) { p.Retention = spec.Retention{CompletedMillis: 1, FailedMillis: 1} })
	inc := q.register()
	const warm, day = 4, 24
	var settled map[string]int64
	for hour := range day {
		q.hour(inc)
		if n := q.retire(); n < soakHour/2 {
			t.Fatalf("in hour %d %d runs were removed of %d that ended", hour, n, soakHour)
		}
		q.exec(`VACUUM run, ready, receipt, attempt, failure, scheduled, worker`)
		if hour == warm-1 {
			settled = q.sizes()
		}
	}
	now := q.sizes()
	for _, what := range slices.Sorted(maps.Keys(now)) {
		// A quarter of the growth that keeping every row, or every dead one, would have meant, and a few pages for chance.
		if allowed := settled[what] + settled[what]*(day/warm-1)/4 + 128<<10; now[what] > allowed {
			t.Errorf("%s take %d bytes after %d hours, %d after %d, want at most %d", what, now[what], day, settled[what], warm, allowed)
		}
	}
	if n := one[int](q, `SELECT count(*) FROM run`); n > soakHour {
		t.Errorf("%d runs are left after a day, want at most an hour's", n)
	}
	q.check()
	t.Log(fmt.Sprint(now))
}
