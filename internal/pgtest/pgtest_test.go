package pgtest_test

import (
	"context"
	"testing"

	"github.com/syncline-dev/syncline/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestDatabaseBelongsToARoleWithoutSuperuserRights(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	var super bool
	if err := db.Pool.QueryRow(t.Context(), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&super); err != nil {
		t.Fatal(err)
	}
	if super {
		t.Error("the role of test databases is a superuser, so tests would not notice a right that the product must not need")
	}
}

func TestAcknowledgedCommitsSurviveAKill(t *testing.T) {
	t.Parallel()
	server, err := pgtest.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	db := server.NewDB(t)
	if _, err := db.Pool.Exec(t.Context(), "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n"); err != nil {
		t.Fatal(err)
	}
	port := server.Port()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	db.Pool.Reset() // what it had cached died with the server
	var n int
	if err := db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM kept").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 1000 || server.Port() != port {
		t.Errorf("after a kill there are %d rows on port %d, want 1000 on %d", n, server.Port(), port)
	}
}
