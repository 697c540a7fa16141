package process

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
)

// upkeep is what every worker does for its database now and then; several at once share the work.
func (o Options) upkeep(db *pgxpool.Pool, metrics *telemetry.Worker) []worker.Task {
	return []worker.Task{
		{Name: "remove old runs", Every: time.Minute, Timeout: 5 * time.Minute, Run: func(ctx context.Context) error {
			n, err := jobs.Retire(ctx, db)
			metrics.Retired.Add(float64(n))
			return err
		}},
		{Name: "count runs that nobody serves", Every: 15 * time.Second, Timeout: 10 * time.Second, Run: func(ctx context.Context) error {
			counts, err := jobs.Unserved(ctx, db, o.Pool, unservedLimit)
			if err == nil {
				metrics.ShowUnserved(counts)
			}
			return err
		}},
	}
}

// unservedLimit is where counting the runs of one job type stops.
const unservedLimit = 10_000
