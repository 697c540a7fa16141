package sink_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/sink"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// ticket is a subscription with one field of each type; names that need quoting are among them.
func ticket() spec.Subscription {
	return spec.Subscription{
		Version: spec.Version, Entity: "ticket",
		Mapping: []spec.Field{
			{Name: "Title \"x\"; --", From: "title", Type: spec.Text},
			{Name: "open", From: "open", Type: spec.Boolean},
			{Name: "number", From: "number", Type: spec.BigInt},
			{Name: "price", From: "price", Type: spec.Numeric},
			{Name: "seen", From: "seen", Type: spec.TimestampTZ},
			{Name: "due", From: "due", Type: spec.Date},
			{Name: "ref", From: "ref", Type: spec.UUID},
			{Name: "extra", From: "extra", Type: spec.JSONB},
		},
		Sink: spec.Sink{Schema: "app data", Table: "Tickets", Management: spec.Managed, Delete: spec.SoftDelete},
	}
}

func ensure(t *testing.T, db *pgtest.DB, sub spec.Subscription) string {
	t.Helper()
	var identity string
	err := pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) error {
		got, problems, err := sink.Ensure(t.Context(), tx, sub)
		if len(problems) > 0 {
			t.Fatalf("problems with %s: %s", sink.Name(sub.Sink), sink.Join(problems))
		}
		identity = got
		return err
	})
	if err != nil {
		t.Fatalf("ensure %s: %v", sink.Name(sub.Sink), err)
	}
	return identity
}

func exec(t *testing.T, db *pgtest.DB, sql string) {
	t.Helper()
	if _, err := db.Pool.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestEnsureCreatesOnceAndTellsANewTableFromTheOneBefore(t *testing.T) {
	db := pgtest.NewDB(t)
	sub := ticket()
	first := ensure(t, db, sub)
	if again := ensure(t, db, sub); again != first {
		t.Errorf("identity of an unchanged table went from %q to %q", first, again)
	}
	exec(t, db, "DROP TABLE "+sink.Name(sub.Sink))
	if again := ensure(t, db, sub); again == first {
		t.Errorf("a table that was dropped and made again has the old identity %q", again)
	}
}

func TestEnsureAddsMissingColumnsToAManagedTable(t *testing.T) {
	db := pgtest.NewDB(t)
	sub := ticket()
	all := sub.Mapping
	sub.Mapping = all[:2]
	ensure(t, db, sub)
	sub.Mapping = all
	wide := ensure(t, db, sub)
	table, err := sink.Inspect(t.Context(), db.Pool, sub.Sink)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if _, ok := table.Column(f.Name); !ok {
			t.Errorf("column %q is missing after widening", f.Name)
		}
	}
	exec(t, db, "ALTER TABLE "+sink.Name(sub.Sink)+" DROP COLUMN number")
	if again := ensure(t, db, sub); again == wide {
		t.Errorf("a column that was dropped and added has the old identity %q", again)
	}
}

// TestConcurrentEnsure fails without the advisory lock: CREATE TABLE of one loses against that of another.
func TestConcurrentEnsureMakesOneTable(t *testing.T) {
	db := pgtest.NewDB(t)
	exec(t, db, `CREATE SCHEMA "app data"`)
	identities, errs := make(chan string, 8), make(chan error, 8)
	for range 8 {
		go func() {
			errs <- pgx.BeginFunc(context.Background(), db.Pool, func(tx pgx.Tx) error {
				identity, _, err := sink.Ensure(context.Background(), tx, ticket())
				identities <- identity
				return err
			})
		}()
	}
	seen := map[string]bool{}
	for range 8 {
		if err := <-errs; err != nil {
			t.Errorf("concurrent ensure: %v", err)
		}
		seen[<-identities] = true
	}
	if len(seen) != 1 {
		t.Errorf("eight ensures saw the tables %v, want one", seen)
	}
}

