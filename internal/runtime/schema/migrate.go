package schema

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/tern/v2/migrate"
)

// maxName bounds a schema's name in bytes: names of channels add a suffix to it and end at 63.
const maxName = 50

// ValidName reports why a name cannot be a schema of this system.
func ValidName(schemaName string) error {
	switch {
	case schemaName == "":
		return errors.New("schema name is empty")
	case len(schemaName) > maxName:
		return fmt.Errorf("schema name %q has %d bytes, want at most %d", schemaName, len(schemaName), maxName)
	case strings.ContainsRune(schemaName, 0):
		return errors.New("schema name holds a NUL byte")
	case strings.HasPrefix(schemaName, "pg_"):
		return fmt.Errorf("schema name %q begins with pg_, which PostgreSQL keeps for itself", schemaName)
	}
	return nil
}

const (
	// lockSQL is a session lock keyed by the schema's name, so that two managers migrate one after the other.
	lockSQL   = `SELECT pg_advisory_lock(hashtextextended('syncline/migrate/' || $1, 0))`
	unlockSQL = `SELECT pg_advisory_unlock(hashtextextended('syncline/migrate/' || $1, 0))`

	existsSQL = `SELECT count(*) > 0 FROM pg_catalog.pg_namespace WHERE nspname = $1`
)

// lockPatience is how long a migration waits for a lock before it lets go of everything and tries again. A migration locks
// whole tables: while it waits for somebody's open transaction, all others wait behind it. It is shorter than PostgreSQL's
// deadlock_timeout by default, so that of a migration and a worker that wait for each other the migration gives up.
const lockPatience = 500 * time.Millisecond

// lockPause is the time between two tries, in which those who waited behind a migration work off what they have.
const lockPause = time.Second

// Migrate creates the schema when it is missing and brings it to Current, each migration in a transaction of its own,
// under an advisory lock keyed by the schema's name: several at once run one after the other and the later ones find
// nothing to do. Work goes on meanwhile: what a transaction that stays open keeps locked is tried again until ctx ends,
// and nobody waits behind it for longer than a moment. It needs the right to create the schema (or CREATE on an existing one), no superuser. A schema that a
// newer binary made is left alone: ErrSchemaTooNew when that binary no longer supports this one, nil otherwise.
func Migrate(ctx context.Context, conn *pgx.Conn, schemaName string) (err error) {
	if err := ValidName(schemaName); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, lockSQL, schemaName); err != nil {
		return fmt.Errorf("lock schema %q for migration: %w", schemaName, err)
	}
	defer func() {
		// When the context has ended, pgx has closed the connection and so given the lock back.
		if _, unlockErr := conn.Exec(ctx, unlockSQL, schemaName); err == nil && unlockErr != nil {
			err = fmt.Errorf("unlock schema %q: %w", schemaName, unlockErr)
		}
	}()
	if err := create(ctx, conn, schemaName); err != nil {
		return fmt.Errorf("create schema %q: %w", schemaName, err)
	}
	newer, err := madeByNewer(ctx, conn, schemaName)
	if err != nil || newer {
		return err
	}
	if err := applyPatiently(ctx, conn, schemaName); err != nil {
		return fmt.Errorf("migrate schema %q: %w", schemaName, err)
	}
	return nil
}

// applyPatiently applies what is missing, as often as it takes to get the locks.
func applyPatiently(ctx context.Context, conn *pgx.Conn, schemaName string) (err error) {
	var before string
	if err := conn.QueryRow(ctx, "SELECT current_setting('lock_timeout')").Scan(&before); err != nil {
		return err
	}
	const set = "SELECT set_config('lock_timeout', $1, false)"
	if _, err := conn.Exec(ctx, set, ms(lockPatience)); err != nil {
		return err
	}
	defer func() {
		if _, setErr := conn.Exec(ctx, set, before); err == nil {
			err = setErr
		}
	}()
	for {
		err := apply(ctx, conn, schemaName)
		if !locked(err) {
			return err
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return err
		}
	}
}

// locked reports an error of a lock that was not to be had.
func locked(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "55P03" || pg.Code == "40P01")
}

// create makes the schema only when it is missing, so that a role without the right to create one can use it.
func create(ctx context.Context, conn *pgx.Conn, schemaName string) error {
	var exists bool
	if err := conn.QueryRow(ctx, existsSQL, schemaName).Scan(&exists); err != nil || exists {
		return err
	}
	_, err := conn.Exec(ctx, "CREATE SCHEMA "+quote(schemaName))
	return err
}

