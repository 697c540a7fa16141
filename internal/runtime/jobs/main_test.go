package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/schema/schematest"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestMain(m *testing.M) { pgtest.Main(m, goleak.IgnoreCurrent()) }

const (
	pool     = "p"
	jobType  = "work"
	longTime = time.Hour
)

// queue is one test's database with the schema, a pool and what the tests look with.
type queue struct {
	t     testing.TB
	db    *pgxpool.Pool
	uri   string
	raw   *pgtest.DB
	store *jobs.Store
}

func newQueue(t testing.TB) *queue {
	t.Helper()
	db := schematest.NewDB(t)
	q := &queue{t: t, uri: db.URI, raw: db}
	var err error
	q.db, err = schema.Connect(t.Context(), q.address, "syncline", 20)
	if err != nil {
		t.Fatalf("connect the pool: %v", err)
	}
	t.Cleanup(q.db.Close)
	q.store = jobs.NewStore(q.db)
	q.declare(pool, spec.DefaultPool())
	return q
}

// withoutAutovacuum has nobody analyse or vacuum the queue's tables behind the test's back.
func (q *queue) withoutAutovacuum() {
	q.t.Helper()
	q.exec(`
DO $$
DECLARE
  v_table regclass;
BEGIN
  FOR v_table IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' LOOP
    EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', v_table);
  END LOOP;
END $$`)
}

func (q *queue) address() (string, error) { return q.uri, nil }

// complete has a handler's transaction end its run.
func (q *queue) complete(tx pgx.Tx, c *jobs.Claim) {
	q.t.Helper()
	if err := jobs.Complete(q.t.Context(), tx, c, nil); err != nil {
		q.t.Fatalf("complete run %d: %v", c.RunID, err)
	}
}

// declare writes a pool's row.
func (q *queue) declare(name string, tuning spec.Pool) {
	q.t.Helper()
	doc, err := json.Marshal(tuning)
	if err != nil {
		q.t.Fatal(err)
	}
	q.exec(`INSERT INTO pool (name, tuning) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET tuning = excluded.tuning`, name, string(doc))
}

func (q *queue) exec(sql string, args ...any) {
	q.t.Helper()
	if _, err := q.db.Exec(q.t.Context(), sql, args...); err != nil {
		q.t.Fatalf("%s: %v", sql, err)
	}
}

// one reads a single value.
func one[T any](q *queue, sql string, args ...any) T {
	q.t.Helper()
	var v T
	if err := q.db.QueryRow(q.t.Context(), sql, args...).Scan(&v); err != nil {
		q.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func (q *queue) register(types ...string) *jobs.Incarnation {
	q.t.Helper()
	if len(types) == 0 {
		types = []string{jobType}
	}
	inc, err := q.store.Register(q.t.Context(), jobs.WorkerInfo{Pool: pool, Pod: "pod", Namespace: "ns", Build: "test", Types: types})
	if err != nil {
		q.t.Fatalf("register: %v", err)
	}
	return inc
}

func (q *queue) start(p jobs.StartParams) int64 {
	q.t.Helper()
	if p.Type == "" {
		p.Type = jobType
	}
	if p.Pool == "" {
		p.Pool = pool
	}
	r, err := jobs.Start(q.t.Context(), q.db, p)
	if err != nil {
		q.t.Fatalf("start: %v", err)
	}
	return r.RunID
}

func (q *queue) starts(n int, p jobs.StartParams) []int64 {
	q.t.Helper()
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = q.start(p)
	}
	return ids
}

func (q *queue) claim(inc *jobs.Incarnation, slots int) []*jobs.Claim {
	q.t.Helper()
	claims, _, err := q.store.Claim(q.t.Context(), inc, slots)
	if err != nil {
		q.t.Fatalf("claim: %v", err)
	}
	return claims
}

// claimOne claims exactly one run.
func (q *queue) claimOne(inc *jobs.Incarnation) *jobs.Claim {
	q.t.Helper()
	claims := q.claim(inc, 1)
	if len(claims) != 1 {
		q.t.Fatalf("claimed %d runs, want 1", len(claims))
	}
	return claims[0]
}

func (q *queue) settle(inc *jobs.Incarnation, batch ...jobs.Settlement) []jobs.SettleResult {
	q.t.Helper()
	results, err := q.store.Settle(q.t.Context(), inc, batch)
	if err != nil {
		q.t.Fatalf("settle: %v", err)
	}
	return results
}

func completed(c *jobs.Claim) jobs.Settlement {
	return jobs.Settlement{Claim: c, Outcome: jobs.Completed, Output: json.RawMessage(`{"ok":true}`)}
}

func retried(c *jobs.Claim, keepLane bool) jobs.Settlement {
	return jobs.Settlement{Claim: c, Outcome: jobs.Retried, Code: "error", Message: "again", KeepLane: keepLane}
}

func (q *queue) sweep() jobs.SweepResult {
	q.t.Helper()
	r, err := q.store.Sweep(q.t.Context())
	if err != nil {
		q.t.Fatalf("sweep: %v", err)
	}
	return r
}

// expire lets a lease run out, as if its time had passed.
func (q *queue) expire(inc *jobs.Incarnation) {
	q.t.Helper()
	q.exec(`UPDATE worker SET expires_at = clock_timestamp() - interval '1 ms' WHERE id = $1`, inc.ID)
}

func (q *queue) status(run int64) string {
	q.t.Helper()
	return one[string](q, `SELECT status FROM run WHERE id = $1`, run)
}

// place is where a run stands.
func (q *queue) place(run int64) string {
	q.t.Helper()
	return one[string](q, `
SELECT coalesce(string_agg(place, '+'), 'none')
FROM (SELECT 'ready' AS place FROM ready WHERE id = $1
      UNION ALL SELECT 'scheduled' FROM scheduled WHERE id = $1
      UNION ALL SELECT 'blocked' FROM blocked WHERE id = $1
      UNION ALL SELECT 'waiting' FROM waiting WHERE id = $1
      UNION ALL SELECT 'receipt' FROM receipt c JOIN run r ON r.id = $1 AND r.claimed_by = c.worker AND r.status = 'running'
                WHERE EXISTS (SELECT FROM unnest(c.ids, c.tokens) AS u (id, token) WHERE u.id = r.id AND u.token = r.claim_token)) AS x`, run)
}

func (q *queue) wantPlace(run int64, status, place string) {
	q.t.Helper()
	if s, p := q.status(run), q.place(run); s != status || p != place {
		q.t.Fatalf("run %d is %s in %s, want %s in %s", run, s, p, status, place)
	}
}

// begin opens a transaction that is rolled back at the end of the test at the latest.
func (q *queue) begin() pgx.Tx {
	q.t.Helper()
	tx, err := q.db.Begin(q.t.Context())
	if err != nil {
		q.t.Fatalf("begin: %v", err)
	}
	q.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// waiters is the number of sessions of this database that wait for a lock.
func (q *queue) waiters() int {
	q.t.Helper()
	return one[int](q, `SELECT count(*)::int FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.datname = current_database() AND NOT l.granted`)
}

// awaitWaiter returns when a session waits for a lock: then the statement under test is where the test wants it.
func (q *queue) awaitWaiter() {
	q.t.Helper()
	q.await("a session waits for a lock", func() bool { return q.waiters() > 0 })
}

// await polls the database until something holds.
func (q *queue) await(what string, holds func() bool) {
	q.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(q.t.Context(), 30*time.Second)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			q.t.Fatalf("never saw: %s", what)
		case <-tick.C:
		}
	}
}

