package schema_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// names are schemas that the system can live in; some need quoting, one is as long as it may be.
var names = []string{"syncline", "other", "Syn-c \"line\" $sql$", "a.b", "select", strings.Repeat("x", 50)}

// shape is everything that a migration made, as text.
func shape(t *testing.T, conn *pgx.Conn, name string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
SELECT format('column %s.%s %s %s', table_name, column_name, data_type, column_default) FROM information_schema.columns WHERE table_schema = $1
UNION ALL SELECT format('index %s', regexp_replace(indexdef, ' ON .*\.', ' ON ')) FROM pg_indexes WHERE schemaname = $1
UNION ALL SELECT format('function %s %s %s', p.oid::regprocedure::text, md5(p.prosrc), p.proconfig)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1
UNION ALL SELECT format('options %s %s', relname, reloptions)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND reloptions IS NOT NULL
ORDER BY 1`, name)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func migrate(t *testing.T, conn *pgx.Conn, name string) {
	t.Helper()
	if err := schema.Migrate(t.Context(), conn, name); err != nil {
		t.Fatalf("migrate %q: %v", name, err)
	}
}

// in opens a runtime connection to the schema.
func in(t *testing.T, db *pgtest.DB, name string) *pgx.Conn {
	t.Helper()
	conn, err := schema.Dial(t.Context(), func() (string, error) { return db.URI, nil }, name)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestMigrateMakesAWorkingSchemaOfAnyNameWithoutASuperuser(t *testing.T) {
	t.Parallel()
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.NewDB(t)
			conn := connect(t, db.URI)
			if one[bool](t, conn, `SELECT rolsuper FROM pg_roles WHERE rolname = current_user`) {
				t.Fatal("the test runs as a superuser and so shows nothing")
			}
			migrate(t, conn, name)
			runtime := in(t, db, name)
			if err := schema.Check(t.Context(), runtime); err != nil {
				t.Fatalf("check: %v", err)
			}
			exec(t, runtime, `INSERT INTO pool (name, tuning) VALUES ('p', '{}')`)
			exec(t, runtime, "LISTEN "+pgx.Identifier{schema.WakeChannel(name)}.Sanitize())
			// From a session that knows nothing of the schema: the functions pin their search path.
			exec(t, conn, "SELECT "+pgx.Identifier{name, "start"}.Sanitize()+`('work', '{}', '{"pool": "p"}')`)
			exec(t, conn, "SELECT "+pgx.Identifier{name, "sweep"}.Sanitize()+`(5)`)
			n, err := runtime.WaitForNotification(t.Context())
			if err != nil || n.Payload != "p" {
				t.Fatalf("notification is %+v, %v, want the pool's name", n, err)
			}
			if n := one[int](t, runtime, `SELECT count(*) FROM ready`); n != 1 {
				t.Fatalf("%d runs are ready, want 1", n)
			}
		})
	}
}

func TestMigrateAgainChangesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	conn := connect(t, db.URI)
	migrate(t, conn, "syncline")
	exec(t, conn, `INSERT INTO syncline.pool (name, tuning) VALUES ('p', '{}')`)
	before := shape(t, conn, "syncline")
	migrate(t, conn, "syncline")
	if diff := cmp.Diff(before, shape(t, conn, "syncline")); diff != "" {
		t.Fatalf("a second migration changed the schema (-before +after):\n%s", diff)
	}
	if n := one[int](t, conn, `SELECT count(*) FROM syncline.pool`); n != 1 {
		t.Fatal("a second migration lost data")
	}
	if v := one[int32](t, conn, `SELECT version FROM syncline.schema_meta`); v != schema.Current {
		t.Fatalf("the schema is at version %d, want %d", v, schema.Current)
	}
}

func TestMigrationsAtOnceRunOneAfterTheOther(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	var wg sync.WaitGroup
	for range 4 {
		for _, name := range []string{"syncline", "other"} {
			conn := connect(t, db.URI)
			wg.Go(func() {
				if err := schema.Migrate(t.Context(), conn, name); err != nil {
					t.Errorf("migrate %q beside others: %v", name, err)
				}
			})
		}
	}
	wg.Wait()
	conn := connect(t, db.URI)
	if a, b := shape(t, conn, "syncline"), shape(t, conn, "other"); len(a) != len(b) {
		t.Fatalf("two schemas made at once have %d and %d parts", len(a), len(b))
	}
	if n := one[int](t, conn, `
SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE l.locktype = 'advisory' AND d.datname = current_database()`); n != 0 {
		t.Fatalf("%d advisory locks are left", n)
	}
}

func TestMigrateWaitsForAnotherOfTheSameSchemaOnly(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	first, second := connect(t, db.URI), connect(t, db.URI)
	exec(t, first, `SELECT pg_advisory_lock(hashtextextended('syncline/migrate/syncline', 0))`)
	done := make(chan error, 1)
	go func() { done <- schema.Migrate(context.Background(), second, "syncline") }()
	for !one[bool](t, first, `
SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND NOT l.granted)`) {
		select {
		case err := <-done:
			t.Fatalf("migrated beside another migration of the schema, error %v", err)
		default:
		}
	}
	migrate(t, connect(t, db.URI), "other")
	exec(t, first, `SELECT pg_advisory_unlock_all()`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A caller may stay in a transaction for ever (S10). Whoever waits behind a migration that waits for it waits a moment.
func TestMigrateTriesAgainAndLetsOthersThroughMeanwhile(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	conn := connect(t, db.URI)
	migrate(t, conn, "syncline")
	exec(t, conn, `UPDATE syncline.schema_meta SET functions = 'of an older build'`)
	caller := connect(t, db.URI)
	exec(t, caller, `BEGIN`)
	exec(t, caller, `SELECT FROM syncline.schema_meta FOR UPDATE`)
	done := make(chan error, 1)
	go func() { done <- schema.Migrate(context.Background(), conn, "syncline") }()
	const waits = `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	watch := connect(t, db.URI)
	for _, waiting := range []bool{true, false, true} {
		for one[bool](t, watch, waits) != waiting {
			select {
			case err := <-done:
				t.Fatalf("migrated past a lock that somebody holds, error %v", err)
			default:
			}
		}
	}
	exec(t, caller, `ROLLBACK`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if applied := one[string](t, conn, `SELECT functions FROM syncline.schema_meta`); applied == "of an older build" {
		t.Error("the functions were not applied")
	}
	if timeout := one[string](t, conn, `SHOW lock_timeout`); timeout != "0" {
		t.Errorf("the connection's lock_timeout is %s afterwards, want it as it was", timeout)
	}
}

