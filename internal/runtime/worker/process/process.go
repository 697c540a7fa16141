// Package process is the body of a worker process: it waits for the database and its schema, runs one worker, and shows
// both to probes and to a metrics scraper. Commands read flags and call Run; what handlers there are is theirs to say.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/syncline-dev/syncline/internal/runtime/endpoint"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
)

// queueConns are the connections for the queue's own statements: claim, settle, sweep and one to spare. Handlers have a
// pool of their own, so that a handler that takes every connection stops neither claims nor settles.
const queueConns = 4

// Options are what a worker process is made of.
type Options struct {
	// Pool is the pool to work for; Schema holds the queue.
	Pool, Schema string
	// URI is asked at every connect, so that a rotated password needs no restart.
	URI func() (string, error)
	// MaxConns bounds the connections of handlers; at least 1.
	MaxConns int32
	// DrainTimeout is how long handlers may go on after ctx has ended.
	DrainTimeout time.Duration
	// StopBudget is how long handlers that were cancelled then may take; 0 is worker.StopBudget.
	StopBudget time.Duration
	// HTTPAddress serves /healthz, /readyz and /metrics.
	HTTPAddress string
	// LocalAddress serves the worker-local API for the endpoints that the pool declares, once it declares one; empty serves
	// none. Host is where endpoints find this process: the pod's IP address.
	LocalAddress, Host string
	// Sealing opens the secrets that sign requests to endpoints; nil opens none.
	Sealing endpoint.Opener
	// Pod, Namespace and Build say who this is; they may be empty.
	Pod, Namespace, Build string
	Log                   *slog.Logger
	// Wire makes handlers and tasks for a pool of connections, once there is a schema.
	Wire func(db *pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error)
	// Queue stands between the worker and its queue; nil is nothing. Tests break the protocol's rules there.
	Queue func(worker.Store) worker.Store
}

// Run works until ctx ends and drains then. It returns nil after a clean drain and when ctx ended before the database was
// there, worker.ErrNotDrained when work was left, and other errors only for what no waiting can cure.
func Run(ctx context.Context, o Options) (err error) {
	ready := newReadiness("waiting for the database")
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", o.HTTPAddress)
	if err != nil {
		return fmt.Errorf("serve probes and metrics: %w", err)
	}
	o.Log.InfoContext(ctx, "serving probes and metrics", slog.String("address", listener.Addr().String()))
	server := serve(listener, ready, registry)
	defer func() { err = errors.Join(err, server.stop()) }()

	if !awaitSchema(ctx, o, ready) {
		return nil
	}
	return o.work(ctx, ready, registry)
}

// ballast is memory that is never touched, and so never taken from the machine, but counts for the garbage collector: with
// a heap of a few megabytes it would collect every few thousand runs. It lets a worker have as much garbage, not more.
const ballast = 32 << 20

// work runs the worker on its two pools of connections.
func (o Options) work(ctx context.Context, ready *readiness, registry *prometheus.Registry) error {
	held := make([]byte, ballast)
	defer runtime.KeepAlive(held)
	queue, err := o.connect(ctx, queueConns)
	if err != nil {
		return err
	}
	handlers, err := o.connect(ctx, o.MaxConns)
	if err != nil {
		queue.Close()
		return err
	}
	metrics := telemetry.NewWorker(registry, o.Pool)
	endpoints := endpoint.New(endpoint.Config{
		Pool: o.Pool, DB: handlers, Sealing: o.Sealing, Address: o.LocalAddress, Host: o.Host, Log: o.Log, Metrics: metrics.Endpoints,
	})
	w, err := o.worker(queue, handlers, metrics, endpoints)
	if err == nil {
		ready.follow(w.Ready)
		err = errors.Join(w.Run(ctx), closeEndpoints(ctx, endpoints))
	}
	// A handler that has not stopped may keep a connection, and closing would wait for it for ever.
	if !errors.Is(err, worker.ErrNotDrained) {
		handlers.Close()
		queue.Close()
	}
	return err
}

// closeEndpoints gives requests to the worker-local API that are under way a second.
func closeEndpoints(ctx context.Context, s *endpoint.Service) error {
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer end()
	return s.Close(ctx)
}

// declared are the job types that a pool declares, as a worker takes them.
func declared(s *endpoint.Service) func(spec.Pool) map[string]worker.Registration {
	return func(pool spec.Pool) map[string]worker.Registration {
		types := map[string]worker.Registration{}
		for _, h := range s.Declare(pool) {
			types[h.Type()] = worker.Registration{Handler: h, Config: h.Config()}
		}
		return types
	}
}

func (o Options) connect(ctx context.Context, conns int32) (*pgxpool.Pool, error) {
	// The pool outlives ctx: a drain needs it.
	return schema.Connect(context.WithoutCancel(ctx), o.URI, o.Schema, conns, schema.WithApplicationName(o.application()))
}

func (o Options) dial(ctx context.Context) (*pgx.Conn, error) {
	return schema.Dial(ctx, o.URI, o.Schema, schema.WithApplicationName(o.application()))
}

// application is what pg_stat_activity shows.
func (o Options) application() string {
	if o.Pod == "" {
		return "syncline-worker"
	}
	return "syncline-worker/" + o.Pod
}

func (o Options) worker(queue, handlers *pgxpool.Pool, metrics *telemetry.Worker, endpoints *endpoint.Service) (*worker.Worker, error) {
	types, tasks, err := o.Wire(handlers)
	if err != nil {
		return nil, err
	}
	var store worker.Store = jobs.NewStore(queue).LendTo(handlers, o.Log)
	if o.Queue != nil {
		store = o.Queue(store)
	}
	return worker.New(worker.Config{
		Pool: o.Pool, Pod: o.Pod, Namespace: o.Namespace, Build: o.Build,
		Types: types, Declared: declared(endpoints), Tasks: append(o.upkeep(handlers, metrics), tasks...),
		Store: store, Dial: o.dial,
		WakeChannel: schema.WakeChannel(o.Schema), PoolChannel: schema.PoolChannel(o.Schema),
		DrainTimeout: o.DrainTimeout, StopBudget: o.StopBudget, Log: o.Log, Metrics: metrics,
	})
}
