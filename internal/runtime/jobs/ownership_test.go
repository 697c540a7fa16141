package jobs_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func TestAWorkerThatLeavesTouchesOnlyItsOwnClaimsW6(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	leaving, staying := q.register(), q.register()
	q.starts(4, jobs.StartParams{})
	own, foreign := q.claim(leaving, 2), q.claim(staying, 2)
	q.giveBack(leaving, own...)
	q.giveBack(leaving, foreign...) // whatever it believes
	if removed, err := q.store.Leave(t.Context(), leaving); err != nil || !removed {
		t.Fatalf("leave answered %v, %v", removed, err)
	}
	q.sweep()
	for _, c := range own {
		q.wantPlace(c.RunID, "pending", "ready")
	}
	for _, c := range foreign {
		q.wantPlace(c.RunID, "running", "receipt")
		if r := q.settle(staying, completed(c))[0]; r != jobs.Done {
			t.Errorf("the one who stays is answered %s, want done", r)
		}
	}
}

func TestARunningRunHasAnOwnerW14(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{})
	for _, sql := range []string{
		`UPDATE run SET status = 'running', claimed_at = clock_timestamp() WHERE id = $1`,
		`UPDATE run SET status = 'running', claimed_by = 1 WHERE id = $1`,
	} {
		if _, err := q.db.Exec(t.Context(), sql, run); err == nil || !strings.Contains(err.Error(), "run_status") {
			t.Errorf("%s: error is %v, want the check run_status", sql, err)
		}
	}
}

// Whoever does not serve a type leaves its runs alone and starts all the same; the pool shows them.
func TestTypesThatNobodyServesAreShownAndClaimedByNobodyW57(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	old := q.start(jobs.StartParams{Type: "of a later version"})
	const unservedSQL = `SELECT coalesce(string_agg(job_type || ' ' || runs, ', '), '') FROM unserved($1, 100)`
	inc := q.register()
	if got := q.claim(inc, 5); len(got) != 0 {
		t.Fatalf("a worker that does not serve the type claimed %v", ids(got))
	}
	if got := one[string](q, unservedSQL, pool); got != "of a later version 1" {
		t.Errorf("the pool shows %q as unserved, want one run of a later version", got)
	}
	newer := q.register("of a later version")
	if got := one[string](q, unservedSQL, pool); got != "" {
		t.Errorf("the pool shows %q as unserved, want nothing", got)
	}
	q.wantClaims(newer, 5, old)
}

// A claim reads about what it takes, however much is pending, of other types, not due, blocked or long completed.
func TestAClaimReadsAboutWhatItTakesW45W46(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	const n = 3000
	for _, kind := range []string{jobType, "other", "done"} {
		inputs := make([]jobs.StartParams, n)
		for i := range inputs {
			inputs[i] = jobs.StartParams{Type: kind, Pool: pool, Input: json.RawMessage(`{}`), Priority: i % 100}
		}
		if _, err := jobs.StartMany(t.Context(), q.db, inputs); err != nil {
			t.Fatal(err)
		}
	}
	q.exec(`DELETE FROM ready WHERE job_type = 'done'`)
	q.exec(`UPDATE run SET status = 'completed' WHERE job_type = 'done'`)
	q.exec(`ANALYZE`)
	tx := q.begin()
	before := rowsRead(t, tx)
	rawClaim(t, tx, inc, 10)
	after := rowsRead(t, tx)
	for table, rows := range after {
		if read := rows - before[table]; read > 100 {
			t.Errorf("a claim of 10 runs read %d rows of %s", read, table)
		}
	}
	if after["ready"] == before["ready"] {
		t.Error("a claim read nothing of ready")
	}
}

// rowsRead is what the session of conn has read, by index or not.
func rowsRead(t testing.TB, conn jobs.Querier) map[string]int64 {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
SELECT relname::text, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE schemaname = 'syncline'`)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]int64{}
	var name string
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &n}, func() error { m[name] = n; return nil }); err != nil {
		t.Fatal(err)
	}
	return m
}
