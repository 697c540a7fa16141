package jobs

import (
	"context"
	"encoding/json"
	"fmt"
)

// ReplayMode is what another life of a run keeps.
type ReplayMode string

const (
	// ReplayScratch forgets the steps and children of the lives before. It is the default.
	ReplayScratch ReplayMode = "scratch"
	// ReplayLastStep keeps the completed ones: the handler goes on behind them.
	ReplayLastStep ReplayMode = "last_step"
)

const replaySQL = `SELECT replay($1, $2, $3::jsonb)`

// Replay gives an ended run another life, in the caller's transaction when q is one, and returns its number, from 1. Tenant
// is the run's, empty for none: the runs of others are not there. It returns ErrUnknownRun, ErrNotReplayable while the run
// has not ended or its handler may still execute, and a *CollisionError when its lane or dedupe key is taken, as Start would.
// How the life before ended stays in the run's attempts.
func Replay(ctx context.Context, q Querier, run int64, tenant string, mode ReplayMode) (int, error) {
	if mode == "" {
		mode = ReplayScratch
	}
	options, err := json.Marshal(callerOptions{Tenant: tenant})
	if err != nil {
		return 0, fmt.Errorf("replay run %d: %w", run, err)
	}
	var life int
	if err := q.QueryRow(ctx, replaySQL, run, mode, string(options)).Scan(&life); err != nil {
		return 0, fmt.Errorf("replay run %d: %w", run, typed(err))
	}
	return life, nil
}
