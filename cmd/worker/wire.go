package main

import (
	"errors"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/integration"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
)

// wire makes the handlers and tasks of this build.
func (o options) wire(log *slog.Logger) func(*pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
	return func(db *pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
		handler := integration.NewHandler(integration.Config{
			DB: db, Sealing: o.keyset(), UnknownKey: unknownKey, Log: log,
		})
		types := map[string]worker.Registration{
			jobs.SyncType: {Handler: handler, Config: integration.TypeConfig()},
		}
		return types, nil, nil
	}
}

// keyset opens credentials with the mounted file; nil without one.
func (o options) keyset() integration.Opener {
	if o.keysetFile == "" {
		return nil
	}
	return sealing.NewFile(o.keysetFile)
}

// unknownKey says that another process may have the key that this one lacks.
func unknownKey(err error) bool { return errors.Is(err, sealing.ErrUnknownKey) }