// background runs f in a goroutine and gives its error.
func background(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func mustIs(t testing.TB, err, want error, what string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error is %v, want %v", what, err, want)
	}
}

// check fails the test when the data break the rules of section "one place" and of lanes. It may run at any moment.
func (q *queue) check() {
	q.t.Helper()
	if problems := q.problems(q.t.Context(), q.db); len(problems) > 0 {
		q.t.Fatalf("the data are not sound: %v", problems)
	}
}

const problemsSQL = `
SELECT format('run %s is pending in %s places', r.id, n) FROM run r CROSS JOIN LATERAL (
  SELECT (SELECT count(*) FROM ready x WHERE x.id = r.id) + (SELECT count(*) FROM scheduled x WHERE x.id = r.id)
       + (SELECT count(*) FROM blocked x WHERE x.id = r.id) + (SELECT count(*) FROM waiting x WHERE x.id = r.id) AS n) AS p
WHERE (r.status = 'pending') <> (n = 1) OR n > 1
UNION ALL
SELECT format('run %s is running and named by %s receipts', r.id, n) FROM run r CROSS JOIN LATERAL (
  SELECT count(*) AS n FROM receipt c CROSS JOIN LATERAL unnest(c.ids, c.tokens) AS u (id, token)
  WHERE c.worker = r.claimed_by AND u.id = r.id AND u.token = r.claim_token) AS p
WHERE r.status = 'running' AND n <> 1
UNION ALL
SELECT format('lane %s has %s claims, limit %s', l.key, n, l.max_claims) FROM lane l CROSS JOIN LATERAL (
  SELECT count(*) AS n FROM lane_hold h WHERE h.lane = l.id) AS p WHERE n > l.max_claims
UNION ALL
SELECT format('run %s runs in a lane without its hold', r.id) FROM run r
WHERE r.status = 'running' AND r.lane IS NOT NULL
  AND NOT EXISTS (SELECT FROM lane_hold h WHERE (h.run, h.token, h.worker) = (r.id, r.claim_token, r.claimed_by))`

func (q *queue) problems(ctx context.Context, db jobs.Querier) []string {
	rows, err := db.Query(ctx, problemsSQL)
	if err != nil {
		return []string{err.Error()}
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return []string{err.Error()}
	}
	return list
}

// reconnect replaces the pool of connections.
func (q *queue) reconnect(cfg *pgxpool.Config) {
	q.t.Helper()
	db, err := pgxpool.NewWithConfig(q.t.Context(), cfg)
	if err != nil {
		q.t.Fatalf("reconnect: %v", err)
	}
	q.t.Cleanup(db.Close)
	q.db, q.store = db, jobs.NewStore(db)
}

func (q *queue) giveBack(inc *jobs.Incarnation, claims ...*jobs.Claim) {
	q.t.Helper()
	if _, err := q.store.GiveBack(q.t.Context(), inc, claims...); err != nil {
		q.t.Fatalf("give back: %v", err)
	}
}
