package sink

import (
	"context"
	_ "embed" // the catalog query
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

//go:embed inspect.sql
var inspectSQL string

// Querier is what Inspect needs: a pool, a connection or a transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Column is a column as it stands in the database.
type Column struct {
	Name string `json:"name"`
	// Number is never used again within a table, so a dropped and added column is told from the one before.
	Number int `json:"number"`
	// Type is as PostgreSQL writes it, modifiers included: "timestamp with time zone", "numeric(10,2)".
	Type       string `json:"type"`
	NotNull    bool   `json:"notNull"`
	HasDefault bool   `json:"hasDefault"`
	// Generated columns cannot be written.
	Generated bool `json:"generated"`
}

// Table is what stands in the database under a sink's name, as far as the current role can see it.
type Table struct {
	// SchemaExists, MayCreateSchema, MayCreateTable and MayUseSchema are about the schema.
	SchemaExists, MayCreateSchema, MayCreateTable, MayUseSchema bool
	// EngineSchema marks the schema of Syncline's own tables.
	EngineSchema bool
	// OID tells a table from an earlier one of the same name; 0 when nothing of that name exists.
	OID int64
	// Kind is pg_class.relkind: r is a table, p a partitioned one; empty when nothing of that name exists.
	Kind string
	// Owned says that the current role may alter it.
	Owned bool
	// Privileges lists what the current role may do, of DELETE, INSERT, SELECT and UPDATE.
	Privileges []string
	Columns    []Column
	// UniqueKeys are the column sets, sorted by name, of complete and immediate unique indexes.
	UniqueKeys [][]string
}

// Exists says whether anything of the name is there.
func (t Table) Exists() bool { return t.Kind != "" }

// Column finds a column by name.
func (t Table) Column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

// Identity changes when the table was made anew or a mapped column was added: rows that earlier runs wrote, or their
// values, are not there then, and every record must be read again.
func (t Table) Identity(fields []spec.Field) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", t.OID)
	for _, f := range fields {
		c, _ := t.Column(f.Name)
		fmt.Fprintf(&b, "/%d", c.Number)
	}
	return b.String()
}

// Inspect reads what stands in the database under the sink's name, in one query.
func Inspect(ctx context.Context, q Querier, s spec.Sink) (Table, error) {
	var t Table
	err := q.QueryRow(ctx, inspectSQL, s.Schema, s.Table).Scan(
		&t.SchemaExists, &t.MayCreateSchema, &t.EngineSchema, &t.MayCreateTable, &t.MayUseSchema,
		&t.OID, &t.Kind, &t.Owned, &t.Privileges, &t.Columns, &t.UniqueKeys)
	if err != nil {
		return Table{}, fmt.Errorf("inspect table %s: %w", Name(s), err)
	}
	return t, nil
}
