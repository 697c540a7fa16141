package schema_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

func TestS10RuntimeConnectionsBoundWhatTheyCanBlock(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	migrate(t, connect(t, db.URI), "syncline")
	uri := func() (string, error) { return db.URI, nil }
	pool, err := schema.Connect(t.Context(), uri, "syncline", 2, schema.WithLease(9*time.Second), schema.WithApplicationName("tester"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	conn, err := schema.Dial(t.Context(), uri, "syncline", schema.WithLease(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	setting := func(row pgx.Row) (v string) {
		t.Helper()
		if err := row.Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	const show = `SELECT current_setting($1)`
	for name, want := range map[string][2]string{
		"search_path":                         {`"syncline", pg_catalog`, `"syncline", pg_catalog`},
		"application_name":                    {"tester", "syncline"},
		"lock_timeout":                        {"3s", "3s"},
		"statement_timeout":                   {"1min", "1min"},
		"idle_in_transaction_session_timeout": {"3s", "1min"},
		"tcp_user_timeout":                    {"3000", "60000"},
		"plan_cache_mode":                     {"force_generic_plan", "force_generic_plan"},
		"jit":                                 {"off", "off"},
	} {
		pooled, single := setting(pool.QueryRow(t.Context(), show, name)), setting(conn.QueryRow(t.Context(), show, name))
		if pooled != want[0] || single != want[1] {
			t.Errorf("%s is %q in the pool and %q alone, want %q and %q", name, pooled, single, want[0], want[1])
		}
	}
}

func TestConnectsAreBoundedWhateverTheURISays(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	migrate(t, connect(t, db.URI), "syncline")
	for suffix, want := range map[string]time.Duration{
		"":                     schema.ConnectTimeout,
		"&connect_timeout=0":   schema.ConnectTimeout,
		"&connect_timeout=300": schema.ConnectTimeout,
		"&connect_timeout=4":   4 * time.Second,
		"&pool_ping_timeout=0": schema.ConnectTimeout,
	} {
		pool, err := schema.Connect(t.Context(), func() (string, error) { return db.URI + suffix, nil }, "syncline", 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := pool.Config().ConnConfig.ConnectTimeout; got != want {
			t.Errorf("with %q in the URI a connect may take %s, want %s", suffix, got, want)
		}
		if got := pool.Config().PingTimeout; got != schema.PingTimeout {
			t.Errorf("with %q in the URI a connection that has fallen silent is waited for %s, want %s", suffix, got, schema.PingTimeout)
		}
		pool.Close()
	}
}

func TestTheURIIsReadAgainAtEveryConnect(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	super := db.Superuser(t)
	role := "rotated_" + db.Name
	exec(t, super, `CREATE ROLE `+role+` LOGIN`)
	t.Cleanup(func() {
		if _, err := super.Exec(context.Background(), `DROP ROLE `+role); err != nil {
			t.Errorf("drop role: %v", err)
		}
	})
	current := db.URI
	pool, err := schema.Connect(t.Context(), func() (string, error) { return current, nil }, "syncline", 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	user := func() (name string) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), `SELECT current_user`).Scan(&name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if u := user(); u != pgtest.Role {
		t.Fatalf("connected as %q, want %q", u, pgtest.Role)
	}
	current = strings.Replace(db.URI, pgtest.Role+"@", role+"@", 1)
	pool.Reset()
	if u := user(); u != role {
		t.Fatalf("connected as %q after the rotation, want %q", u, role)
	}
}

func TestNoErrorHoldsTheURI(t *testing.T) {
	t.Parallel()
	for name, uri := range map[string]func() (string, error){
		"malformed": func() (string, error) { return "postgres://user:hunter2@host:notaport/db", nil },
		"bad words": func() (string, error) { return "host=h password=hunter2 sslmode=sometimes", nil },
		"no file":   func() (string, error) { return "", errors.New("file is missing") },
	} {
		_, pooled := schema.Connect(t.Context(), uri, "syncline", 1)
		_, single := schema.Dial(t.Context(), uri, "syncline")
		for _, err := range []error{pooled, single} {
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: error is %v, want one without the password", name, err)
			}
		}
	}
}
