package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
)

// SpawnJSON is Spawn for a caller who has the options as the SQL function takes them, such as an HTTP endpoint. An empty
// input or empty options are empty objects; what the options may hold is the database's to check.
func SpawnJSON(ctx context.Context, q Querier, c *Claim, key, jobType string, input, options json.RawMessage) (StartResult, error) {
	var r StartResult
	err := q.QueryRow(ctx, spawnSQL, c.RunID, c.Token, key, jobType, cmp.Or(string(input), "{}"), cmp.Or(string(options), "{}")).
		Scan(&r.RunID, &r.Created)
	if err != nil {
		return StartResult{}, fmt.Errorf("spawn child %q of run %d: %w", key, c.RunID, typedStart(err))
	}
	return r, nil
}
