// Package schema holds the engine's tables (migrations) and SQL functions (functions), the runner that applies them, the check
// whether a binary and a schema fit, and the connections that use the schema.
//
// The manager migrates; workers only check and connect. The statements of the queue are in package jobs, those of the
// orchestrator in package integration; what needs several statements with fresh snapshots in one call is a function
// here, with its search path pinned.
package schema

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed migrations/*.sql functions/*.sql
var files embed.FS

// MinCompatible is the lowest Current of a binary that can still work with the schema that this binary makes. It is
// raised only together with a migration that takes away what older binaries use.
const MinCompatible int32 = 3

// Current is the version of the schema that this binary makes and needs: the number of its migrations.
var Current = int32(len(migrations()))

// Callable are the SQL functions made for other roles: one that has USAGE on the schema and EXECUTE on some of them needs no
// right on any table. They run as their owner, with their search path pinned. All others are the workers' own.
var Callable = []string{
	"start", "start_many", "spawn", "cancel", "cancel_scope", "reschedule_scope", "replay", "signal", "complete",
}

// Querier is a connection, a pool of connections or a transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

var (
	// ErrSchemaTooNew says that the schema was made by a newer binary that no longer supports this one: update this
	// process. Waiting helps when the update is under way.
	ErrSchemaTooNew = errors.New("schema is too new for this binary")
	// ErrSchemaMissing says that the schema is not there yet, or older than this binary needs: the manager has to migrate
	// it first. Waiting helps.
	ErrSchemaMissing = errors.New("schema is missing or too old")
)

const checkSQL = `
SELECT version, min_compatible
FROM schema_meta`

// Check reports whether this binary can work with the schema on the connection's search path. The errors that waiting
// can cure are ErrSchemaTooNew and ErrSchemaMissing.
func Check(ctx context.Context, q Querier) error {
	version, minCompatible, err := meta(ctx, q, "schema_meta")
	if err != nil {
		return err
	}
	return compatible(version, minCompatible)
}

// meta reads the version row; table is schema_meta, qualified or not.
func meta(ctx context.Context, q Querier, table string) (version, minCompatible int32, err error) {
	err = q.QueryRow(ctx, strings.Replace(checkSQL, "schema_meta", table, 1)).Scan(&version, &minCompatible)
	pg, _ := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return version, minCompatible, nil
	case errors.Is(err, pgx.ErrNoRows), pg != nil && (pg.Code == "42P01" || pg.Code == "3F000"):
		return 0, 0, fmt.Errorf("%w: no table schema_meta on the search path; the manager creates it (or run its migrate command)", ErrSchemaMissing)
	}
	return 0, 0, fmt.Errorf("read the schema's version: %w", err)
}

// compatible compares the schema's row with this binary.
func compatible(version, minCompatible int32) error {
	switch {
	case minCompatible > Current:
		return fmt.Errorf("%w: it is at version %d and supports binaries from version %d on, this binary has %d; update this process",
			ErrSchemaTooNew, version, minCompatible, Current)
	case version < Current:
		return fmt.Errorf("%w: it is at version %d, this binary needs %d; the manager migrates it (or run its migrate command)",
			ErrSchemaMissing, version, Current)
	}
	return nil
}

// migration is one numbered file.
type migration struct {
	name string
	sql  string
}

// migrations are the embedded files in order; a gap in the numbers is a mistake of the build and panics at start.
func migrations() []migration {
	entries, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		panic(err)
	}
	list := make([]migration, len(entries))
	for i, path := range entries {
		name := strings.TrimPrefix(path, "migrations/")
		if want := fmt.Sprintf("%04d_", i+1); !strings.HasPrefix(name, want) {
			panic(fmt.Sprintf("migration %s: want a name that begins with %s", name, want))
		}
		sql, err := files.ReadFile(path)
		if err != nil {
			panic(err)
		}
		list[i] = migration{name: name, sql: string(sql)}
	}
	return list
}

// functions are the SQL functions of all files, in the order of the files' names. They hold no data, so they are written
// anew whenever their text has changed; what they replace is dropped by a migration when its signature differs.
func functions() string {
	paths, err := fs.Glob(files, "functions/*.sql")
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	for _, path := range paths {
		sql, err := files.ReadFile(path)
		if err != nil {
			panic(err)
		}
		b.Write(sql)
		b.WriteByte('\n')
	}
	return b.String()
}

// functionsHash names the text of the functions.
func functionsHash() string {
	sum := sha256.Sum256([]byte(functions()))
	return hex.EncodeToString(sum[:16])
}
