package sink

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Ensure makes the table fit the subscription and gives the table's identity (see Table.Identity). Two processes that
// find the same table missing are serialised by an advisory lock on its name. With problems nothing is changed.
func Ensure(ctx context.Context, tx pgx.Tx, sub spec.Subscription) (identity string, problems []Problem, err error) {
	table, plan, err := look(ctx, tx, sub)
	if err != nil || len(plan.Problems) > 0 || len(plan.Statements) == 0 {
		return table.Identity(sub.Mapping), plan.Problems, err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('syncline sink ' || $1, 0))", Name(sub.Sink)); err != nil {
		return "", nil, fmt.Errorf("lock table %s for creation: %w", Name(sub.Sink), err)
	}
	// Somebody else may have done it while this one waited.
	if _, plan, err = look(ctx, tx, sub); err != nil || len(plan.Problems) > 0 {
		return "", plan.Problems, err
	}
	for _, statement := range plan.Statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return "", nil, fmt.Errorf("make table %s fit: %w", Name(sub.Sink), err)
		}
	}
	table, plan, err = look(ctx, tx, sub)
	return table.Identity(sub.Mapping), plan.Problems, err
}

func look(ctx context.Context, q Querier, sub spec.Subscription) (Table, Plan, error) {
	table, err := Inspect(ctx, q, sub.Sink)
	if err != nil {
		return Table{}, Plan{}, err
	}
	return table, NewPlan(sub, table), nil
}
