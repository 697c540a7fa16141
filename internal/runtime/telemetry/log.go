// Package telemetry holds what the processes of the data plane tell the outside: structured logs and metrics.
//
// Metrics are documented where they are declared; there is no other list of them. Nothing here decides anything.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// NewLogger writes JSON lines of at least the given level (debug, info, warn or error) to w. Instants are in UTC with the
// host's clock: they order nothing.
func NewLogger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l, ReplaceAttr: inUTC})), nil
}

func inUTC(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 {
		return slog.Time(slog.TimeKey, a.Value.Time().UTC())
	}
	return a
}
