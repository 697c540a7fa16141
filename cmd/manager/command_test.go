package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// runWith runs the command and gives what it printed.
func runWith(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestBadFlagsSayWhatToDo(t *testing.T) {
	cases := map[string]struct {
		args []string
		want string
	}{
		"no worker image":     {nil, "--worker-image is not set"},
		"unknown pull policy": {[]string{"--worker-image=i", "--worker-image-pull-policy=Sometimes"}, "want Always, IfNotPresent or Never"},
		"unknown log level":   {[]string{"--worker-image=i", "--log-level=loud"}, "want debug, info, warn or error"},
		"migrate nothing":     {[]string{"migrate"}, "give either --print or --database-uri-file"},
		"migrate both":        {[]string{"migrate", "--print", "--database-uri-file=f"}, "give either --print or --database-uri-file"},
		"migrate bad schema":  {[]string{"migrate", "--print", "--schema=pg_x"}, "--schema"},
		"migrate no file":     {[]string{"migrate", "--database-uri-file=/nowhere"}, "read the database URI"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := runWith(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestMigrateNeverShowsTheURI(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "uri")
	for _, uri := range []string{"postgres://app:swordfish@[broken", "postgres://app:swordfish@127.0.0.1:1/orders?connect_timeout=1"} {
		if err := os.WriteFile(file, []byte(uri), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := runWith(t, "migrate", "--database-uri-file="+file)
		if err == nil || strings.Contains(err.Error()+out, "swordfish") {
			t.Errorf("error %v, output %q: want an error without the password", err, out)
		}
	}
}

func TestPrintedSQLAndMigrateGiveTheSameSchema(t *testing.T) {
	t.Parallel()
	printed, migrated := pgtest.NewDB(t), pgtest.NewDB(t)
	sql, err := runWith(t, "migrate", "--print", "--schema=own")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), printed.URI)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("the printed SQL does not run: %v", err)
	}
	file := filepath.Join(t.TempDir(), "uri")
	if err := os.WriteFile(file, []byte(migrated.URI+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := runWith(t, "migrate", "--database-uri-file="+file, "--schema=own"); err != nil {
		t.Fatal(err)
	}
	for _, db := range []*pgtest.DB{printed, migrated} {
		pool, err := schema.Connect(t.Context(), func() (string, error) { return db.URI, nil }, "own", 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Check(t.Context(), pool); err != nil {
			t.Errorf("schema of database %s: %v", db.Name, err)
		}
		pool.Close()
	}
}
