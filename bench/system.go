package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"encoding/json"

	"github.com/jackc/pgx/v5"
)

// system is one job queue.
type system interface {
	name() string
	// setUp makes the schema in an empty database.
	setUp(ctx context.Context, db *database) error
	// enqueue writes n jobs that are due, as fast as it can.
	enqueue(ctx context.Context, db *database, n int) error
	// enqueueOne enqueues one job whose input names the instant, as its users do, with the wake-up.
	enqueueOne(ctx context.Context, conn *pgx.Conn, at int64) error
	// settledSQL says whether nothing is due or running any more.
	settledSQL() string
	// keptSQL counts completed jobs that are still there.
	keptSQL() string
	// command is the program of a worker process; the task is appended.
	command(ctx context.Context, db *database, t task) ([]string, error)
}

// goWorker is this program as a worker.
func goWorker() []string { return []string{os.Args[0], "worker"} }

// runWorker is the main function of a worker process.
func runWorker(arg string) (err error) {
	var t task
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if t.Profile != "" {
		f, err := os.Create(t.Profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer func() {
			pprof.StopCPUProfile()
			_ = f.Close()
		}()
	}
	switch t.System {
	case "syncline":
		return runSyncline(ctx, t)
	case "floor":
		return runFloor(ctx, t)
	case "bare":
		return runBare(ctx, t)
	case "river":
		return runRiver(ctx, t)
	}
	return fmt.Errorf("no worker for system %q", t.System)
}
