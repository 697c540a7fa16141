package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// StopBudget is how long a drain waits for handlers that it has cancelled, and for the last results to be written. A
// process manager gives a worker its drain timeout, this, and some seconds more.
const StopBudget = 5 * time.Second

// ErrNotDrained says that a drain ended with work left: the lease is kept until it expires, then others take over.
var ErrNotDrained = errors.New("drain ended with work left")

// Store is the queue; *jobs.Store is the real one. Its methods are documented there.
type Store interface {
	Register(ctx context.Context, info jobs.WorkerInfo) (*jobs.Incarnation, error)
	Beat(ctx context.Context, conn *pgx.Conn, inc *jobs.Incarnation, p jobs.BeatParams) (jobs.BeatResult, error)
	Serve(ctx context.Context, inc *jobs.Incarnation, types []string, build string) error
	Claim(ctx context.Context, inc *jobs.Incarnation, slots int) (claims []*jobs.Claim, again time.Duration, err error)
	Settle(ctx context.Context, inc *jobs.Incarnation, batch []jobs.Settlement) ([]jobs.SettleResult, error)
	GiveBack(ctx context.Context, inc *jobs.Incarnation, claims ...*jobs.Claim) ([]jobs.SettleResult, error)
	Reconcile(ctx context.Context, inc *jobs.Incarnation, held []jobs.Held) (int, error)
	Sweep(ctx context.Context) (jobs.SweepResult, error)
	Promote(ctx context.Context, pool string) (moved int, next time.Duration, err error)
	Leave(ctx context.Context, inc *jobs.Incarnation) (bool, error)
}

// Registration is how a job type is executed.
type Registration struct {
	Handler jobs.Handler
	Config  jobs.TypeConfig
}

// Config is what a worker is made of. Every field without a remark is needed.
type Config struct {
	// Pool is the pool whose runs are claimed.
	Pool string
	// Pod, Namespace and Build say who this is, for people; they may be empty.
	Pod, Namespace, Build string
	// Types are the job types that this process serves whatever its pool says. It may be empty when Declared is given.
	Types map[string]Registration
	// Declared makes the job types that a pool declares besides; it is called whenever another tuning comes into force,
	// and its answer is the worker's. Nil serves Types alone. No other types are claimed.
	Declared func(spec.Pool) map[string]Registration
	Store    Store
	// Dial makes a connection outside any pool, one for renewals and one for notifications.
	Dial func(ctx context.Context) (*pgx.Conn, error)
	// WakeChannel and PoolChannel are where the schema announces due runs and changed tuning.
	WakeChannel, PoolChannel string
	// Tasks may be empty.
	Tasks []Task
	// DrainTimeout is how long a drain lets handlers finish before it cancels them; 0 cancels at once.
	DrainTimeout time.Duration
	// StopBudget overrides the constant of that name; 0 does not.
	StopBudget time.Duration
	Log        *slog.Logger
	Metrics    *telemetry.Worker
}

func (c Config) validate() error {
	switch {
	case c.Pool == "":
		return errors.New("worker: no pool is named")
	case len(c.Types) == 0 && c.Declared == nil:
		return errors.New("worker: no job type is registered")
	case c.DrainTimeout < 0 || c.StopBudget < 0:
		return errors.New("worker: a drain budget is negative")
	}
	for name, r := range c.Types {
		if r.Handler == nil {
			return fmt.Errorf("worker: job type %q has no handler", name)
		}
		if err := r.Config.Validate(); err != nil {
			return fmt.Errorf("worker: job type %q: %w", name, err)
		}
	}
	return nil
}

// Worker is one process of one pool.
type Worker struct {
	cfg      Config
	life     *life
	ledger   *ledger
	heart    *heart
	claimer  *claimer
	settler  *settler
	executor *executor
	sweeper  *sweeper
	listener *listener
	holder   *holder
}