func TestProblemsNameTableColumnTypesAndTheWayOut(t *testing.T) {
	system := `id uuid PRIMARY KEY, connection_id uuid NOT NULL, external_id text NOT NULL, version bigint NOT NULL,
		created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, deleted_at timestamptz`
	unique := ", UNIQUE (connection_id, external_id)"
	for name, tc := range map[string]struct {
		ddl    string
		change func(*spec.Subscription)
		// wanted, found and column are compared when not empty; text is part of the message.
		column, wanted, found, text string
	}{
		"column of another type": {
			ddl:    "CREATE TABLE t (" + system + ", n text" + unique + ")",
			column: "n", wanted: "bigint", found: "text", text: `ALTER TABLE "public"."t" ALTER COLUMN "n" TYPE bigint`,
		},
		"number that would be rounded": {
			ddl:    "CREATE TABLE t (" + system + ", n numeric(10,2)" + unique + ")",
			change: func(s *spec.Subscription) { s.Mapping[0].Type = spec.Numeric }, column: "n", wanted: "numeric", found: "numeric(10,2)",
		},
		"column missing in an existing table": {
			ddl: "CREATE TABLE t (" + system + unique + ")", column: "n", wanted: "bigint",
			change: func(s *spec.Subscription) { s.Sink.Management = spec.Existing }, text: `ADD COLUMN "n" bigint`,
		},
		"generated column": {
			ddl:    "CREATE TABLE t (" + system + ", n bigint GENERATED ALWAYS AS (version * 2) STORED" + unique + ")",
			column: "n", text: "is generated",
		},
		"system column missing": {
			ddl:    "CREATE TABLE t (id uuid PRIMARY KEY, n bigint)",
			column: "connection_id", wanted: "uuid", text: "has no column connection_id",
		},
		"system column of another type": {
			ddl:    "CREATE TABLE t (" + strings.Replace(system, "version bigint", "version text", 1) + ", n bigint" + unique + ")",
			column: "version", wanted: "bigint", found: "text",
		},
		"deleted_at not nullable": {ddl: "CREATE TABLE t (" + system + " NOT NULL, n bigint" + unique + ")", column: "deleted_at", text: "DROP NOT NULL"},
		"no unique key":           {ddl: "CREATE TABLE t (" + system + ", n bigint)", text: "ADD UNIQUE (connection_id, external_id)"},
		"partial unique index": {
			ddl:  "CREATE TABLE t (" + system + ", n bigint); CREATE UNIQUE INDEX ON t (connection_id, external_id) WHERE deleted_at IS NULL",
			text: "ADD UNIQUE (connection_id, external_id)",
		},
		"deferrable key": {ddl: "CREATE TABLE t (" + system + ", n bigint" + unique + " DEFERRABLE)", text: "ADD UNIQUE (connection_id, external_id)"},
		"unmapped mandatory column": {
			ddl:    "CREATE TABLE t (" + system + ", n bigint, region text NOT NULL" + unique + ")",
			column: "region", text: "no field is mapped",
		},
		"view":                      {ddl: "CREATE VIEW t AS SELECT 1 AS n", text: "is not a table"},
		"absent and not to be made": {change: func(s *spec.Subscription) { s.Sink.Management = spec.Existing }, text: "set management: Managed"},
		"reserved name":             {change: func(s *spec.Subscription) { s.Mapping[0].Name = "version" }, column: "version", text: "source_version"},
		"catalog schema":            {change: func(s *spec.Subscription) { s.Sink.Schema = "pg_catalog" }, text: "choose another schema"},
		"information schema":        {change: func(s *spec.Subscription) { s.Sink.Schema = "information_schema" }, text: "choose another schema"},
	} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.NewDB(t)
			sub := spec.Subscription{
				Mapping: []spec.Field{{Name: "n", From: "n", Type: spec.BigInt}},
				Sink:    spec.Sink{Schema: "public", Table: "t", Management: spec.Managed, Delete: spec.SoftDelete},
			}
			if tc.ddl != "" {
				exec(t, db, "SET search_path = public; "+tc.ddl)
			}
			exec(t, db, "CREATE SCHEMA engine")
			if tc.change != nil {
				tc.change(&sub)
			}
			// The engine's schema comes first on the connections of workers.
			conn, err := pgx.Connect(t.Context(), db.URI)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // end of test
			if _, err := conn.Exec(t.Context(), "SET search_path = engine, pg_catalog"); err != nil {
				t.Fatal(err)
			}
			table, err := sink.Inspect(t.Context(), conn, sub.Sink)
			if err != nil {
				t.Fatal(err)
			}
			plan := sink.NewPlan(sub, table)
			if len(plan.Problems) == 0 || len(plan.Statements) > 0 {
				t.Fatalf("plan is %+v, want problems and no statement", plan)
			}
			p := plan.Problems[0]
			if p.Column != tc.column || p.Wanted != tc.wanted || p.Found != tc.found || !strings.Contains(p.Message, tc.text) {
				t.Errorf("problem is %+v\nwant column %q, wanted %q, found %q, message with %q", p, tc.column, tc.wanted, tc.found, tc.text)
			}
		})
	}
}

