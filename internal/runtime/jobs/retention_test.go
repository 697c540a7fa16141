package jobs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// keep declares the test's pool with a retention in hours.
func (q *queue) keep(completed, failed int64) {
	q.t.Helper()
	const hour = int64(time.Hour / time.Millisecond)
	q.limit(func(p *spec.Pool) {
		p.Retention = spec.Retention{CompletedMillis: completed * hour, FailedMillis: failed * hour}
	})
}

func (q *queue) retire() int64 {
	q.t.Helper()
	n, err := jobs.Retire(q.t.Context(), q.db)
	if err != nil {
		q.t.Fatalf("retire: %v", err)
	}
	return n
}

// left are those of the runs that are still there.
func (q *queue) left(runs ...int64) []int64 {
	q.t.Helper()
	return one[[]int64](q, `SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM run WHERE id = ANY ($1)`, runs)
}

func (q *queue) wantLeft(what string, runs []int64, want ...int64) {
	q.t.Helper()
	if got := q.left(runs...); fmt.Sprint(got) != fmt.Sprint(want) {
		q.t.Fatalf("%s: runs %v are left, want %v", what, got, want)
	}
}

// ended inserts a run that ended hours ago, of a tree.
func (q *queue) ended(status string, hours int, root int64) int64 {
	q.t.Helper()
	return one[int64](q, `
INSERT INTO run (id, job_type, pool, status, root, parent, created_at, finished_at, claimed_by, claimed_at)
SELECT x.id, $1, $2, $3, coalesce(nullif($5, 0), x.id), nullif($5, 0), t.at, CASE WHEN $3 NOT IN ('pending', 'running') THEN t.at END, 1, t.at
FROM (SELECT nextval('run_id_seq') AS id) AS x, (SELECT clock_timestamp() - $4 * interval '1 hour' AS at) AS t
RETURNING id`, jobType, pool, status, hours, root)
}

func TestRetentionGoesByStatusW72(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.keep(2, 10)
	var all, want []int64
	for status, kept := range map[string]int{"completed": 2, "failed": 10, "timed_out": 10, "lost": 10, "cancelled": 10} {
		old, young := q.ended(status, kept+1, 0), q.ended(status, kept-1, 0)
		all, want = append(all, old, young), append(want, young)
	}
	for _, status := range []string{"pending", "running"} {
		live := q.ended(status, 1000, 0)
		all, want = append(all, live), append(want, live)
	}
	if n := q.retire(); n != 5 {
		t.Errorf("%d runs were removed, want 5", n)
	}
	if got := q.left(all...); len(got) != len(want) {
		t.Errorf("runs %v are left, want %v in any order", got, want)
	}
	if n := one[int](q, `SELECT count(*) FROM run WHERE finished_at < clock_timestamp() - interval '10 hours'`); n != 0 {
		t.Errorf("%d runs are left that have outlived every retention", n)
	}
	q.keep(0, 0)
	if n := q.retire(); n != 0 {
		t.Errorf("%d runs were removed of a pool that keeps all", n)
	}
}

// What hangs on a run goes with it, and nothing of any other.
func TestRetentionTakesWhatHangsOnARun(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.keep(1, 1)
	old, young := q.ended("failed", 2, 0), q.ended("failed", 0, 0)
	tables := []string{"attempt", "step", "signal", "progress", "failure", "deadline", "cancel_request", "dedupe"}
	for _, run := range []int64{old, young} {
		for _, insert := range []string{
			`INSERT INTO attempt (run, number, worker, outcome, started_at, finished_at) VALUES ($1, 1, 1, 'failed', now(), now())`,
			`INSERT INTO step (run, replay, name, seq, status, token, started_at) VALUES ($1, 0, 's', 1, 'completed', 1, now())`,
			`INSERT INTO signal (run, replay, name, payload) VALUES ($1, 0, 's', '{}')`,
			`INSERT INTO progress (run, token, value, updated_at) VALUES ($1, 1, '{}', now())`,
			`INSERT INTO failure (run, replay, pool, finished_at) VALUES ($1, 0, 'p', now())`,
			`INSERT INTO deadline (run, at) VALUES ($1, now())`,
			`INSERT INTO cancel_request (run, replay, requested_by, reason) VALUES ($1, 0, '', '')`,
			`INSERT INTO dedupe (job_type, key, run, expires_at) VALUES ('work', $1::bigint::text, $1, now() + interval '1 day')`,
		} {
			q.exec(insert, run)
		}
	}
	q.retire()
	q.wantLeft("a young run stays", []int64{old, young}, young)
	for _, table := range tables {
		if runs := one[[]int64](q, `SELECT coalesce(array_agg(run), '{}') FROM `+table); fmt.Sprint(runs) != fmt.Sprint([]int64{young}) {
			t.Errorf("rows of runs %v are left in %s, want those of run %d", runs, table, young)
		}
	}
}