// New wires a worker together. Nothing runs before Run.
func New(cfg Config) (*Worker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.StopBudget == 0 {
		cfg.StopBudget = StopBudget
	}
	life, ledger, tuning, tally := newLife(), newLedger(), newTuning(spec.DefaultPool(), 0), &tally{}
	timeout := func() time.Duration { return statementTimeout(tuning) }
	serving := newServing(cfg)
	w := &Worker{cfg: cfg, life: life, ledger: ledger}
	w.claimer = &claimer{
		store: cfg.Store, pool: cfg.Pool, build: cfg.Build, life: life, tuning: tuning, serving: serving, ledger: ledger, poke: newSignal(),
		turn: newTurn(), log: cfg.Log, metrics: cfg.Metrics, trouble: outage{what: "claim runs"},
	}
	w.claimer.givenUp, w.claimer.giveUp = context.WithCancel(context.Background())
	w.settler = &settler{
		store: cfg.Store, ledger: ledger, tally: tally, claimer: w.claimer, timeout: timeout, poke: newSignal(),
		counters: map[ending]prometheus.Counter{}, log: cfg.Log, metrics: cfg.Metrics, trouble: outage{what: "write results"},
	}
	w.executor = &executor{serving: serving, ledger: ledger, settler: w.settler, claimer: w.claimer, log: cfg.Log, metrics: cfg.Metrics}
	w.heart = &heart{
		store: cfg.Store, pulse: &pulse{store: cfg.Store, dial: cfg.Dial}, info: cfg.info(), life: life, tuning: tuning, serving: serving,
		ledger: ledger, tally: tally, claimer: w.claimer, poke: newSignal(), log: cfg.Log, metrics: cfg.Metrics,
		trouble: outage{what: "renew the lease"}, badTune: outage{what: "apply the pool's tuning"},
	}
	w.claimer.present, w.claimer.handOut, w.claimer.leaseLost = w.heart.present.Load, w.executor.start, w.heart.poke.set
	w.sweeper = &sweeper{
		store: cfg.Store, life: life, tuning: tuning, longest: w.heart.longestPeriod, wake: w.claimer.wake,
		log: cfg.Log, metrics: cfg.Metrics, trouble: outage{what: "sweep"},
	}
	w.holder = &holder{tuning: tuning, ledger: ledger, timeout: cfg.DrainTimeout, log: cfg.Log}
	w.listener = &listener{
		dial: cfg.Dial, tuning: tuning, pool: cfg.Pool, wake: cfg.WakeChannel, changed: cfg.PoolChannel,
		onWake: w.claimer.wake, onTune: w.heart.poke.set, log: cfg.Log, metrics: cfg.Metrics,
		trouble: outage{what: "listen for due runs (polling meanwhile)"}, keepalive: keepalive, keepaliveTimeout: keepaliveTimeout,
	}
	return w, nil
}

func (c Config) info() jobs.WorkerInfo {
	return jobs.WorkerInfo{
		Pool: c.Pool, Pod: c.Pod, Namespace: c.Namespace, Build: c.Build,
	}
}

// Run registers, works until ctx ends, and drains. It returns nil after a clean drain, ErrNotDrained when something was
// left. Every goroutine has ended by then, except those of handlers that ignore their context.
func (w *Worker) Run(ctx context.Context) error {
	if !w.heart.register(ctx) {
		return nil // asked to stop before there was anything to drain
	}
	// The drain needs the lease, the settler and reconciles, so these end after it.
	rest, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var untilDrain, untilEnd sync.WaitGroup
	for _, loop := range []func(context.Context){w.heart.run, w.heart.fence, w.claimer.run, w.settler.run} {
		untilEnd.Go(func() { loop(rest) })
	}
	for _, loop := range []func(context.Context){w.listener.run, w.sweeper.run, w.holder.run} {
		untilDrain.Go(func() { loop(ctx) })
	}
	for _, t := range w.cfg.Tasks {
		untilDrain.Go(func() { runTask(ctx, t, w.leased, w.cfg.Log, w.cfg.Metrics) })
	}
	<-ctx.Done()
	err := w.drain(rest)
	w.executor.hands.close()
	untilDrain.Wait()
	end()
	untilEnd.Wait()
	return err
}

// leased says whether the worker may act for its pool now.
func (w *Worker) leased() bool { return w.life.acts(w.life.incarnation(), time.Now()) }

// Ready says why the worker does not take runs, nil when it does: the reason for a readiness probe.
func (w *Worker) Ready() error {
	if w.heart.draining.Load() {
		return jobs.ErrDraining
	}
	if w.leased() {
		return nil
	}
	if err := w.heart.last.Load(); err != nil {
		return fmt.Errorf("no lease: %w", *err)
	}
	return errors.New("no lease yet")
}
