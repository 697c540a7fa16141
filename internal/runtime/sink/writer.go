package sink

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Row is a row as it stands in the table, locked for the rest of the transaction.
type Row struct {
	ID         string
	ExternalID string
	Version    int64
	Deleted    bool
	// Fields are the mapped columns in PostgreSQL's text form, in mapping order.
	Fields []*string
}

// Write is a row to insert or to update.
type Write struct {
	ID         string
	ExternalID string
	// Version is the one the row has afterwards.
	Version int64
	Fields  []*string
}

// Removal is a row to delete.
type Removal struct {
	ID      string
	Version int64
	// Guard is the new text of the guard column, nil to leave it.
	Guard *string
}

// Writer holds the statements of one table. They take arrays, so their number depends neither on how many rows there
// are nor on how many columns; rows that are locked in key order by Read cannot deadlock with another writer.
type Writer struct {
	name   string
	fields int
	hard   bool

	read, insert, update, remove string
}

// NewWriter prepares the statements for a subscription's table. Guard is the mapped column that a removal also moves,
// empty for none.
func NewWriter(sub spec.Subscription, guard string) *Writer {
	w := &Writer{name: Name(sub.Sink), fields: len(sub.Mapping), hard: sub.Sink.Delete == spec.HardDelete}
	columns := make([]columnSQL, len(sub.Mapping))
	for i, f := range sub.Mapping {
		columns[i] = columnSQL{quoted: Quote(f.Name), value: fmt.Sprintf("u.c%d::%s", i, f.Type), param: "c" + strconv.Itoa(i)}
	}
	w.read = readSQL(w.name, columns)
	w.insert = insertSQL(w.name, columns)
	w.update = updateSQL(w.name, columns)
	w.remove = removeSQL(w.name, w.hard, guardOf(sub, guard))
	return w
}

// columnSQL is one mapped column in SQL: its quoted name, its typed value and the name of its array's elements.
type columnSQL struct{ quoted, value, param string }

func guardOf(sub spec.Subscription, guard string) *spec.Field {
	for _, f := range sub.Mapping {
		if f.Name == guard {
			return &f
		}
	}
	return nil
}

// readSQL relies on the unique key (connection_id, external_id) and READ COMMITTED: it waits for a writer that holds a
// row and then reads what that one committed.
func readSQL(table string, columns []columnSQL) string {
	var b strings.Builder
	b.WriteString("SELECT id::text, external_id, version, deleted_at IS NOT NULL, ARRAY[")
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.quoted + "::text")
	}
	fmt.Fprintf(&b, "]::text[]\nFROM %s\nWHERE connection_id = $1::text::uuid AND external_id = ANY ($2::text[])\nORDER BY external_id\nFOR UPDATE", table)
	return b.String()
}

func insertSQL(table string, columns []columnSQL) string {
	var names, values, b strings.Builder
	for _, c := range columns {
		names.WriteString(", " + c.quoted)
		values.WriteString(", " + c.value)
	}
	fmt.Fprintf(&b, "INSERT INTO %s (id, connection_id, external_id, version, created_at, updated_at%s)\n", table, names.String())
	fmt.Fprintf(&b, "SELECT u.id::uuid, $1::text::uuid, u.external_id, u.version, statement_timestamp(), statement_timestamp()%s\n", values.String())
	b.WriteString(unnest(2, "id text, external_id text, version bigint", columns))
	b.WriteString("\nON CONFLICT (connection_id, external_id) DO NOTHING")
	return b.String()
}

func updateSQL(table string, columns []columnSQL) string {
	var b strings.Builder
	fmt.Fprintf(&b, "UPDATE %s AS t\nSET version = u.version, updated_at = statement_timestamp(), deleted_at = NULL", table)
	for _, c := range columns {
		fmt.Fprintf(&b, ", %s = %s", c.quoted, c.value)
	}
	b.WriteString("\n" + unnest(1, "id text, external_id text, version bigint", columns))
	b.WriteString("\nWHERE t.id = u.id::uuid AND t.version = u.version - 1")
	return b.String()
}

