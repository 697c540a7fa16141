// Package sink describes and writes the typed PostgreSQL tables that receive records.
//
// It knows tables and columns, not records: what is created, updated or deleted is decided by the integration package,
// which hands over arrays of values in text form. Inspect and Plan are free of side effects, so that a controller can
// say beforehand what a run would find.
package sink

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// column is one column that every sink table has.
type column struct {
	name    string
	typ     string
	notNull bool
}

// systemColumns are the columns that Syncline itself writes, in the order of a created table; mapped columns stand
// between external_id and version.
var systemColumns = []column{
	{"id", "uuid", true},
	{"connection_id", "uuid", true},
	{"external_id", "text", true},
	{"version", "bigint", true},
	{"created_at", "timestamptz", true},
	{"updated_at", "timestamptz", true},
	{"deleted_at", "timestamptz", false},
}

// headColumns is how many of systemColumns stand before the mapped ones.
const headColumns = 3

// Reserved reports whether a mapped field may not have this name because Syncline writes that column itself.
func Reserved(name string) bool {
	return slices.ContainsFunc(systemColumns, func(c column) bool { return c.name == name })
}

// Problem is one thing that keeps a subscription from writing its table.
type Problem struct {
	// Table is the qualified, quoted name.
	Table string
	// Column is empty when the problem is the table's.
	Column string
	// Wanted and Found are column types, empty when the problem is not one of types.
	Wanted, Found string
	// Message says what is wrong and the way out.
	Message string
}

// Error is the message, so that a problem can end a run.
func (p Problem) Error() string { return p.Message }

// Name is the qualified, quoted name of a sink's table.
func Name(s spec.Sink) string { return pgx.Identifier{s.Schema, s.Table}.Sanitize() }

// Quote quotes one identifier.
func Quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// Join gives the messages of problems as one line.
func Join(problems []Problem) string {
	messages := make([]string, len(problems))
	for i, p := range problems {
		messages[i] = p.Message
	}
	return strings.Join(messages, "; ")
}

func problemf(s spec.Sink, column, format string, args ...any) Problem {
	return Problem{Table: Name(s), Column: column, Message: fmt.Sprintf(format, args...)}
}
