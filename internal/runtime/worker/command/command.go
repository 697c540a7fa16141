// Package command is the worker's command line: flags and environment, the job types and tasks that every worker has, and
// what a program adds of its own. cmd/worker and the SDK's workers are this and nothing else.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
	"github.com/syncline-dev/syncline/internal/runtime/worker/process"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// Types makes the job types that a program serves besides those of every worker, once the schema is known.
type Types func(schemaName string) map[string]worker.Registration

// Main runs a worker process as flags and environment say, and ends the process: with 0 after a clean drain, with 2 when
// they cannot be read, with 1 for any other error. SIGTERM and SIGINT drain; a second signal ends the process at once.
func Main(more Types) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // from now on a signal does what it does to any process
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stderr, more))
}

func run(ctx context.Context, args []string, env func(string) string, out io.Writer, more Types) int {
	o, err := parse(args, env, out)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		_, _ = fmt.Fprintln(out, "worker:", err)
		return exitUsage
	}
	log, err := telemetry.NewLogger(out, o.logLevel)
	if err != nil {
		_, _ = fmt.Fprintln(out, "worker:", err)
		return exitUsage
	}
	log = log.With(slog.String("pool", o.pool))
	err = process.Run(ctx, process.Options{
		Pool: o.pool, Schema: o.schema, URI: o.databaseURI, MaxConns: int32(o.maxConns), // validated: at most 1000
		DrainTimeout: o.drainTimeout, HTTPAddress: o.httpAddress, LocalAddress: o.localAddress, Host: o.podIP, Sealing: o.keyset(),
		Pod: o.podName, Namespace: o.podSpace, Build: build(), Log: log, Wire: o.wire(log, more),
	})
	if err != nil {
		log.ErrorContext(ctx, "worker ended with an error", slog.Any("error", err))
		return exitError
	}
	return exitOK
}

// build names the source that this binary was made from.
func build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return info.Main.Version
}