func TestPlanRefusesTheEngineSchemaAndMissingPrivileges(t *testing.T) {
	db := pgtest.NewDB(t)
	super := db.Superuser(t)
	if _, err := super.Exec(t.Context(), "CREATE SCHEMA foreign_app; CREATE TABLE foreign_app.t (n bigint)"); err != nil {
		t.Fatal(err)
	}
	sub := spec.Subscription{
		Mapping: []spec.Field{{Name: "n", From: "n", Type: spec.BigInt}},
		Sink:    spec.Sink{Schema: "foreign_app", Table: "t", Management: spec.Existing, Delete: spec.HardDelete},
	}
	table, err := sink.Inspect(t.Context(), db.Pool, sub.Sink)
	if err != nil {
		t.Fatal(err)
	}
	if got := sink.Join(sink.NewPlan(sub, table).Problems); !strings.Contains(got, "GRANT USAGE ON SCHEMA") {
		t.Errorf("problems are %q, want the missing GRANT USAGE", got)
	}
	if _, err := super.Exec(t.Context(), "GRANT USAGE ON SCHEMA foreign_app TO "+pgtest.Role); err != nil {
		t.Fatal(err)
	}
	if table, err = sink.Inspect(t.Context(), db.Pool, sub.Sink); err != nil {
		t.Fatal(err)
	}
	if got := sink.Join(sink.NewPlan(sub, table).Problems); !strings.Contains(got, "GRANT SELECT, INSERT, UPDATE, DELETE ON") {
		t.Errorf("problems are %q, want the missing GRANT on the table", got)
	}
	engine := sink.Table{SchemaExists: true, EngineSchema: true, MayCreateTable: true, MayUseSchema: true}
	if got := sink.Join(sink.NewPlan(sub, engine).Problems); !strings.Contains(got, "not for sinks") {
		t.Errorf("problems are %q, want the engine's own schema refused", got)
	}
}

const connection = "11111111-1111-4111-8111-111111111111"

// run sends one batch in one transaction and gives the number of rows each statement affected.
func run(t *testing.T, db *pgtest.DB, b *pgx.Batch) []int64 {
	t.Helper()
	var affected []int64
	err := pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) error {
		results := tx.SendBatch(t.Context(), b)
		for range b.Len() {
			tag, err := results.Exec()
			if err != nil {
				return err
			}
			affected = append(affected, tag.RowsAffected())
		}
		return results.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return affected
}

func read(t *testing.T, db *pgtest.DB, w *sink.Writer, ids ...string) []sink.Row {
	t.Helper()
	var rows []sink.Row
	b := &pgx.Batch{}
	w.Read(b, connection, ids).Query(func(r pgx.Rows) (err error) {
		rows, err = sink.ScanRows(r)
		return err
	})
	if err := pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) error { return tx.SendBatch(t.Context(), b).Close() }); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestWriterRoundTripsEveryTypeAndNull(t *testing.T) {
	db := pgtest.NewDB(t)
	sub := ticket()
	ensure(t, db, sub)
	w := sink.NewWriter(sub, "seen")
	full := []*string{
		new("a'b\"c"), new("true"), new("9223372036854775807"), new("12345678901234567890.123456789"), new("2024-01-02 03:04:05.123456+00"),
		new("2024-01-02"), new("0188e9a6-0000-7000-8000-000000000001"), new(`{"a": [1, 9007199254740993]}`),
	}
	id1, id2 := "0188e9a6-0000-7000-8000-00000000000a", "0188e9a6-0000-7000-8000-00000000000b"
	b := &pgx.Batch{}
	w.Insert(b, connection, []sink.Write{
		{ID: id1, ExternalID: "b", Version: 1, Fields: full},
		{ID: id2, ExternalID: "a", Version: 1, Fields: make([]*string, len(full))},
	})
	if got := run(t, db, b); got[0] != 2 {
		t.Fatalf("inserted %d rows, want 2", got[0])
	}
	want := []sink.Row{{ID: id2, ExternalID: "a", Version: 1, Fields: make([]*string, len(full))}, {ID: id1, ExternalID: "b", Version: 1, Fields: full}}
	if diff := cmp.Diff(want, read(t, db, w, "b", "a", "c")); diff != "" {
		t.Errorf("rows in key order (-want +got):\n%s", diff)
	}

	b = &pgx.Batch{}
	w.Insert(b, connection, []sink.Write{{ID: id2, ExternalID: "b", Version: 1, Fields: full}})
	w.Remove(b, []sink.Removal{{ID: id1, Version: 2, Guard: new("2025-01-01 00:00:00+00")}})
	w.Update(b, []sink.Write{{ID: id2, Version: 7, Fields: full}})
	if diff := cmp.Diff([]int64{0, 1, 0}, run(t, db, b)); diff != "" {
		t.Errorf("a known key must not be inserted again, a row of another version not updated (-want +got):\n%s", diff)
	}
	got := read(t, db, w, "b")[0]
	if !got.Deleted || got.Version != 2 || *got.Fields[4] != "2025-01-01 00:00:00+00" {
		t.Errorf("removed row is %+v, want deleted, version 2 and the moved guard", got)
	}
	b = &pgx.Batch{}
	w.Update(b, []sink.Write{{ID: id1, Version: 3, Fields: full}})
	run(t, db, b)
	if got := read(t, db, w, "b")[0]; got.Deleted || got.Version != 3 {
		t.Errorf("written row is %+v, want it alive at version 3", got)
	}

	sub.Sink.Delete = spec.HardDelete
	b = &pgx.Batch{}
	sink.NewWriter(sub, "").Remove(b, []sink.Removal{{ID: id1, Version: 4}})
	run(t, db, b)
	if rows := read(t, db, w, "b"); len(rows) != 0 {
		t.Errorf("hard delete left %+v", rows)
	}
}
