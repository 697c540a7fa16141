package schema_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

func connect(t *testing.T, uri string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

func TestMigrateFresh(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	conn := connect(t, db.URI)
	if err := schema.Migrate(t.Context(), conn, "syncline"); err != nil {
		t.Fatalf("migrate an empty database: %v", err)
	}
}
