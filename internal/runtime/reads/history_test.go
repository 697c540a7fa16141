package reads_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/reads"
)

// However long the history is, a read reads about a page.
func TestReadsDoNotReadHistoryW70(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.start(jobs.StartParams{})
	q.exec(`
INSERT INTO run (job_type, pool, root, status, finished_at, scope)
SELECT 'work', 'p', 0, CASE WHEN g % 2 = 0 THEN 'completed' ELSE 'failed' END, clock_timestamp(), 's' || g % 1000
FROM generate_series(1, 20000) AS g`)
	q.exec(`INSERT INTO failure (run, replay, pool, tenant, finished_at) SELECT id, 0, pool, tenant, finished_at FROM run WHERE status = 'failed'`)
	q.exec(`ANALYZE`)
	for name, read := range map[string]func(tx pgx.Tx) error{
		"list": func(tx pgx.Tx) error {
			_, _, err := reads.List(t.Context(), tx, reads.AnyTenant(), reads.Filter{Pool: "p"}, "", 50)
			return err
		},
		"list of a scope": func(tx pgx.Tx) error {
			_, _, err := reads.List(t.Context(), tx, reads.AnyTenant(), reads.Filter{Scope: "s3"}, "", 50)
			return err
		},
		"failures": func(tx pgx.Tx) error {
			_, _, err := reads.Failures(t.Context(), tx, reads.AnyTenant(), "p", "", 50)
			return err
		},
		"depths": func(tx pgx.Tx) error {
			_, err := reads.Depths(t.Context(), tx, "")
			return err
		},
	} {
		tx, err := q.db.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := rowsRead(t, tx)
		if err := read(tx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := rowsRead(t, tx) - before; n > 500 {
			t.Errorf("%s read %d rows of 20 000 ended runs", name, n)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// rowsRead is the number of rows that the transaction has read, by index or not.
func rowsRead(t *testing.T, tx pgx.Tx) (n int64) {
	t.Helper()
	err := tx.QueryRow(t.Context(), `
SELECT coalesce(sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)), 0)::bigint
FROM pg_stat_xact_user_tables WHERE schemaname = 'syncline'`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Connections keep statements by their text: a list that is read again is not another statement.
func TestAListIsOneStatement(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	tx, err := q.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	f := reads.Filter{Root: 1, Parent: 1, Scope: "s", Type: "t", Pool: "p", TriggerSource: "manual", TriggerRef: "r"}
	for range 10 {
		if _, _, err := reads.List(t.Context(), tx, reads.AnyTenant(), f, "", 5); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE $1`, "%r.trigger_ref = %").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 1 {
		t.Errorf("one list is prepared as %d statements, want 1", n)
	}
}
