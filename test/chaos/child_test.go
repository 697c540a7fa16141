//go:build chaos

package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
)

// childEnv holds a child's settings as JSON and makes the test binary a worker.
const childEnv = "SYNCLINE_CHAOS_WORKER"

// settings are what a worker process of these tests is told.
type settings struct {
	Name    string
	URI     string
	Journal string
	// Build is what it calls itself; Types are the job types that it serves, as an older build knows fewer.
	Build        string
	Types        []string
	DrainTimeout time.Duration
	// Broken names a rule of the protocol that this process does not obey; empty obeys all.
	Broken string
	// Clock is how far this process believes to be ahead of the time, if a broken rule makes it ask.
	Clock time.Duration
}

// address is where the database is, as often as it is asked.
func (s settings) address() (string, error) { return s.URI, nil }

// application is how the recorder knows a process.
func application(name string) string { return "chaos/" + name }

// child is a worker process: the body of cmd/worker without its flags and probes.
func child() int {
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "worker ended:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, s settings) error {
	log, err := telemetry.NewLogger(os.Stderr, "debug")
	if err != nil {
		return err
	}
	j, err := openJournal(s.Journal, s.Name)
	if err != nil {
		return err
	}
	go j.watchForStalls()
	connect := func(conns int32) (*pgxpool.Pool, error) {
		return schema.Connect(context.WithoutCancel(ctx), s.address, schemaName, conns, schema.WithApplicationName(application(s.Name)))
	}
	queue, err := connect(4)
	if err != nil {
		return err
	}
	handlers, err := connect(5)
	if err != nil {
		return err
	}
	types := map[string]worker.Registration{}
	for _, name := range s.Types {
		retry := jobs.RetryPolicy{Base: 50 * time.Millisecond, Fixed: true, MaxAttempts: 8}
		types[name] = worker.Registration{Handler: &handler{db: handlers, journal: j}, Config: jobs.TypeConfig{Retry: retry}}
	}
	w, err := worker.New(worker.Config{
		Pool: poolName, Pod: s.Name, Build: s.Build, Types: types, Store: breaking(s, jobs.NewStore(queue), queue),
		Dial: func(ctx context.Context) (*pgx.Conn, error) {
			return schema.Dial(ctx, s.address, schemaName, schema.WithApplicationName(application(s.Name)))
		},
		WakeChannel: schema.WakeChannel(schemaName), PoolChannel: schema.PoolChannel(schemaName),
		DrainTimeout: s.DrainTimeout, StopBudget: time.Second, Log: log, Metrics: telemetry.NewWorker(prometheus.NewRegistry(), poolName),
	})
	if err != nil {
		return err
	}
	return w.Run(ctx) // the process ends with it, and so do its connections
}
