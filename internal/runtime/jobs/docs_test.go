package jobs_test

import (
	"context"
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/sdk/job"
)

func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func blocks(t *testing.T, language string) []string {
	t.Helper()
	var found []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(page(t), -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("docs/jobs.md has no %s block", language)
	}
	return found
}

// documentedStart is the first example of the page in Go.
func documentedStart(ctx context.Context, db *pgxpool.Pool) (int64, error) {
	tx, err := db.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, `INSERT INTO customer (name) VALUES ('bob')`); err != nil {
		return 0, err
	}
	started, err := job.Over(tx, job.DefaultSchema).Start(ctx, job.StartParams{
		Type: "invoice", Input: json.RawMessage(`{"customer": "bob", "cents": 900}`), Pool: "batch", Tenant: "acme",
		Lane: "bob", Scope: "customer/bob", IdempotencyKey: "invoice/bob/2026-11", Deadline: time.Hour,
	})
	if err != nil {
		return 0, err
	}
	return started.RunID, tx.Commit(ctx)
}

// documentedChange is the second.
func documentedChange(ctx context.Context, caller job.Caller, run int64) error {
	answer, err := caller.Cancel(ctx, job.CancelParams{Run: run, Tenant: "acme", By: "ann", Reason: "wrong order"})
	if err != nil || answer == job.CancelUnknown {
		return err
	}
	_, err = caller.Replay(ctx, run, "acme", job.ReplayScratch)
	return err
}

func TestTheDocsGoExamplesAreThoseThatRun(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("docs_test.go")
	if err != nil {
		t.Fatal(err)
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	for _, block := range blocks(t, "go") {
		if !strings.Contains(squeeze(string(source)), squeeze(block)) {
			t.Errorf("docs/jobs.md shows Go that no test runs:\n%s", block)
		}
	}
	q := newQueue(t)
	q.declare("batch", q.register().Tuning)
	q.exec(`CREATE TABLE customer (name text)`)
	run, err := documentedStart(t.Context(), q.db)
	if err != nil {
		t.Fatal(err)
	}
	if err := documentedChange(t.Context(), job.Over(q.db, job.DefaultSchema), run); err != nil {
		t.Fatal(err)
	}
	if n := one[int](q, `SELECT count(*)::int FROM run r JOIN ready USING (id) JOIN customer ON true WHERE r.id = $1 AND r.replays = 1`, run); n != 1 {
		t.Error("the examples did not start, cancel and replay a run")
	}
}

func TestTheDocsSQLExamplesRun(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register("order")
	q.declare("batch", inc.Tuning)
	q.exec(`CREATE TABLE public.customer (name text)`)
	conn, err := pgx.Connect(t.Context(), q.uri)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, block := range blocks(t, "sql") {
		before, rest, claimed := strings.Cut(block, "-- the handler")
		if _, err := conn.Exec(t.Context(), before); err != nil {
			t.Errorf("%s: %v", before, err)
		}
		if claimed {
			q.exec(`UPDATE ready SET pool = $1 WHERE job_type = 'order'`, pool)
			q.exec(`UPDATE run SET pool = $1 WHERE job_type = 'order'`, pool)
			c := q.claimOne(inc)
			rest = strings.NewReplacer(":run", strconv.FormatInt(c.RunID, 10), ":token", strconv.FormatInt(c.Token, 10)).Replace("-- the handler" + rest)
			if _, err := conn.Exec(t.Context(), rest); err != nil {
				t.Errorf("%s: %v", rest, err)
			}
		}
	}
	const sumSQL = `
SELECT count(*) || ' ' || count(*) FILTER (WHERE tenant = 'acme' AND replays = 1) || ' ' || count(*) FILTER (WHERE close_policy = 'cancel')
FROM run`
	if got, want := one[string](q, sumSQL), "5 1 1"; got != want {
		t.Errorf("the examples left %s runs (all, replayed, children), want %s", got, want)
	}
}

// Every option that the page lists is taken, and every one that is taken is listed.
func TestTheDocsListEveryOption(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	_, err := jobs.Start(t.Context(), q.db, jobs.StartParams{Type: jobType, Pool: pool, ClosePolicy: jobs.CloseCancel})
	if err == nil {
		t.Fatal("a start takes a close policy")
	}
	_, known, _ := strings.Cut(err.Error(), "known are: ")
	text := page(t)
	table := text[strings.Index(text, "| Option |"):strings.Index(text, "It returns the run's id")]
	for name := range strings.SplitSeq(known, ", ") {
		if !strings.Contains(table, "`"+name+"`") {
			t.Errorf("the page does not list the option %q", name)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(table, -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			if !strings.Contains(", "+known+",", ", "+strings.Trim(name, "`")+",") {
				t.Errorf("the page lists the option %s, which start does not take", name)
			}
		}
	}
}