func TestMigrateNeedsNoRightToCreateASchemaThatIsThere(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	super := db.Superuser(t)
	exec(t, super, `CREATE SCHEMA syncline AUTHORIZATION `+pgtest.Role)
	exec(t, super, `ALTER DATABASE `+db.Name+` OWNER TO CURRENT_USER`)
	exec(t, super, `REVOKE CREATE ON DATABASE `+db.Name+` FROM PUBLIC`)
	conn := connect(t, db.URI)
	migrate(t, conn, "syncline")
	err := schema.Migrate(t.Context(), conn, "missing")
	if err == nil || !strings.Contains(err.Error(), `create schema "missing"`) || !strings.Contains(err.Error(), "permission denied") {
		t.Fatalf("error is %v, want one that names the schema and the missing right", err)
	}
}

func TestPrintIsWhatMigrateRuns(t *testing.T) {
	t.Parallel()
	for _, name := range names[:3] {
		db := pgtest.NewDB(t)
		conn := connect(t, db.URI)
		for range 2 {
			exec(t, conn, schema.Print(name))
		}
		printed := shape(t, conn, name)
		migrate(t, conn, name)
		if diff := cmp.Diff(printed, shape(t, conn, name)); diff != "" {
			t.Fatalf("a migration found something to do after the printed SQL (-printed +migrated):\n%s", diff)
		}
		other := connect(t, pgtest.NewDB(t).URI)
		migrate(t, other, name)
		if diff := cmp.Diff(shape(t, other, name), printed); diff != "" {
			t.Fatalf("the printed SQL makes another schema (-migrated +printed):\n%s", diff)
		}
		if err := schema.Check(t.Context(), in(t, db, name)); err != nil {
			t.Fatalf("check: %v", err)
		}
	}
}

func TestCheckTellsTooOldFromTooEarly(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	conn := connect(t, db.URI)
	runtime := in(t, db, "syncline")
	wantIs := func(when string, want error, words ...string) {
		t.Helper()
		err := schema.Check(t.Context(), runtime)
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Fatalf("%s: error is %v, want %v", when, err, want)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error is %q, want it to say %q", when, err, w)
			}
		}
	}
	wantIs("before the manager has migrated", schema.ErrSchemaMissing, "the manager creates it")
	migrate(t, conn, "syncline")
	wantIs("after it", nil)
	exec(t, runtime, `UPDATE schema_meta SET version = version - 1`)
	wantIs("before the manager has updated it", schema.ErrSchemaMissing, "this binary needs", "migrates it")
	exec(t, runtime, `UPDATE schema_meta SET version = version + 8`)
	wantIs("after a newer manager whose schema supports this binary", nil)
	exec(t, runtime, `UPDATE schema_meta SET min_compatible = version`)
	wantIs("after a newer manager whose schema does not", schema.ErrSchemaTooNew, "update this process")
}

func TestMigrateLeavesANewerSchemaAlone(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	conn := connect(t, db.URI)
	migrate(t, conn, "syncline")
	exec(t, conn, `UPDATE syncline.schema_version SET version = version + 3`)
	exec(t, conn, `UPDATE syncline.schema_meta SET version = version + 3`)
	migrate(t, conn, "syncline")
	if v := one[int32](t, conn, `SELECT version FROM syncline.schema_meta`); v != schema.Current+3 {
		t.Fatalf("an older binary moved the schema to version %d", v)
	}
	exec(t, conn, `UPDATE syncline.schema_meta SET min_compatible = version`)
	if err := schema.Migrate(t.Context(), conn, "syncline"); !errors.Is(err, schema.ErrSchemaTooNew) {
		t.Fatalf("error is %v, want %v", err, schema.ErrSchemaTooNew)
	}
}

func TestSchemaNamesThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "pg_mine", "a\x00b", strings.Repeat("x", 51)} {
		if err := schema.ValidName(name); err == nil {
			t.Errorf("schema name %q is accepted", name)
		}
		if err := schema.Migrate(t.Context(), nil, name); err == nil {
			t.Errorf("schema name %q is migrated", name)
		}
	}
	for _, name := range names {
		if err := schema.ValidName(name); err != nil {
			t.Errorf("schema name %q: %v", name, err)
		}
	}
}

func TestEveryFunctionThatIsNotInlinedPinsItsSearchPath(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.NewDB(t).URI)
	migrate(t, conn, "syncline")
	loose := one[[]string](t, conn, `SELECT coalesce(array_agg(proname::text ORDER BY proname), '{}') FROM pg_proc
WHERE pronamespace = 'syncline'::regnamespace AND NOT coalesce(proconfig::text, '') LIKE '%search_path=%'`)
	if !slices.Equal(loose, []string{"outlived", "vstart"}) {
		t.Fatalf("functions %v do not pin their search path, want outlived and vstart alone, which name no table", loose)
	}
}
