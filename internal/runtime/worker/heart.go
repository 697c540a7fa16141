package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// longestBeat bounds the wait for one beat's answer, so that a connection that fell silent is replaced in time.
const longestBeat = 5 * time.Second

// pulse sends beats over a connection of its own, outside every pool: whatever else is slow or exhausted, renewal is not.
type pulse struct {
	store Store
	dial  func(context.Context) (*pgx.Conn, error)
	conn  *pgx.Conn
}

func (p *pulse) beat(ctx context.Context, inc *jobs.Incarnation, params jobs.BeatParams) (jobs.BeatResult, error) {
	if p.conn == nil {
		conn, err := p.dial(ctx)
		if err != nil {
			return jobs.BeatResult{}, err
		}
		p.conn = conn
	}
	r, err := p.store.Beat(ctx, p.conn, inc, params)
	if err != nil {
		p.hangUp(ctx)
	}
	return r, err
}

func (p *pulse) hangUp(ctx context.Context) {
	if p.conn != nil {
		closeConn(ctx, p.conn)
		p.conn = nil
	}
}

// heart renews the lease, applies what the answers say, and starts a new incarnation when the old one's row is gone. An
// id is never revived.
type heart struct {
	store Store
	pulse interface {
		beat(ctx context.Context, inc *jobs.Incarnation, p jobs.BeatParams) (jobs.BeatResult, error)
		hangUp(ctx context.Context)
	}
	info    jobs.WorkerInfo
	life    *life
	tuning  *tuning
	serving *serving
	ledger  *ledger
	tally   *tally
	claimer *claimer
	log     *slog.Logger
	metrics *telemetry.Worker

	poke     signal
	present  atomic.Pointer[jobs.Incarnation]
	longest  atomic.Int64 // longest heartbeat period of the database, nanoseconds
	draining atomic.Bool
	last     atomic.Pointer[error] // why the last beat or registration failed
	trouble  outage
	badTune  outage
}

