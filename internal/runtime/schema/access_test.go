package schema_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// newCaller connects as a role that may execute what is granted, and nothing else.
func newCaller(t *testing.T, db *pgtest.DB, granted ...string) *pgx.Conn {
	t.Helper()
	super := db.Superuser(t)
	role := "caller_" + db.Name
	exec(t, super, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'x'", role))
	t.Cleanup(func() {
		for _, sql := range []string{"DROP OWNED BY ", "DROP ROLE "} {
			if _, err := super.Exec(context.Background(), sql+role); err != nil {
				t.Errorf("%s%s: %v", sql, role, err)
			}
		}
	})
	exec(t, super, "GRANT USAGE ON SCHEMA syncline TO "+role)
	for _, name := range granted {
		exec(t, super, fmt.Sprintf("GRANT EXECUTE ON FUNCTION syncline.%s TO %s", name, role))
	}
	uri, err := url.Parse(db.URI)
	if err != nil {
		t.Fatal(err)
	}
	uri.User = url.UserPassword(role, "x")
	return connect(t, uri.String())
}

// denied wants the statement refused for want of a right.
func denied(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
		t.Errorf("%s: %v, want permission denied", sql, err)
	}
}

func TestARoleWithExecuteOnlyEnqueuesAndEndsRuns(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	migrate(t, connect(t, db.URI), "syncline")
	owner := in(t, db, "syncline")
	exec(t, owner, `INSERT INTO pool (name, tuning) VALUES ('p', '{}')`)
	caller := newCaller(t, db, schema.Callable...)

	run := one[int64](t, caller, `SELECT run FROM syncline.start('work', '{"n": 1}', '{"pool": "p", "lane": "l", "scope": "s", "collision": "replace"}')`)
	many := one[int](t, caller, `
SELECT count(*) FROM syncline.start_many('work', ARRAY['{}', '{}']::jsonb[], ARRAY['{"pool": "p"}', '{"pool": "p"}']::jsonb[])`)
	if many != 2 {
		t.Errorf("start_many started %d runs, want 2", many)
	}
	if got := one[string](t, caller, fmt.Sprintf(`SELECT syncline.signal(%d, 'go', '1')`, run)); got != "accepted" {
		t.Errorf("signal is %q", got)
	}
	if moved := one[int](t, caller, `SELECT moved FROM syncline.reschedule_scope('s', 60000)`); moved != 1 {
		t.Errorf("reschedule_scope moved %d runs, want 1", moved)
	}
	other := one[int64](t, caller, `SELECT run FROM syncline.start('work', '{}', '{"pool": "p"}')`)
	if got := one[string](t, caller, fmt.Sprintf(`SELECT syncline.cancel(%d, 'me', 'why')`, other)); got != "cancelled" {
		t.Errorf("cancel is %q", got)
	}
	if got := one[int](t, caller, `SELECT cancelled FROM syncline.cancel_scope('s', 'me', 'enough')`); got != 1 {
		t.Errorf("cancel_scope cancelled %d runs, want 1", got)
	}
	if life := one[int](t, caller, fmt.Sprintf(`SELECT syncline.replay(%d)`, run)); life != 1 {
		t.Errorf("replay gives life %d, want 1", life)
	}
	exec(t, owner, `INSERT INTO worker (pool, types, lease_millis, heartbeat_millis, expires_at, started_at)
		VALUES ('p', '{work}', 60000, 20000, clock_timestamp() + interval '1 minute', clock_timestamp())`)
	exec(t, owner, fmt.Sprintf(`UPDATE run SET status = 'running', claim_token = 7, claimed_at = clock_timestamp(),
		claimed_by = (SELECT max(id) FROM worker) WHERE id = %d`, run))
	if one[int64](t, caller, fmt.Sprintf(`SELECT child FROM syncline.spawn(%d, 7, 'k', 'work', '{}', '{"pool": "p"}')`, run)) == run {
		t.Error("the child is its parent")
	}
	exec(t, caller, fmt.Sprintf(`SELECT syncline.complete(%d, 7, '{}')`, run))
	if status := one[string](t, owner, fmt.Sprintf(`SELECT status FROM run WHERE id = %d`, run)); status != "completed" {
		t.Errorf("the run is %s, want completed", status)
	}
}

func TestNothingElseIsOpenToOthers(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	conn := connect(t, db.URI)
	migrate(t, conn, "syncline")
	caller := newCaller(t, db, "start")
	exec(t, conn, `INSERT INTO syncline.pool (name, tuning) VALUES ('p', '{}')`)
	exec(t, caller, `SELECT syncline.start('work', '{}', '{"pool": "p"}')`)
	for _, sql := range []string{
		`SELECT syncline.cancel(1, 'me', '')`, `SELECT syncline.sweep(5)`, `SELECT syncline.promote('p')`,
		`SELECT * FROM syncline.run`, `UPDATE syncline.ready SET pool = 'q'`, `DELETE FROM syncline.outbox`,
	} {
		denied(t, caller, sql)
	}
	open := one[string](t, conn, `
SELECT coalesce(string_agg(p.proname, ', '), '')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'syncline' AND has_function_privilege('public', p.oid, 'EXECUTE')`)
	if open != "" {
		t.Errorf("everybody may execute %s", open)
	}
	owners := one[[]string](t, conn, `
SELECT array_agg(p.proname::text ORDER BY p.proname)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'syncline' AND p.prosecdef`)
	if want := slices.Sorted(slices.Values(schema.Callable)); !slices.Equal(owners, want) {
		t.Errorf("these run as their owner: %v, want those made for other roles: %v", owners, want)
	}
}

// A function that runs as its owner must not be led to a table of the caller's making.
func TestTemporaryTablesDoNotStandBeforeTheSchemas(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	conn := connect(t, db.URI)
	migrate(t, conn, "syncline")
	exec(t, conn, `INSERT INTO syncline.pool (name, tuning) VALUES ('p', '{}')`)
	caller := newCaller(t, db, schema.Callable...)
	exec(t, caller, `CREATE TEMPORARY TABLE run (id bigint)`)
	exec(t, caller, `CREATE TEMPORARY TABLE pool (name text)`)
	exec(t, caller, `SELECT syncline.start('work', '{}', '{"pool": "p"}')`)
	if n := one[int](t, conn, `SELECT count(*) FROM syncline.run`); n != 1 {
		t.Errorf("%d runs are in the schema, want 1", n)
	}
	pinned := one[string](t, conn, `
SELECT coalesce(string_agg(p.proname, ', '), '')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'syncline' AND p.prosecdef AND NOT coalesce('search_path=syncline, pg_catalog, pg_temp' = ANY (p.proconfig), false)`)
	if pinned != "" {
		t.Errorf("these run as their owner with a search path that a caller can bend: %s", pinned)
	}
}

// What is granted stays granted when the functions are written anew.
func TestGrantsOutlastAMigration(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	conn := connect(t, db.URI)
	migrate(t, conn, "syncline")
	exec(t, conn, `INSERT INTO syncline.pool (name, tuning) VALUES ('p', '{}')`)
	caller := newCaller(t, db, "start")
	exec(t, conn, `UPDATE syncline.schema_meta SET functions = 'of an older build'`)
	migrate(t, conn, "syncline")
	exec(t, caller, `SELECT syncline.start('work', '{}', '{"pool": "p"}')`)
}
