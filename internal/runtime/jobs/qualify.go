package jobs

import (
	"context"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// called is the one function of the schema that each statement of a caller names.
var called = regexp.MustCompile(
	`^\s*SELECT (?:[a-z_, (0)]+ FROM )?(start|start_many|spawn|cancel|cancel_scope|reschedule_scope|replay|signal|fence|complete|progress)\(`)

// qualify names the schema of the function that a statement calls.
func qualify(schemaName, sql string) string {
	m := called.FindStringSubmatchIndex(sql)
	if m == nil {
		return sql
	}
	return sql[:m[2]] + pgx.Identifier{schemaName}.Sanitize() + "." + sql[m[2]:]
}

// In lets Start, StartMany, Spawn, Cancel, CancelScope, RescheduleScope, Replay, Signal and Progress work over q, whose
// search path is the caller's own: the functions they call are named with their schema.
func In(schemaName string, q Querier) Querier { return qualified{q, schemaName} }

type qualified struct {
	q          Querier
	schemaName string
}

// Exec qualifies the function that sql calls.
func (o qualified) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return o.q.Exec(ctx, qualify(o.schemaName, sql), args...)
}

// Query qualifies the function that sql calls.
func (o qualified) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return o.q.Query(ctx, qualify(o.schemaName, sql), args...)
}

// QueryRow qualifies the function that sql calls.
func (o qualified) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return o.q.QueryRow(ctx, qualify(o.schemaName, sql), args...)
}

// InTx is In for what must stand in a transaction: Fence and Complete.
func InTx(schemaName string, tx pgx.Tx) pgx.Tx { return qualifiedTx{tx, schemaName} }

type qualifiedTx struct {
	pgx.Tx
	schemaName string
}

// Exec qualifies the function that sql calls.
func (o qualifiedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return o.Tx.Exec(ctx, qualify(o.schemaName, sql), args...)
}
