// Command worker is what runs in a pool's pods: one process that claims the runs of one pool and executes them.
//
// It waits while the database is away or its schema does not fit, works until SIGTERM or SIGINT, drains then, and exits
// with 0 when nothing was left behind. A second signal ends it at once; its lease then runs out and others take over.
package main

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
	"github.com/syncline-dev/syncline/internal/runtime/worker/process"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // from now on a signal does what it does to any process
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stderr))
}

func run(ctx context.Context, args []string, env func(string) string, out io.Writer) int {
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
		Pod: o.podName, Namespace: o.podSpace, Build: build(), Log: log, Wire: o.wire(log),
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
