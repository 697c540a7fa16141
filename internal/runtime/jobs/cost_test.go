package jobs_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// statements counts what is sent to the server.
type statements struct {
	mu  sync.Mutex
	sql []string
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sql = append(s.sql, strings.TrimSpace(data.SQL))
	return ctx
}

func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// take gives the number of statements since the last call.
func (s *statements) take() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.sql)
	s.sql = nil
	return n
}

// count traces every later statement of the queue.
func (q *queue) count() *statements {
	q.t.Helper()
	s := &statements{}
	cfg := q.db.Config()
	cfg.ConnConfig.Tracer = s
	q.reconnect(cfg)
	return s
}

// listen opens a session that receives notifications.
func (q *queue) listen() *pgx.Conn {
	q.t.Helper()
	conn := q.renewal()
	if _, err := conn.Exec(q.t.Context(), `LISTEN syncline_wake`); err != nil {
		q.t.Fatalf("listen: %v", err)
	}
	return conn
}

// wantNotifications reads up to a mark that comes after everything before it.
func (q *queue) wantNotifications(conn *pgx.Conn, what string, want ...string) {
	q.t.Helper()
	q.exec(`SELECT pg_notify('syncline_wake', 'mark')`)
	var got []string
	for {
		n, err := conn.WaitForNotification(q.t.Context())
		if err != nil {
			q.t.Fatalf("wait for notification: %v", err)
		}
		if n.Payload == "mark" {
			break
		}
		got = append(got, n.Payload)
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		q.t.Errorf("%s sent notifications %v, want %v", what, got, want)
	}
}