// A tree goes as a whole: while one of its runs lives or is kept, what the others name can be read.
func TestRetentionKeepsATreeWhileARunOfItIsKept(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		status string
		hours  int
	}{"live": {"running", 50}, "young": {"completed", 0}, "of a longer retention": {"failed", 5}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.keep(1, 10)
			root := q.ended("completed", 50, 0)
			child := q.ended("completed", 50, root)
			kept := q.ended(c.status, c.hours, root)
			q.retire()
			q.wantLeft("a tree with a run that is kept", []int64{root, child, kept}, root, child, kept)
			q.exec(`UPDATE run SET status = 'completed', finished_at = clock_timestamp() - interval '2 hours' WHERE id = $1`, kept)
			if n := q.retire(); n != 3 {
				t.Fatalf("%d runs of the tree were removed when all had outlived their retention, want 3", n)
			}
		})
	}
}

// A tree that is larger than a batch goes in parts, children first.
func TestALargeTreeGoesInParts(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.keep(1, 1)
	root := q.ended("completed", 5, 0)
	q.exec(`
INSERT INTO run (job_type, pool, status, root, parent, created_at, finished_at)
SELECT 'work', 'p', 'completed', $1, $1, clock_timestamp() - interval '5 hours', clock_timestamp() - interval '5 hours'
FROM generate_series(1, 250)`, root)
	parts := 0
	for more := true; more; parts++ {
		var n int
		if err := q.db.QueryRow(t.Context(), `SELECT removed, more FROM retire(100)`).Scan(&n, &more); err != nil {
			t.Fatal(err)
		}
		orphans := one[int](q, `SELECT count(*) FROM run r WHERE NOT EXISTS (SELECT FROM run q WHERE q.id = r.root)`)
		if n > 100 || orphans > 0 {
			t.Fatalf("part %d removed %d runs and left %d without their root", parts, n, orphans)
		}
	}
	if n := one[int](q, `SELECT count(*) FROM run`); n != 0 || parts < 3 {
		t.Fatalf("%d runs are left after %d parts, want none after at least 3", n, parts)
	}
}

// A pool's row goes with its resource; its runs go by what it said last, until somebody declares it again.
func TestRunsOfAPoolThatIsGoneGoByItsLastRetention(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.keep(2, 10)
	young, old, failed := q.ended("completed", 1, 0), q.ended("completed", 3, 0), q.ended("failed", 3, 0)
	root := q.ended("completed", 20, 0)
	child := q.ended("failed", 20, root)
	q.declare("other", spec.DefaultPool())
	q.exec(`UPDATE run SET pool = 'other' WHERE id = $1`, root)
	all := []int64{young, old, failed, root, child}
	q.exec(`DELETE FROM pool WHERE name = $1`, pool)
	if n := q.retire(); n != 1 {
		t.Errorf("%d runs of a pool that is gone were removed, want the one that had outlived its retention", n)
	}
	q.wantLeft("its pool is gone", all, young, failed, root, child)
	q.exec(`UPDATE pool SET tuning = jsonb_set(tuning, '{retention,completedMillis}', '3600000') WHERE name = 'other'`)
	if n := q.retire(); n != 2 {
		t.Errorf("%d runs of a tree over a pool that is there and one that is gone were removed, want both", n)
	}
	q.wantLeft("both pools let the tree go", all, young, failed)

	q.keep(0, 0)
	q.exec(`UPDATE run SET finished_at = finished_at - interval '1 year', created_at = created_at - interval '1 year'`)
	if n := q.retire(); n != 0 {
		t.Errorf("%d runs were removed of a pool that was declared again and keeps all", n)
	}
	q.exec(`DELETE FROM pool WHERE name = $1`, pool)
	if n := q.retire(); n != 0 {
		t.Errorf("%d runs were removed of a pool that kept all when it went", n)
	}
}

