package jobs_test

import (
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// call is one call of a function, with its arguments.
type call struct {
	sql  string
	args []any
}

// wantFewRowsRead makes calls in one session often enough that it keeps the plans of their statements, while the tables are
// small and have just been analysed, and fails those that read many rows of any table when the tables have grown.
func (q *queue) wantFewRowsRead(calls map[string]call) {
	q.t.Helper()
	q.exec(`VACUUM ANALYZE`)
	conn := q.renewal()
	for _, set := range []string{"plan_cache_mode", "jit"} {
		if _, err := conn.Exec(q.t.Context(), "SET "+set+" TO DEFAULT"); err != nil {
			q.t.Fatal(err)
		}
	}
	read := func(name string) map[string]int64 {
		tx, err := conn.Begin(q.t.Context())
		if err != nil {
			q.t.Fatal(err)
		}
		before := rowsRead(q.t, tx)
		if _, err := tx.Exec(q.t.Context(), calls[name].sql, calls[name].args...); err != nil {
			q.t.Fatalf("%s: %v", name, err)
		}
		after := rowsRead(q.t, tx)
		for table, n := range before {
			after[table] -= n
		}
		if err := tx.Rollback(q.t.Context()); err != nil {
			q.t.Fatal(err)
		}
		return after
	}
	for range 8 { // the sixth plan at the latest is kept
		for name := range calls {
			read(name)
		}
	}
	const rows = 20_000
	for _, sql := range []string{
		`INSERT INTO run (id, job_type, pool, root, status, finished_at, scope, dedupe_key, idempotency_key, parent, spawn_key, spawn_replay)
SELECT nextval('run_id_seq'), 'work', 'p', 1, 'completed', clock_timestamp(), 'o', g::text, 'i' || g, 1, 's' || g, 0 FROM generate_series(1, $1) AS g`,
		`INSERT INTO run (id, job_type, pool, root, scope, lane, lane_namespace, lane_key, lane_limit)
SELECT 10000000 + g, 'work', 'p', 1, 'o', g, '', g::text, 1 FROM generate_series(1, 4 * $1) AS g`,
		`INSERT INTO ready SELECT 10000000 + g, 'p', 'work', clock_timestamp(), g FROM generate_series(1, $1) AS g`,
		`INSERT INTO ready SELECT 20000000 + g, 'fair', 'work', clock_timestamp(), NULL, g % 9 FROM generate_series(1, $1) AS g`,
		`INSERT INTO scheduled SELECT 10000000 + g, 'p', 'work', clock_timestamp() + interval '1 hour', 0, g FROM generate_series($1 + 1, 2 * $1) AS g`,
		`INSERT INTO blocked SELECT 10000000 + g, abs(g), 'p', 'work', clock_timestamp() FROM generate_series(2 * $1 + 1, 3 * $1) AS g`,
		`INSERT INTO waiting SELECT 10000000 + g, 'p', 'work', clock_timestamp(), g FROM generate_series(3 * $1 + 1, 4 * $1) AS g`,
		`INSERT INTO step (run, replay, name, seq, status, token, started_at) SELECT g, 0, 's', 1, 'completed', 1, clock_timestamp()
FROM generate_series(-$1::int, -1) AS g`,
		`INSERT INTO signal (run, replay, name, payload) SELECT g, 0, 'go', '1' FROM generate_series(-$1::int, -1) AS g`,
		`INSERT INTO dedupe SELECT '', 'work', g::text, g, clock_timestamp() FROM generate_series(-$1::int, -1) AS g`,
		`INSERT INTO attempt SELECT g, 1, 1, '', 'retried', '', NULL, clock_timestamp(), clock_timestamp() FROM generate_series(-$1::int, -1) AS g`,
		`INSERT INTO deadline SELECT g, 'infinity' FROM generate_series(-$1::int, -1) AS g`,
		`INSERT INTO progress SELECT g, 1, '1', clock_timestamp() FROM generate_series(-$1::int, -1) AS g`,
		`INSERT INTO completing SELECT g, 1, 0 FROM generate_series(-$1::int, -1) AS g`,
		`INSERT INTO cancel_request (run, replay, requested_by, reason) SELECT g, 0, '', '' FROM generate_series(-$1::int, -1) AS g`,
		`INSERT INTO lane_hold SELECT g, abs(g), 1, 0 FROM generate_series(-$1::int, -1) AS g`,
	} {
		q.exec(sql, rows)
	}
	for name := range calls {
		for table, n := range read(name) {
			if n > rows/20 {
				q.t.Errorf("%s reads %d rows of %s", name, n, table)
			}
		}
	}
}

// What callers and handlers do, and a settle of what has gone well.
func TestPlansMadeForSmallTablesServeLargeOnes(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.withoutAutovacuum()
	inc := q.register()
	ended, parked, running := q.start(jobs.StartParams{}), q.start(jobs.StartParams{}), q.start(jobs.StartParams{Scope: "busy"})
	claims := q.claim(inc, 3)
	q.settle(inc, completed(claims[0]))
	q.exec(`UPDATE run SET dedupe_key = 'old' WHERE id = $1`, ended)
	q.exec(`INSERT INTO dedupe VALUES ('', 'work', 'old', $1, 'infinity')`, ended)
	_, err := q.waits(claims[1], "go")
	q.park(inc, claims[1], err)
	child := q.spawn(claims[2], "child", jobs.StartParams{Lane: "child"})
	pending := q.start(jobs.StartParams{Scope: "s", IdempotencyKey: "known"})
	q.exec(`SELECT start('work', '{}', '{"pool": "p", "dedupe_key": "known", "dedupe_window_ms": 3600000}')`)
	q.exec(`SELECT step_end($1, $2, $3, 'done', 'completed', '1', '', NULL, '', 1, 0, false)`, running, inc.ID, claims[2].Token)

	claim := []any{running, inc.ID, claims[2].Token}
	q.wantFewRowsRead(map[string]call{
		"start":            {`SELECT start('work', '{}', '{"pool": "p", "lane": "a", "deadline_ms": 1000}')`, nil},
		"idempotency key":  {`SELECT start('work', '{}', '{"pool": "p", "idempotency_key": "known"}')`, nil},
		"dedupe key":       {`SELECT start('work', '{}', '{"pool": "p", "dedupe_key": "known", "dedupe_window_ms": 3600000}')`, nil},
		"new keys":         {`SELECT start('work', '{}', '{"pool": "p", "dedupe_key": "n", "dedupe_window_ms": 9, "idempotency_key": "n"}')`, nil},
		"reject":           {`SELECT start('work', '{}', '{"pool": "p", "lane": "b", "collision": "reject"}')`, nil},
		"replace":          {`SELECT start('work', '{}', '{"pool": "p", "lane": "child", "collision": "replace"}')`, nil},
		"start_many":       {`SELECT start_many('work', '{1,2}', '{"{\"pool\": \"p\", \"idempotency_key\": \"known\"}"}')`, nil},
		"cancel pending":   {`SELECT cancel($1, 'by', 'why')`, []any{pending}},
		"cancel running":   {`SELECT cancel($1, 'by', 'why')`, []any{running}},
		"cancel_scope":     {`SELECT cancel_scope('s', 'by', 'why')`, nil},
		"reschedule_scope": {`SELECT reschedule_scope('s', 1000)`, nil},
		"replay":           {`SELECT replay($1, 'last_step')`, []any{ended}},
		"signal running":   {`SELECT signal($1, 'go')`, []any{running}},
		"signal parked":    {`SELECT signal($1, 'go')`, []any{parked}},
		"spawn":            {`SELECT spawn($1, $3, 'new', 'work', '{}', '{"pool": "p"}') WHERE $2 > 0`, claim},
		"spawn again":      {`SELECT spawn($1, $3, 'child', 'work', '{}', '{"pool": "p"}') WHERE $2 > 0`, claim},
		"complete":         {`SELECT complete($1, $3, '{}') WHERE $2 > 0`, claim},
		"progress":         {`SELECT progress($1, $2, $3, '{}')`, claim},
		"look_again":       {`SELECT look_again(ARRAY[$1::bigint])`, []any{parked}},
		"step_memos":       {`SELECT step_memos($1, $2, $3)`, claim},
		"step_find":        {`SELECT step_find($1, $2, $3, 'done')`, claim},
		"step_begin":       {`SELECT step_begin($1, $2, $3, 'new', '')`, claim},
		"step_end":         {`SELECT step_end($1, $2, $3, 'new', 'completed', '1', '', NULL, '', 1, 0, true)`, claim},
		"wait for signal":  {`SELECT wait_for($1, $2, $3, 'wait', 'go', NULL, 3600000, '')`, claim},
		"wait for all":     {`SELECT wait_for($1, $2, $3, 'wait', NULL, '{}', NULL, '')`, claim},
		"settle":           {`SELECT settle($2, ARRAY[$1::bigint], ARRAY[$3::bigint], ` + strings.Repeat("NULL, ", 8) + `false)`, claim},
		"wait for one":     {`SELECT wait_for($1, $2, $3, 'wait', NULL, ARRAY[$4::bigint], NULL, '')`, append(claim, child)},
	})
}

// What workers do: claims, among lanes and by turns of tenants too, and settles of all that can happen to a run.
func TestPlansOfClaimsAndSettlesMadeForSmallTablesServeLargeOnes(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.withoutAutovacuum()
	limited, fair := spec.DefaultPool(), spec.DefaultPool()
	limited.MaxRunning, fair.Fairness = 1000, spec.FairnessTenant
	q.declare(pool, limited)
	q.declare("fair", fair)
	inc := q.register()
	q.start(jobs.StartParams{Lane: "kept"})
	q.settle(inc, retried(q.claimOne(inc), true))
	for _, in := range []jobs.StartParams{{}, {Pool: "fair"}, {Pool: "fair", Tenant: "t"}} {
		for _, lane := range []string{"a", "a", "b", ""} {
			in.Lane = lane
			q.start(in)
		}
	}
	claims := map[string]*jobs.Claim{}
	for _, c := range q.claim(inc, 4) {
		claims[one[string](q, `SELECT coalesce(lane_key, '') FROM run WHERE id = $1`, c.RunID)] = c
	}
	q.settle(inc, retried(claims["kept"], true))
	q.starts(2, jobs.StartParams{Lane: "c"})
	// As if it had come before its pool was fair.
	q.exec(`UPDATE ready SET tenant = NULL WHERE id = (SELECT min(id) FROM ready WHERE tenant = '' AND lane IS NULL)`)

	calls := map[string]call{
		"claim":      {`SELECT claim($1, 'p', '{work,other}', 5)`, []any{inc.ID}},
		"fair claim": {`SELECT claim($1, 'fair', '{work,other}', 5)`, []any{inc.ID}},
		"reconcile":  {`SELECT reconcile($1, '{}', '{}')`, []any{inc.ID}},
		"promote":    {`SELECT promote('p')`, nil},
	}
	const settle = `SELECT settle($1, ARRAY[$2::bigint], ARRAY[$3::bigint], ARRAY[$4], ARRAY['{"kind": "signal", "signal": "go"}'],
  '{code}', '{message}', '{0}', '{true}', $5, $6, false, ARRAY[$2::bigint])`
	calls["lost"] = call{settle, []any{inc.ID, claims[""].RunID, claims[""].Token - 1, "failed", []int64{1}, []int64{1}}}
	receipts := one[[]int64](q, `SELECT array_agg(id) FROM receipt`)
	for name, c := range map[string]*jobs.Claim{"": claims[""], " with a lane": claims["a"]} {
		lanes := one[[]int64](q, `SELECT array_remove(ARRAY[lane], NULL) FROM run WHERE id = $1`, c.RunID)
		for _, outcome := range []jobs.Outcome{jobs.Completed, jobs.Failed, jobs.Retried, jobs.Parked} {
			calls[string(outcome)+name] = call{settle, []any{inc.ID, c.RunID, c.Token, string(outcome), lanes, receipts}}
		}
	}
	q.wantFewRowsRead(calls)
}

// However much is not due yet, or is due and left for the next time, looking for what is due reads nothing of it.
func TestWhatIsNotDueIsNotRead(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.withoutAutovacuum()
	for _, sql := range []string{
		`INSERT INTO scheduled SELECT g, 'p', 'work', clock_timestamp() + interval '1 hour', 0, NULL FROM generate_series(1, 5000) AS g`,
		`INSERT INTO waiting SELECT g, 'p', 'work', clock_timestamp(), NULL, clock_timestamp() + interval '1 hour' FROM generate_series(1, 5000) AS g`,
		`INSERT INTO scheduled SELECT g, 'late', 'work', clock_timestamp(), 0, NULL FROM generate_series(10001, 17000) AS g`,
		`INSERT INTO waiting SELECT g, 'late', 'work', clock_timestamp(), NULL, clock_timestamp() FROM generate_series(20001, 27000) AS g`,
		`INSERT INTO deadline SELECT g, clock_timestamp() + interval '1 hour' FROM generate_series(1, 5000) AS g`,
		`INSERT INTO dedupe SELECT '', 'work', g::text, g, clock_timestamp() + interval '1 hour' FROM generate_series(1, 5000) AS g`,
	} {
		q.exec(sql)
	}
	q.exec(`VACUUM ANALYZE`)
	// Of what is late 5000 rows are looked up and then removed.
	for sql, most := range map[string]int64{`promote('p')`: 10, `promote('late')`: 10_010, `sweep_requests()`: 10, `retire(1000)`: 10} {
		tx := q.begin()
		before := rowsRead(t, tx)
		if _, err := tx.Exec(t.Context(), `SELECT `+sql); err != nil {
			t.Fatal(err)
		}
		for table, n := range rowsRead(t, tx) {
			if n -= before[table]; n > most {
				t.Errorf("%s reads %d rows of %s, want at most %d", sql, n, table, most)
			}
		}
		commit(t, tx)
	}
}

// What becomes due while promote looks is not moved yet: it is named as the next to look for, and not left to the poll.
func TestWhatBecomesDueMeanwhileIsLookedForNext(t *testing.T) {
	t.Parallel()
	for place, row := range map[string]string{
		"scheduled": `INSERT INTO scheduled (id, pool, job_type, run_at, priority) VALUES (1, 'p', 'work', at, 0)`,
		"waiting":   `INSERT INTO waiting (id, pool, job_type, vstart, wake_at) VALUES (1, 'p', 'work', at, at)`,
	} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.exec(`
DO $$
DECLARE
  at timestamptz;
  n record;
BEGIN
  FOR i IN 1..2000 LOOP
    at := clock_timestamp() + i % 50 * interval '20 microseconds';
    ` + row + `;
    SELECT * INTO n FROM promote('p');
    ASSERT n.moved > 0 OR n.next_ms > 0, format('in try %s, nothing is moved, and the next look is in %s ms', i, n.next_ms);
    DELETE FROM ready;
    DELETE FROM ` + place + `;
  END LOOP;
END $$`)
		})
	}
}
