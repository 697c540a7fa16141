// Package schematest gives tests databases that have the engine's schema already: it is migrated once a test binary and
// copied for each test.
package schematest

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// Schema is the name of the schema.
const Schema = "syncline"

// NewDB makes a database with the schema on the test binary's server, and drops it with the test.
func NewDB(t testing.TB) *pgtest.DB {
	t.Helper()
	return pgtest.NewDBLike(t, migrate)
}

func migrate(ctx context.Context, uri string) (err error) {
	conn, err := pgx.Connect(ctx, uri)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	return schema.Migrate(ctx, conn, Schema)
}