// S10: what a caller holds in an open transaction is passed over and goes later; nothing waits.
func TestRetentionWaitsForNobody(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.keep(1, 1)
	held, free, root := q.ended("completed", 5, 0), q.ended("completed", 5, 0), q.ended("completed", 5, 0)
	child := q.ended("completed", 5, root)
	q.exec(`INSERT INTO dedupe (job_type, key, run, expires_at) VALUES ('work', 'k', $1, now() - interval '1 hour')`, free)
	caller := q.begin()
	for _, sql := range []string{
		fmt.Sprintf(`SELECT FROM run WHERE id IN (%d, %d) FOR NO KEY UPDATE`, held, child),
		`SELECT FROM dedupe FOR UPDATE`,
		`SELECT FROM retention_position FOR UPDATE`,
	} {
		if _, err := caller.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if n := q.retire(); n != 1 {
		t.Errorf("%d runs went, want the free one", n)
	}
	q.wantLeft("a caller holds a run and one of a tree", []int64{held, free, root, child}, held, root, child)
	other := q.begin()
	if _, err := other.Exec(t.Context(), `SELECT FROM retention_position FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	if n := q.retire(); n != 0 {
		t.Errorf("%d runs went while somebody else walks the pool, want none", n)
	}
	commit(t, other)
	commit(t, caller)
	if n := q.retire(); n != 3 {
		t.Errorf("%d runs went when the caller had gone, want 3", n)
	}
	if n := one[int](q, `SELECT count(*) FROM dedupe`); n != 0 {
		t.Errorf("%d dedupe keys are left that have run out", n)
	}
}

// A key holds for its window, and a handler that completed its run itself may still be executing.
func TestRetentionKeepsWhatIsStillNeeded(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.keep(1, 1)
	deduped, executing := q.ended("completed", 5, 0), q.ended("completed", 5, 0)
	q.exec(`INSERT INTO dedupe (job_type, key, run, expires_at) VALUES ('work', 'k', $1, now() + interval '1 hour')`, deduped)
	q.exec(`INSERT INTO completing (run, token, worker) VALUES ($1, 1, 1)`, executing)
	if n := q.retire(); n != 0 {
		t.Fatalf("%d runs were removed, want the deduped and the executing one kept", n)
	}
	q.exec(`UPDATE dedupe SET expires_at = now() - interval '1 hour'`)
	q.exec(`DELETE FROM completing`)
	if n := q.retire(); n != 2 {
		t.Fatalf("%d runs were removed when nothing needs them, want 2", n)
	}
}

// The walk looks at what may be old enough, not at the history that is kept.
func TestRetentionsCostIsThatOfWhatIsOld(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.keep(1, 1)
	read := func() int64 {
		tx := q.begin()
		fetched := func() int64 {
			var n int64
			if err := tx.QueryRow(t.Context(), `SELECT pg_stat_get_xact_tuples_fetched('run'::regclass)`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := fetched()
		for more := true; more; {
			if err := tx.QueryRow(t.Context(), `SELECT more FROM retire(500)`).Scan(&more); err != nil {
				t.Fatal(err)
			}
		}
		n := fetched() - before
		commit(t, tx)
		return n
	}
	young := func(n int) {
		q.exec(`
INSERT INTO run (id, job_type, pool, status, root, finished_at)
SELECT x.id, 'work', 'p', 'completed', x.id, clock_timestamp()
FROM (SELECT nextval('run_id_seq') AS id FROM generate_series(1, $1::int)) AS x`, n)
	}
	young(1000)
	few := read()
	young(20_000)
	q.exec(`ANALYZE run`)
	if many := read(); many > few+500 {
		t.Errorf("a walk read %d runs with 21 000 kept, %d with 1 000", many, few)
	}
}
