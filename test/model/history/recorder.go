package history

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed recorder.sql
var recorderSQL string

// DB is a connection or a pool whose search path begins with the engine's schema.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Install makes a migrated database write its history down from now on. It comes before the first worker and run. The
// writer of a change is its session's application_name: a suite that gives every worker process a name of its own, and
// registers, settles and completes under it, has Accept check who wrote.
func Install(ctx context.Context, db DB) error {
	if _, err := db.Exec(ctx, recorderSQL); err != nil {
		return fmt.Errorf("install the recorder of the history: %w", err)
	}
	return nil
}

// Watch also records a table of the test's own with the columns run and token: rows that handlers insert in the same
// transaction as their completion.
func Watch(ctx context.Context, db DB, table string) error {
	name := pgx.Identifier{table}.Sanitize()
	if _, err := db.Exec(ctx, `CREATE TRIGGER history AFTER INSERT ON `+name+` FOR EACH ROW EXECUTE FUNCTION history_note()`); err != nil {
		return fmt.Errorf("record table %q: %w", table, err)
	}
	return nil
}

// Read returns what was recorded, transaction by transaction, in an order in which they could have run. effects are the
// tables given to Watch.
func Read(ctx context.Context, db DB, effects ...string) ([]Change, error) {
	rows, err := db.Query(ctx, `
SELECT tx, CASE WHEN relation = ANY ($1) THEN 'effect' ELSE relation END, old, new, writer
FROM (SELECT *, max(seq) OVER (PARTITION BY tx) AS last FROM history) AS h
ORDER BY last, seq`, effects)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	changes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Change, err error) {
		return c, row.Scan(&c.Tx, &c.Table, &c.Old, &c.New, &c.Writer)
	})
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	return changes, nil
}
