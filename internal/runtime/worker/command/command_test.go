package command

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestBadUsageExitsWithTwo(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"--pool=p", "--database-uri=x", "--log-level=loud"}, {"--no-such-flag"}} {
		var out bytes.Buffer
		if code := run(t.Context(), args, func(string) string { return "" }, &out, nil); code != exitUsage || out.Len() == 0 {
			t.Errorf("worker %v exits with %d and says %q, want %d and a reason", args, code, out.String(), exitUsage)
		}
	}
}

func TestHelpExitsWithZero(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, func(string) string { return "" }, &out, nil); code != exitOK {
		t.Errorf("--help exits with %d", code)
	}
	if !strings.Contains(out.String(), "SYNCLINE_POOL") {
		t.Errorf("--help does not name the environment variables: %q", out.String())
	}
}

// The command registers for integrations in its pool, names its pod, and leaves no lease behind.
func TestWorkerRegistersAndDrains(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	conn, err := pgx.Connect(t.Context(), db.URI)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := schema.Migrate(t.Context(), conn, "syncline"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "uri")
	if err := os.WriteFile(file, []byte(db.URI+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"SYNCLINE_DATABASE_URI_FILE": file, "POD_NAME": "w-1", "POD_NAMESPACE": "team", "SYNCLINE_HTTP_ADDRESS": "127.0.0.1:0"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"--pool=batch"}, func(k string) string { return env[k] }, &out, nil) }()
	awaitWorker(t, conn)
	cancel()
	if c := <-code; c != exitOK {
		t.Errorf("the drained worker exits with %d\n%s", c, out.String())
	}
	var left int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM syncline.worker").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d leases are left (%v)", left, err)
	}
}

// awaitWorker waits until the worker has registered as it should.
func awaitWorker(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var n int
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM syncline.worker
			WHERE pool = 'batch' AND pod = 'w-1' AND namespace = 'team' AND types = '{integration.sync}'`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("no worker has registered for integration.sync in pool batch as pod w-1 of team")
		}
	}
}
