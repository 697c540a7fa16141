package worker

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// outage says once that something fails and once that it works again, however often it is tried meanwhile.
type outage struct {
	what string
	on   atomic.Bool
}

func (o *outage) failed(ctx context.Context, log *slog.Logger, err error) {
	level := slog.LevelDebug
	if o.on.CompareAndSwap(false, true) {
		level = slog.LevelWarn
	}
	log.Log(ctx, level, "cannot "+o.what+", trying again", slog.Any("error", err))
}

func (o *outage) over(ctx context.Context, log *slog.Logger) {
	if o.on.CompareAndSwap(true, false) {
		log.InfoContext(ctx, "can "+o.what+" again")
	}
}
