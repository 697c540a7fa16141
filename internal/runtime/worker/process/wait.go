package process

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// checkTimeout bounds one look at the schema.
const checkTimeout = 5 * time.Second

// awaitSchema waits until the database is there and its schema fits this binary, and says meanwhile what it waits for,
// in the log once for each reason and to the readiness probe; false when ctx ended first.
func awaitSchema(ctx context.Context, o Options, ready *readiness) bool {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, 5*time.Second
	said := ""
	for {
		err := checkSchema(ctx, o)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		ready.reason(err)
		if said != err.Error() {
			said = err.Error()
			o.Log.WarnContext(ctx, "waiting for the database and its schema", slog.String("schema", o.Schema), slog.Any("reason", err))
		}
		select {
		case <-time.After(wait.NextBackOff()):
		case <-ctx.Done():
			return false
		}
	}
}

func checkSchema(ctx context.Context, o Options) error {
	ctx, end := context.WithTimeout(ctx, checkTimeout)
	defer end()
	conn, err := o.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // it served its one question
	return schema.Check(ctx, conn)
}
