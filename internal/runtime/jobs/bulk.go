package jobs

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// MaxBulk is the most runs that one StartMany takes.
const MaxBulk = 10_000

const startManySQL = `SELECT run, created FROM start_many($1, $2::text[]::jsonb[], $3::text[]::jsonb[])`

// StartMany enqueues up to MaxBulk runs of one type, in one statement and, but for those that dedupe or do not queue, one
// insert a table, and returns them in order. Type is taken from the first. All are started or none; the errors are those
// of Start.
func StartMany(ctx context.Context, q Querier, params []StartParams) ([]StartResult, error) {
	if len(params) == 0 {
		return nil, nil
	}
	inputs, options := make([]string, len(params)), make([]string, len(params))
	for i, p := range params {
		if p.Type != params[0].Type {
			return nil, fmt.Errorf("start %d runs: %w: the first is of type %q, number %d of %q; start each type by a call of its own",
				len(params), ErrInvalidStart, params[0].Type, i+1, p.Type)
		}
		var err error
		if options[i], err = p.options(); err != nil {
			return nil, fmt.Errorf("start %d runs of type %q: %w", len(params), p.Type, err)
		}
		inputs[i] = p.input()
	}
	rows, err := q.Query(ctx, startManySQL, params[0].Type, inputs, options)
	if err != nil {
		return nil, fmt.Errorf("start %d runs of type %q: %w", len(params), params[0].Type, typedStart(err))
	}
	results, err := pgx.CollectRows(rows, pgx.RowToStructByPos[StartResult])
	if err != nil {
		return nil, fmt.Errorf("start %d runs of type %q: %w", len(params), params[0].Type, typedStart(err))
	}
	return results, nil
}