// run beats until ctx ends. There is an incarnation already.
func (h *heart) run(ctx context.Context) {
	defer h.pulse.hangUp(ctx)
	for {
		t := time.NewTimer(h.once(ctx))
		select {
		case <-t.C:
		case <-h.poke:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// once sends one beat, acts on the answer, and says how long to wait for the next.
func (h *heart) once(ctx context.Context) time.Duration {
	inc := h.present.Load()
	pool, generation := h.tuning.current()
	total, report := h.tally.now()
	running, unsettled := h.ledger.load()
	sent := time.Now()
	_, number := h.life.send(sent, pool.Lease())
	short, end := context.WithTimeout(ctx, min(pool.Heartbeat(), longestBeat))
	defer end()
	r, err := h.pulse.beat(short, inc, jobs.BeatParams{
		Number: number, Lease: pool.Lease(), Heartbeat: pool.Heartbeat(), TuningGeneration: generation,
		InFlight: running + unsettled, Draining: h.draining.Load(),
		Completed: report.completed, Failed: report.failed, FencedWrites: report.fenced,
	})
	if err == nil && !r.Confirmed && !r.Gone {
		err = errors.New("the database had read a later beat")
	}
	switch {
	case err != nil:
		return h.missed(ctx, pool.Heartbeat(), err)
	case r.Gone:
		return h.lost(ctx, inc)
	}
	h.tally.confirm(total)
	h.confirmed(ctx, number, r)
	return time.Until(sent.Add(pool.Heartbeat()))
}

// missed records a beat without an answer; the next one comes soon.
func (h *heart) missed(ctx context.Context, period time.Duration, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	h.metrics.Beats.WithLabelValues("error").Inc()
	h.life.miss()
	h.last.Store(&err)
	h.trouble.failed(ctx, h.log, err)
	return jitter(min(period/4, time.Second))
}

// confirmed applies an answer.
func (h *heart) confirmed(ctx context.Context, number int64, r jobs.BeatResult) {
	now := time.Now()
	pool, _ := h.tuning.current()
	h.life.confirm(number, now, pool.Heartbeat())
	h.longest.Store(int64(max(r.LongestHeartbeat, pool.Heartbeat())))
	h.last.Store(nil)
	h.trouble.over(ctx, h.log)
	h.metrics.Beats.WithLabelValues("confirmed").Inc()
	deadline, _ := h.life.deadline()
	h.metrics.Lease(deadline.Sub(now))
	for _, c := range r.Cancels {
		h.ledger.cancel(jobs.Held{RunID: c.RunID, Token: c.Token}, &c.CancelRequested)
	}
	if r.NeedsReconcile {
		h.claimer.reconcileSoon()
	}
	h.tune(ctx, r)
}

// tune puts the pool's row in force. The next beat goes out at once, to report the generation and, when the lease has
// become longer, to ask for it.
func (h *heart) tune(ctx context.Context, r jobs.BeatResult) {
	if r.TuningErr != nil {
		h.badTune.failed(ctx, h.log, r.TuningErr)
		return
	}
	if _, generation := h.tuning.current(); r.Tuning == nil || r.TuningGeneration == generation {
		return
	}
	h.badTune.over(ctx, h.log)
	h.serving.tune(ctx, *r.Tuning)
	h.tuning.set(*r.Tuning, r.TuningGeneration)
	h.metrics.TuningGeneration.Set(float64(r.TuningGeneration))
	h.log.InfoContext(ctx, "tuning in force", slog.Int64("generation", r.TuningGeneration), slog.Any("tuning", *r.Tuning))
	h.poke.set()
}

// lost ends an incarnation whose row is gone and begins the next one. A process that drains needs none.
func (h *heart) lost(ctx context.Context, inc *jobs.Incarnation) time.Duration {
	h.metrics.Beats.WithLabelValues("gone").Inc()
	h.life.end()
	cancelled := h.ledger.cancelAll(inc.ID, jobs.ErrLeaseLost)
	h.log.WarnContext(ctx, "lease is gone, others may have taken over", slog.Int64("worker", inc.ID), slog.Int("cancelled", cancelled))
	if h.draining.Load() {
		pool, _ := h.tuning.current()
		return pool.Heartbeat()
	}
	if !h.register(ctx) {
		return forever
	}
	return 0 // the first beat says how long others' periods are
}

// register begins a new incarnation, however long the database is away; false when ctx ended, or a drain began, first.
func (h *heart) register(ctx context.Context) bool {
	wait := reconnectBackoff()
	for {
		err := h.tryRegister(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil || h.draining.Load() {
			return false
		}
		h.last.Store(&err)
		h.trouble.failed(ctx, h.log, err)
		if !sleep(ctx, wait.NextBackOff()) {
			return false
		}
	}
}

func (h *heart) tryRegister(ctx context.Context) error {
	ctx, end := context.WithTimeout(ctx, longestBeat)
	defer end()
	sent := time.Now()
	info := h.info
	info.Types = h.serving.list()
	inc, err := h.store.Register(ctx, info)
	if err != nil {
		return err
	}
	h.serving.tune(ctx, inc.Tuning)
	h.tuning.set(inc.Tuning, inc.TuningGeneration)
	h.tally.begin()
	h.present.Store(inc)
	h.longest.Store(int64(inc.Tuning.Heartbeat()))
	h.life.begin(inc.ID, sent, time.Now(), inc.Tuning.Lease(), inc.Tuning.Heartbeat())
	h.metrics.Incarnations.Inc()
	h.metrics.TuningGeneration.Set(float64(inc.TuningGeneration))
	h.last.Store(nil)
	h.trouble.over(ctx, h.log)
	h.log.InfoContext(ctx, "registered", slog.Int64("worker", inc.ID), slog.Any("tuning", inc.Tuning))
	h.claimer.wake()
	return nil
}

// fence cancels every handler when the lease's deadline passes, whatever the network does, until ctx ends.
func (h *heart) fence(ctx context.Context) {
	for {
		deadline, moved := h.life.deadline()
		t := time.NewTimer(time.Until(deadline))
		if deadline.IsZero() {
			t.Stop()
		}
		select {
		case <-moved:
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
			h.cutOff(ctx)
			select {
			case <-moved:
			case <-ctx.Done():
				return
			}
		}
		t.Stop()
	}
}

func (h *heart) cutOff(ctx context.Context) {
	if n := h.ledger.cancelAll(0, jobs.ErrLeaseLost); n > 0 {
		h.metrics.SelfFences.Inc()
		h.log.WarnContext(ctx, "lease could not be renewed in time, handlers are cancelled", slog.Int("cancelled", n))
	}
}

// longestPeriod is the longest heartbeat period of the database as of the last beat.
func (h *heart) longestPeriod() time.Duration { return time.Duration(h.longest.Load()) }

// leave removes the lease; false when it has to expire.
func (h *heart) leave(ctx context.Context) (bool, error) { return h.store.Leave(ctx, h.present.Load()) }