// updated is what the session of conn has written.
func updated(t testing.TB, conn jobs.Querier) map[string]int64 {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
SELECT relname::text, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables
WHERE schemaname = 'syncline' AND n_tup_ins + n_tup_upd + n_tup_del > 0`)
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

func TestC1ABeatIsOneRowWhateverIsInFlightW46(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, conn := q.register(), q.renewal()
	for _, inFlight := range []int{0, 500} {
		q.exec(`
WITH r AS (INSERT INTO run (id, job_type, pool, root) SELECT nextval('run_id_seq'), $1, $2, 0 FROM generate_series(1, $3::int) RETURNING id, run_at)
INSERT INTO ready (id, pool, job_type, vstart) SELECT id, $2, $1, run_at FROM r`, jobType, pool, inFlight)
		q.claim(inc, 1000)
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := updated(t, tx)
		q.beat(conn, inc, jobs.BeatParams{Number: int64(inFlight + 1), InFlight: inFlight})
		after := updated(t, tx)
		if len(after) != 1 || after["worker"]-before["worker"] != 1 {
			t.Errorf("a beat with %d runs in flight wrote %v beyond %v, want one row of worker", inFlight, after, before)
		}
		var scans int
		if err := tx.QueryRow(t.Context(), `SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'run'`).Scan(&scans); err != nil {
			t.Fatal(err)
		}
		if scans > 0 {
			t.Errorf("a beat with %d runs in flight reads all of run", inFlight)
		}
		commit(t, tx)
	}
}

func TestC2AClaimIsOneStatementForAllFreeSlotsW43(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register(jobType, "other")
	q.starts(20, jobs.StartParams{})
	q.starts(20, jobs.StartParams{Type: "other"})
	q.start(jobs.StartParams{Lane: "a"})
	s := q.count()
	if n := len(q.claim(inc, 41)); n != 41 || s.take() != 1 {
		t.Fatalf("claimed %d runs, want 41 in one statement", n)
	}
	if n := one[int](q, `SELECT count(*) FROM receipt`); n != 1 {
		t.Fatalf("one claim left %d receipts, want 1", n)
	}
}

func TestC3ASettleWritesWhateverGatheredInOneStatement(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.starts(5, jobs.StartParams{})
	q.start(jobs.StartParams{Lane: "a"})
	claims := q.claim(inc, 6)
	batch := []jobs.Settlement{
		completed(claims[0]), completed(claims[5]), retried(claims[1], true),
		{Claim: claims[2], Outcome: jobs.Failed, Code: "bad"},
		{Claim: claims[3], Outcome: jobs.Cancelled},
		{Claim: claims[4], Outcome: jobs.GivenBack},
	}
	s := q.count()
	for i, r := range q.settle(inc, batch...) {
		if r != jobs.Done {
			t.Errorf("settlement %d answered %s, want done", i, r)
		}
	}
	if n := s.take(); n != 1 {
		t.Fatalf("six outcomes took %d statements, want 1", n)
	}
	if n := one[int](q, `SELECT count(*) FROM receipt`); n != 0 {
		t.Fatal("the receipt is left though everything in it is settled")
	}
	q.check()
}

func TestC3ADataErrorFailsOnlyTheOffender(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.starts(8, jobs.StartParams{})
	claims := q.claim(inc, 8)
	batch := make([]jobs.Settlement, len(claims))
	for i, c := range claims {
		batch[i] = completed(c)
	}
	batch[3].Output = json.RawMessage(`{"text": "a\u0000b"}`)
	batch[6].Output = json.RawMessage("{\"broken\": \"a\x00b\"}")
	for i, r := range q.settle(inc, batch...) {
		if r != jobs.Done {
			t.Errorf("settlement %d answered %s, want done", i, r)
		}
	}
	for i, c := range claims {
		want := "completed"
		if i == 3 || i == 6 {
			want = "failed"
		}
		if s := q.status(c.RunID); s != want {
			t.Errorf("run %d of the batch is %s, want %s", i, s, want)
		}
	}
	if n := one[int](q, `SELECT count(*) FROM run WHERE error_code = 'invalid_output'`); n != 2 {
		t.Fatalf("%d runs say that their output is invalid, want 2", n)
	}
	q.check()
}

func TestC4OneNotificationATransactionAndPoolWhenSomethingBecameDueW47W48(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.declare("other", inc.Tuning)
	conn := q.listen()

	tx := q.begin()
	for _, p := range []jobs.StartParams{{Pool: pool}, {Pool: pool}, {Pool: "other"}, {Pool: pool}} {
		p.Type = jobType
		if _, err := jobs.Start(t.Context(), tx, p); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, tx)
	q.wantNotifications(conn, "four starts in one transaction", pool, "other")
	q.starts(2, jobs.StartParams{Delay: time.Hour})
	q.wantNotifications(conn, "delayed starts")
	claims := q.claim(inc, 3)
	q.wantNotifications(conn, "a claim")
	q.settle(inc, completed(claims[0]))
	q.wantNotifications(conn, "a settle")
	later := retried(claims[1], false)
	later.Delay = time.Hour
	q.settle(inc, later)
	q.wantNotifications(conn, "a retry that is not due")
	q.giveBack(inc, claims[2])
	q.wantNotifications(conn, "a run given back", pool)
	q.exec(`UPDATE scheduled SET run_at = clock_timestamp()`)
	if _, _, err := q.store.Promote(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	q.wantNotifications(conn, "three runs that became due", pool)
	if _, _, err := q.store.Promote(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	q.wantNotifications(conn, "a promotion of nothing")
	q.claim(inc, 10)
	q.sweep()
	q.wantNotifications(conn, "a sweep of nothing")
	q.expire(inc)
	q.sweep()
	q.wantNotifications(conn, "four recovered leases", pool)
}

func TestC4AFreedLaneIsNotified(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.starts(3, jobs.StartParams{Lane: "a"})
	c := q.claim(inc, 10)[0]
	conn := q.listen()
	q.settle(inc, completed(c))
	q.wantNotifications(conn, "a lane that was freed", pool)
	q.claim(inc, 10)
	q.wantNotifications(conn, "a claim in the lane")
}

// Not parallel: an open transaction of another test, though in another database, keeps old versions of rows from being
// pruned, and then there is no room for new ones.
func TestC5EveryClaimAndSettleIsAHotUpdate(t *testing.T) {
	q := newQueue(t)
	// An ANALYZE holds a snapshot: meanwhile no old version can be pruned, and the next one may not fit on its page.
	q.withoutAutovacuum()
	inc := q.register()
	const runs = 600
	q.exec(`
WITH r AS (
  INSERT INTO run (id, job_type, pool, root, scope, tenant, idempotency_key, parent, input, deadline_at, lane, lane_namespace, lane_key, lane_limit)
  SELECT nextval('run_id_seq'), $1, $2, 1, 's', 't', g::text, 1, '{"n": 1}', clock_timestamp() + interval '1 h',
         CASE WHEN g % 10 = 0 THEN g END, 'n', g::text, 1
  FROM generate_series(1, $3::int) AS g RETURNING id, run_at, lane
)
INSERT INTO ready (id, pool, job_type, vstart, lane) SELECT id, $2, $1, run_at, lane FROM r`, jobType, pool, runs)
	for _, settlement := range []func(*jobs.Claim) jobs.Settlement{
		func(c *jobs.Claim) jobs.Settlement {
			return jobs.Settlement{Claim: c, Outcome: jobs.Retried, Delay: time.Hour, KeepLane: c.RunID%20 == 0}
		},
		completed,
	} {
		for claims := q.claim(inc, 50); len(claims) > 0; claims = q.claim(inc, 50) {
			batch := make([]jobs.Settlement, len(claims))
			for i, c := range claims {
				batch[i] = settlement(c)
			}
			q.settle(inc, batch...)
		}
		q.exec(`UPDATE scheduled SET run_at = clock_timestamp()`)
		if _, _, err := q.store.Promote(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
	}
	if n := one[int](q, `SELECT count(*) FROM run WHERE status = 'completed'`); n != runs {
		t.Fatalf("%d runs are completed, want %d", n, runs)
	}
	q.db.Reset() // a session hands its statistics in when it ends
	admin := q.raw.Superuser(t)
	var updates, hot int64
	q.await("the statistics of four updates a run", func() bool {
		const read = `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = 'syncline' AND relname = 'run'`
		err := admin.QueryRow(t.Context(), read).Scan(&updates, &hot)
		if err != nil {
			t.Fatal(err)
		}
		return updates >= 4*runs
	})
	if hot != updates {
		t.Fatalf("%d of %d updates of run are HOT, want all", hot, updates)
	}
}