func removeSQL(table string, hard bool, guard *spec.Field) string {
	const from = "unnest($1::text[], $2::bigint[], $3::text[]) AS u (id, version, guard)"
	const where = "WHERE t.id = u.id::uuid AND t.version = u.version - 1"
	if hard {
		return fmt.Sprintf("DELETE FROM %s AS t\nUSING %s\n%s", table, from, where)
	}
	set := "version = u.version, updated_at = statement_timestamp(), deleted_at = statement_timestamp()"
	if guard != nil {
		set += fmt.Sprintf(", %s = COALESCE(u.guard::%s, t.%s)", Quote(guard.Name), guard.Type, Quote(guard.Name))
	}
	return fmt.Sprintf("UPDATE %s AS t\nSET %s\nFROM %s\n%s", table, set, from, where)
}

// unnest is the FROM clause that turns parameters from the first on into rows.
func unnest(first int, head string, columns []columnSQL) string {
	var params, names strings.Builder
	n := first
	for i, part := range strings.Split(head, ", ") {
		name, typ, _ := strings.Cut(part, " ")
		if i > 0 {
			params.WriteString(", ")
			names.WriteString(", ")
		}
		fmt.Fprintf(&params, "$%d::%s[]", n, typ)
		names.WriteString(name)
		n++
	}
	for _, c := range columns {
		fmt.Fprintf(&params, ", $%d::text[]", n)
		names.WriteString(", " + c.param)
		n++
	}
	return fmt.Sprintf("FROM unnest(%s) AS u (%s)", params.String(), names.String())
}

// Read queues the statement that locks and reads the rows of a connection with these external ids, in key order.
func (w *Writer) Read(b *pgx.Batch, connection string, externalIDs []string) *pgx.QueuedQuery {
	return b.Queue(w.read, connection, externalIDs)
}

// ScanRows reads what Read found.
func ScanRows(rows pgx.Rows) ([]Row, error) {
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (Row, error) {
		var row Row
		err := r.Scan(&row.ID, &row.ExternalID, &row.Version, &row.Deleted, &row.Fields)
		return row, err
	})
}

// Insert queues new rows. Fewer rows than were given mean that somebody else inserted one meanwhile, or that a trigger
// kept one out.
func (w *Writer) Insert(b *pgx.Batch, connection string, rows []Write) *pgx.QueuedQuery {
	return b.Queue(w.insert, append([]any{connection}, w.arrays(rows)...)...)
}

// Update queues changed rows; a deleted row that is written is deleted no longer.
func (w *Writer) Update(b *pgx.Batch, rows []Write) *pgx.QueuedQuery {
	return b.Queue(w.update, w.arrays(rows)...)
}

// Remove queues deletes, soft or hard as the sink says.
func (w *Writer) Remove(b *pgx.Batch, rows []Removal) *pgx.QueuedQuery {
	ids, versions, guards := make([]string, len(rows)), make([]int64, len(rows)), make([]*string, len(rows))
	for i, r := range rows {
		ids[i], versions[i], guards[i] = r.ID, r.Version, r.Guard
	}
	return b.Queue(w.remove, ids, versions, guards)
}

func (w *Writer) arrays(rows []Write) []any {
	ids, externalIDs, versions := make([]string, len(rows)), make([]string, len(rows)), make([]int64, len(rows))
	fields := make([][]*string, w.fields)
	for j := range fields {
		fields[j] = make([]*string, len(rows))
	}
	for i, r := range rows {
		ids[i], externalIDs[i], versions[i] = r.ID, r.ExternalID, r.Version
		for j := range fields {
			fields[j][i] = r.Fields[j]
		}
	}
	args := []any{ids, externalIDs, versions}
	for _, column := range fields {
		args = append(args, column)
	}
	return args
}
