package worker

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// hearing is a listener on a real database; every call it makes is a word on a channel.
type hearing struct {
	t      *testing.T
	db     *pgtest.DB
	tuning *tuning
	heard  chan string
}

func listenTo(t *testing.T, mode spec.WakeMode) *hearing {
	t.Helper()
	pool := spec.DefaultPool()
	pool.WakeMode = mode
	h := &hearing{t: t, db: pgtest.NewDB(t), tuning: newTuning(pool, 1), heard: make(chan string, 100)}
	l := &listener{
		dial: func(ctx context.Context) (*pgx.Conn, error) {
			cfg, err := pgx.ParseConfig(h.db.URI)
			if err != nil {
				return nil, err
			}
			cfg.RuntimeParams["application_name"] = "listener"
			return pgx.ConnectConfig(ctx, cfg)
		},
		tuning: h.tuning, pool: "batch", wake: `odd "name"_wake`, changed: "s_pool",
		onWake: func() { h.heard <- "wake" }, onTune: func() { h.heard <- "tune" },
		log: slog.New(slog.NewTextHandler(io.Discard, nil)), metrics: telemetry.NewWorker(prometheus.NewRegistry(), "batch"),
		trouble: outage{what: "listen"},
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return h
}

func (h *hearing) want(words ...string) {
	h.t.Helper()
	for _, want := range words {
		select {
		case got := <-h.heard:
			if got != want {
				h.t.Fatalf("heard %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			h.t.Fatalf("heard nothing, want %q", want)
		}
	}
}

func (h *hearing) notify(channel, payload string) {
	h.t.Helper()
	if _, err := h.db.Pool.Exec(h.t.Context(), "SELECT pg_notify($1, $2)", channel, payload); err != nil {
		h.t.Fatal(err)
	}
}

// connections counts the listener's.
func (h *hearing) connections() (n int) {
	h.t.Helper()
	err := h.db.Pool.QueryRow(h.t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'listener' AND datname = current_database()").Scan(&n)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func TestListenerWakesForItsPoolOnly(t *testing.T) {
	t.Parallel()
	h := listenTo(t, spec.WakeNotify)
	h.want("wake", "tune") // what happened before it listened
	h.notify(`odd "name"_wake`, "another")
	h.notify(`odd "name"_wake`, "batch")
	h.want("wake")
	h.notify("s_pool", "another")
	h.notify("s_pool", "batch")
	h.want("tune")
}

// C4: what was announced while nobody listened is looked for after every LISTEN.
func TestListenerLooksAfterEveryListen(t *testing.T) {
	t.Parallel()
	h := listenTo(t, spec.WakeNotify)
	h.want("wake", "tune")
	const terminate = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = 'listener' AND datname = current_database()`
	if _, err := h.db.Superuser(t).Exec(t.Context(), terminate); err != nil {
		t.Fatal(err)
	}
	h.want("wake", "tune")
	h.notify(`odd "name"_wake`, "batch")
	h.want("wake")
}

func TestListenerFollowsTheWakeMode(t *testing.T) {
	t.Parallel()
	h := listenTo(t, spec.WakePoll)
	pool := spec.DefaultPool()
	h.tuning.set(pool, 2)
	h.want("wake", "tune")
	pool.WakeMode = spec.WakePoll
	h.tuning.set(pool, 3)
	deadline := time.After(20 * time.Second)
	for h.connections() > 0 {
		select {
		case <-deadline:
			t.Fatal("a pool that polls keeps a connection to listen")
		default:
		}
	}
	h.notify(`odd "name"_wake`, "batch")
	pool.WakeMode = spec.WakeNotify
	h.tuning.set(pool, 4)
	h.want("wake", "tune")
}
