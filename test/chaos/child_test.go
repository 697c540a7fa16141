//go:build chaos

package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
	whole "github.com/syncline-dev/syncline/internal/runtime/worker/process"
)

// childEnv holds a child's settings as JSON and makes the test binary a worker.
const childEnv = "SYNCLINE_CHAOS_WORKER"

// settings are what a process of these tests is told.
type settings struct {
	Name    string
	URI     string
	Journal string
	Pool    string
	// Build is what it calls itself; Types are the job types that it serves, as an older build knows fewer.
	Build        string
	Types        []string
	DrainTimeout time.Duration
	// Keys open what signs requests to endpoints.
	Keys []byte
	// Broken names a rule of the protocol that this process does not obey; empty obeys all.
	Broken string
	// Clock is how far its wall clock is ahead of the machine's, and how far it moves at every step.
	Clock time.Duration
	// Migrate makes it bring the schema up to its release and end, instead of working.
	Migrate bool
}

// address is where the database is, as often as it is asked.
func (s settings) address() (string, error) { return s.URI, nil }

// application is how the recorder knows a process.
func application(name string) string { return "syncline-worker/" + name }

// child is the body of a process of these tests.
func child() int {
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	misled(s.Clock)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log, err := telemetry.NewLogger(os.Stderr, "debug")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	do := serve
	if s.Migrate {
		do = migrate
	}
	if err := do(ctx, s, log); err != nil {
		fmt.Fprintln(os.Stderr, "process ended:", err)
		return 1
	}
	return 0
}

// serve is a worker process: cmd/worker with a handler of its own.
func serve(ctx context.Context, s settings, log *slog.Logger) error {
	j, err := openJournal(s.Journal, s.Name)
	if err != nil {
		return err
	}
	go j.watchForStalls(ctx)
	keys, err := sealing.Parse(s.Keys)
	if err != nil {
		return err
	}
	return whole.Run(ctx, whole.Options{
		Pool: s.Pool, Schema: schemaName, URI: s.address, MaxConns: 5, DrainTimeout: s.DrainTimeout, StopBudget: time.Second,
		HTTPAddress: "127.0.0.1:0", LocalAddress: "127.0.0.1:0", Sealing: keys, Pod: s.Name, Build: s.Build, Log: log,
		Wire: func(db *pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) {
			types := map[string]worker.Registration{}
			for _, name := range s.Types {
				retry := jobs.RetryPolicy{Base: 50 * time.Millisecond, Fixed: true, MaxAttempts: 8}
				types[name] = worker.Registration{Handler: &handler{db: db, journal: j}, Config: jobs.TypeConfig{Retry: retry}}
			}
			return types, nil, nil
		},
		Queue: func(store worker.Store) worker.Store { return breaking(s, store) },
	})
}

// migrate brings the schema up to this release as the manager does, which tries until it can.
func migrate(ctx context.Context, s settings, log *slog.Logger) error {
	for {
		err := migrateOnce(ctx, s)
		if err == nil || ctx.Err() != nil {
			return err
		}
		log.Warn("migrate", slog.Any("error", err))
		_ = wait(ctx, 100)
	}
}

func migrateOnce(ctx context.Context, s settings) error {
	ctx, end := context.WithTimeout(ctx, 10*time.Second)
	defer end()
	conn, err := schema.Dial(ctx, s.address, schemaName)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return schema.Migrate(ctx, conn, schemaName)
}

// aside is a connection pool of a worker that breaks rules.
func (s settings) aside() *pgxpool.Pool {
	db, err := schema.Connect(context.Background(), s.address, schemaName, 4, schema.WithApplicationName(application(s.Name)))
	if err != nil {
		panic(err)
	}
	return db
}
