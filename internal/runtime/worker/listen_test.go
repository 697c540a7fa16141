package worker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
	"github.com/syncline-dev/syncline/test/kill/proxy"
)

// hearing is a listener on a real database; every call it makes is a word on a channel.
type hearing struct {
	t      *testing.T
	db     *pgtest.DB
	tuning *tuning
	heard  chan string
	l      *listener
}

func listenTo(t *testing.T, mode spec.WakeMode, change ...func(*hearing)) *hearing {
	t.Helper()
	pool := spec.DefaultPool()
	pool.WakeMode = mode
	h := &hearing{t: t, db: pgtest.NewDB(t), tuning: newTuning(pool, 1), heard: make(chan string, 100)}
	h.l = &listener{
		dial:   func(ctx context.Context) (*pgx.Conn, error) { return h.dial(ctx, h.db.URI) },
		tuning: h.tuning, pool: "batch", wake: `odd "name"_wake`, changed: "s_pool",
		onWake: func() { h.heard <- "wake" }, onTune: func() { h.heard <- "tune" },
		log: slog.New(slog.NewTextHandler(io.Discard, nil)), metrics: telemetry.NewWorker(prometheus.NewRegistry(), "batch"),
		trouble: outage{what: "listen"}, keepalive: keepalive, keepaliveTimeout: keepaliveTimeout,
	}
	for _, f := range change {
		f(h)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); h.l.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return h
}

func (h *hearing) dial(ctx context.Context, uri string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(uri)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["application_name"] = "listener"
	return pgx.ConnectConfig(ctx, cfg)
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

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("did not happen: %s", what)
		}
	}
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
func TestListenerLooksAfterEveryListenW50(t *testing.T) {
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
	eventually(t, "a pool that polls keeps no connection to listen", func() bool { return h.connections() == 0 })
	h.notify(`odd "name"_wake`, "batch")
	pool.WakeMode = spec.WakeNotify
	h.tuning.set(pool, 4)
	h.want("wake", "tune")
}

// C4: a connection that fell silent is found by the keepalive and replaced; what was announced meanwhile is looked for.
func TestListenerReplacesASilentConnectionW50(t *testing.T) {
	t.Parallel()
	network, err := proxy.Listen(fmt.Sprintf("127.0.0.1:%d", pgtest.Server(t).Port()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	h := listenTo(t, spec.WakeNotify, func(h *hearing) {
		uri := fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", pgtest.Role, network.Port(), h.db.Name)
		h.l.dial = func(ctx context.Context) (*pgx.Conn, error) { return h.dial(ctx, uri) }
		h.l.keepalive, h.l.keepaliveTimeout = 50*time.Millisecond, 2*time.Second
	})
	h.want("wake", "tune")
	network.Silence()
	eventually(t, "somebody notices that the connection fell silent", h.l.trouble.on.Load)
	network.Resume()
	h.want("wake", "tune")
}

// A LISTEN that is refused leaves no connection behind, however often it is tried.
func TestARefusedListenLeavesNoConnectionBehindW49(t *testing.T) {
	t.Parallel()
	tries := make(chan struct{}, 100)
	h := listenTo(t, spec.WakeNotify, func(h *hearing) {
		h.l.changed = "" // not a name that can be listened on
		dial := h.l.dial
		h.l.dial = func(ctx context.Context) (*pgx.Conn, error) { tries <- struct{}{}; return dial(ctx) }
	})
	for range 4 {
		<-tries
	}
	eventually(t, "at most the next attempt's connection is open after three refusals", func() bool { return h.connections() <= 1 })
}

// Processes that were started together do not stay in step.
func TestTimersAreJitteredByATenthW54(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 200 {
		d := jitter(time.Second)
		if d < 900*time.Millisecond || d > 1100*time.Millisecond {
			t.Fatalf("a second is jittered to %v, want a tenth more or less", d)
		}
		seen[d] = true
	}
	if len(seen) < 100 {
		t.Errorf("200 jittered timers have %d different lengths", len(seen))
	}
}

// An outage is not answered by a claim a poll at full rate: what fails is tried again at the pace of an idle worker.
func TestFailingClaimsKeepThePaceOfAnIdleWorkerW54(t *testing.T) {
	q := newFakeQueue(t, 5)
	q.before["claim"] = func(context.Context) error { return errCut }
	q.before["reconcile"] = func(context.Context) error { return errCut }
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(time.Minute)
		if n := q.count("claim") + q.count("reconcile"); n > 80 {
			b.Errorf("%d claims and reconciles within a minute in which all failed, want about one a poll period", n)
		}
	})
}
