package command

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/integration"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schedule"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
)

// wire makes the handlers and tasks of this program. What it adds may not take the place of what every worker serves.
func (o options) wire(log *slog.Logger, more Types) func(*pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
	return func(db *pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
		handler := integration.NewHandler(integration.Config{
			DB: db, Sealing: o.keyset(), Log: log,
		})
		types := map[string]worker.Registration{
			jobs.SyncType: {Handler: handler, Config: integration.TypeConfig()},
		}
		if more == nil {
			return types, o.tasks(db), nil
		}
		for name, r := range more(o.schema) {
			if _, taken := types[name]; taken {
				return nil, nil, fmt.Errorf("job type %q is built into every worker: give yours another name", name)
			}
			types[name] = r
		}
		return types, o.tasks(db), nil
	}
}

// tasks are what every worker of a pool does now and then; several at once share the work.
func (o options) tasks(db *pgxpool.Pool) []worker.Task {
	return []worker.Task{
		{Name: "start scheduled runs", Every: time.Second, Timeout: 30 * time.Second, Run: func(ctx context.Context) error {
			_, err := schedule.Tick(ctx, db, o.pool)
			return err
		}},
		{Name: "remove old audit", Every: 10 * time.Minute, Timeout: 5 * time.Minute, Run: func(ctx context.Context) error {
			_, err := integration.Retain(ctx, db)
			return err
		}},
	}
}

// keyset opens what is sealed with the mounted file; without one it says what to give.
func (o options) keyset() *sealing.File {
	if o.keysetFile == "" {
		return nil
	}
	return sealing.NewFile(o.keysetFile)
}