// madeByNewer reports a schema beyond Current, and whether this binary may still use it.
func madeByNewer(ctx context.Context, conn *pgx.Conn, schemaName string) (bool, error) {
	var exists bool
	err := conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, quote(schemaName)+".schema_meta").Scan(&exists)
	if err != nil || !exists {
		return false, err
	}
	version, minCompatible, err := meta(ctx, conn, quote(schemaName)+".schema_meta")
	if err != nil || version <= Current {
		return false, err
	}
	return true, compatible(version, minCompatible)
}

func apply(ctx context.Context, conn *pgx.Conn, schemaName string) error {
	m, err := migrate.NewMigrator(ctx, conn, versionTable(schemaName))
	if err != nil {
		return err
	}
	for i, file := range migrations() {
		m.AppendMigration(file.name, statements(schemaName, int32(i+1), file.sql), "")
	}
	if err := m.Migrate(ctx); err != nil {
		return err
	}
	return applyFunctions(ctx, conn, schemaName)
}

// applyFunctions writes the SQL functions when their text is not what was applied last.
func applyFunctions(ctx context.Context, conn *pgx.Conn, schemaName string) error {
	var applied string
	err := conn.QueryRow(ctx, "SELECT functions FROM "+quote(schemaName)+".schema_meta").Scan(&applied)
	if err != nil || applied == functionsHash() {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, functionStatements(schemaName))
		return err
	})
}

// functionStatements are the SQL functions over the schema's search path, nobody's to execute but their owner's until they
// are granted, and the note of what was applied. Grants outlast the next time.
func functionStatements(schemaName string) string {
	return fmt.Sprintf(`%s
%s
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA %s FROM PUBLIC;
UPDATE schema_meta SET functions = '%s';
`, searchPath(schemaName), functions(), quote(schemaName), functionsHash())
}

func searchPath(schemaName string) string {
	return fmt.Sprintf("SET LOCAL search_path = %s, pg_catalog, pg_temp;", quote(schemaName))
}

func versionTable(schemaName string) string { return quote(schemaName) + ".schema_version" }

func quote(schemaName string) string { return pgx.Identifier{schemaName}.Sanitize() }

// statements are one migration over the schema's search path, with the version that it leads to.
func statements(schemaName string, version int32, sql string) string {
	return fmt.Sprintf(`%s
%s
UPDATE schema_meta SET version = %d, min_compatible = greatest(min_compatible, least(%d, %d));
`, searchPath(schemaName), strings.TrimSpace(sql), version, version, MinCompatible)
}

// Print is the SQL that Migrate runs, for an administrator to run in one session. It can be run again, and over an
// older schema: what was applied is left out. A later Migrate finds nothing to do.
func Print(schemaName string) string {
	var b strings.Builder
	name, table := quote(schemaName), versionTable(schemaName)
	fmt.Fprintf(&b, `-- Schema %s, version %d. Run it as the role that shall own the tables, or grant that role USAGE on the
-- schema and all rights on its tables, sequences and functions afterwards.
BEGIN;
CREATE SCHEMA IF NOT EXISTS %s;
CREATE TABLE IF NOT EXISTS %s (version int4 NOT NULL);
INSERT INTO %s (version) SELECT 0 WHERE NOT EXISTS (SELECT FROM %s);
`, name, Current, name, table, table, table)
	for i, file := range migrations() {
		version := int32(i + 1)
		inner := dollar(statements(schemaName, version, file.sql))
		block := dollar(fmt.Sprintf(`
BEGIN
IF (SELECT version FROM %s) < %d THEN
EXECUTE %s;
UPDATE %s SET version = %d;
END IF;
END
`, table, version, inner, table, version))
		fmt.Fprintf(&b, "\n-- %s\nDO %s;\n", file.name, block)
	}
	fmt.Fprintf(&b, "\n-- functions\n%s\nCOMMIT;\n", functionStatements(schemaName))
	return b.String()
}

// dollar quotes text with a tag that does not occur in it.
func dollar(text string) string {
	tag := "$sql$"
	for n := 1; strings.Contains(text, tag); n++ {
		tag = fmt.Sprintf("$sql%d$", n)
	}
	return tag + text + tag
}
