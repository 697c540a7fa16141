package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// errCut is what a statement gets whose connection was cut.
var errCut = errors.New("connection cut")

// fakeRun is a run of a fakeQueue.
type fakeRun struct {
	status   string // pending, running, or an outcome
	attempts int
	worker   int64
	token    int64
	settled  int64
}

// ask is a claim statement: when it came, and for how many runs.
type ask struct {
	at    time.Time
	slots int
}

// fakeQueue keeps runs in memory, by the rules of the real queue as far as a worker can see them, and checks that its
// worker never has a claim and a reconcile under way together. A hook runs before (and may refuse, so that nothing
// happens) or after (and may lose the reply of) a statement of its name.
type fakeQueue struct {
	t *testing.T

	mu         sync.Mutex
	tuning     spec.Pool
	generation int64
	runs       map[int64]*fakeRun
	workers    map[int64]int64 // id to last beat
	lastWorker int64
	cancels    []jobs.CancelNotice
	calls      map[string]int
	params     []jobs.BeatParams
	batches    []int
	asks       []ask
	exclusive  string
	before     map[string]func(ctx context.Context) error
	after      map[string]func(ctx context.Context) error
	left       bool
	longest    time.Duration
	// limit, when there is one, says how many of the slots a claim may fill and when to ask again. It is called with mu held.
	limit func(slots int) (int, time.Duration)
}

func newFakeQueue(t *testing.T, runs int) *fakeQueue {
	pool := spec.DefaultPool()
	pool.WakeMode = spec.WakePoll
	q := &fakeQueue{
		t: t, tuning: pool, generation: 1, runs: map[int64]*fakeRun{}, workers: map[int64]int64{}, calls: map[string]int{},
		before: map[string]func(context.Context) error{}, after: map[string]func(context.Context) error{},
	}
	for id := range runs {
		q.runs[int64(id+1)] = &fakeRun{status: "pending"}
	}
	return q
}

// statement runs the body of a statement between its hooks.
func (q *fakeQueue) statement(ctx context.Context, name string, body func() error) error {
	q.mu.Lock()
	q.calls[name]++
	before, after := q.before[name], q.after[name]
	if name == "claim" || name == "reconcile" {
		if q.exclusive != "" {
			q.t.Errorf("a %s began while a %s was under way", name, q.exclusive)
		}
		q.exclusive = name
		defer func() { q.mu.Lock(); q.exclusive = ""; q.mu.Unlock() }()
	}
	q.mu.Unlock()
	if before != nil {
		if err := before(ctx); err != nil {
			return err
		}
	}
	q.mu.Lock()
	err := body()
	q.mu.Unlock()
	if err == nil && after != nil {
		err = after(ctx)
	}
	return err
}

// hook sets or, with nil, removes a hook.
func (q *fakeQueue) hook(hooks map[string]func(context.Context) error, name string, f func(context.Context) error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	hooks[name] = f
}

func (q *fakeQueue) Register(ctx context.Context, info jobs.WorkerInfo) (*jobs.Incarnation, error) {
	inc := &jobs.Incarnation{Pool: info.Pool, Types: info.Types}
	return inc, q.statement(ctx, "register", func() error {
		q.lastWorker++
		inc.ID, inc.Tuning, inc.TuningGeneration = q.lastWorker, q.tuning, q.generation
		q.workers[inc.ID] = 0
		return nil
	})
}

func (q *fakeQueue) Beat(ctx context.Context, _ *pgx.Conn, inc *jobs.Incarnation, p jobs.BeatParams) (r jobs.BeatResult, err error) {
	return r, q.statement(ctx, "beat", func() error {
		q.params = append(q.params, p)
		last, there := q.workers[inc.ID]
		r.Gone, r.Confirmed = !there, there && p.Number > last
		if r.Confirmed {
			q.workers[inc.ID] = p.Number
		}
		tuning := q.tuning
		r.Tuning, r.TuningGeneration, r.Cancels = &tuning, q.generation, q.cancels
		r.LongestHeartbeat = max(q.longest, tuning.Heartbeat())
		return nil
	})
}

func (q *fakeQueue) Serve(ctx context.Context, inc *jobs.Incarnation, types []string, _ string) error {
	inc.Types = types
	return q.statement(ctx, "serve", func() error { return nil })
}

func (q *fakeQueue) Claim(ctx context.Context, inc *jobs.Incarnation, slots int) (claims []*jobs.Claim, again time.Duration, err error) {
	err = q.statement(ctx, "claim", func() error {
		q.asks = append(q.asks, ask{time.Now(), slots})
		if _, there := q.workers[inc.ID]; !there {
			return jobs.ErrLeaseLost
		}
		if q.limit != nil {
			slots, again = q.limit(slots)
		}
		for id := int64(1); id <= int64(len(q.runs)) && len(claims) < slots; id++ {
			if r := q.runs[id]; r.status == "pending" && slices.Contains(inc.Types, "test") {
				r.status, r.worker = "running", inc.ID
				r.token++
				claims = append(claims, &jobs.Claim{RunID: id, Token: r.token, Worker: inc.ID, Type: "test", Attempt: r.attempts + 1})
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return claims, again, nil
}

func (q *fakeQueue) Settle(ctx context.Context, inc *jobs.Incarnation, batch []jobs.Settlement) (results []jobs.SettleResult, err error) {
	return results, q.statement(ctx, "settle", func() error {
		q.batches = append(q.batches, len(batch))
		for _, s := range batch {
			results = append(results, q.settle(inc, s))
		}
		return nil
	})
}

func (q *fakeQueue) settle(inc *jobs.Incarnation, s jobs.Settlement) jobs.SettleResult {
	r := q.runs[s.Claim.RunID]
	switch {
	case r.settled == s.Claim.Token:
		return jobs.Already
	case r.status != "running" || r.worker != inc.ID || r.token != s.Claim.Token:
		return jobs.Lost
	}
	r.settled, r.status = s.Claim.Token, string(s.Outcome)
	switch s.Outcome {
	case jobs.GivenBack, jobs.Snoozed:
		r.status = "pending"
	case jobs.Retried:
		r.attempts++
		r.status = "pending"
	default:
		r.attempts++
	}
	return jobs.Done
}

func (q *fakeQueue) GiveBack(ctx context.Context, inc *jobs.Incarnation, claims ...*jobs.Claim) (results []jobs.SettleResult, err error) {
	return results, q.statement(ctx, "giveBack", func() error {
		for _, c := range claims {
			results = append(results, q.settle(inc, jobs.Settlement{Claim: c, Outcome: jobs.GivenBack}))
		}
		return nil
	})
}

func (q *fakeQueue) Reconcile(ctx context.Context, inc *jobs.Incarnation, held []jobs.Held) (n int, err error) {
	return n, q.statement(ctx, "reconcile", func() error {
		for id, r := range q.runs {
			if r.status == "running" && r.worker == inc.ID && !slices.Contains(held, jobs.Held{RunID: id, Token: r.token}) {
				r.status = "pending"
				n++
			}
		}
		return nil
	})
}

func (q *fakeQueue) Sweep(ctx context.Context) (r jobs.SweepResult, err error) {
	return r, q.statement(ctx, "sweep", func() error { return nil })
}

func (q *fakeQueue) Promote(ctx context.Context, _ string) (int, time.Duration, error) {
	return 0, -1, q.statement(ctx, "promote", func() error { return nil })
}

func (q *fakeQueue) Leave(ctx context.Context, inc *jobs.Incarnation) (removed bool, err error) {
	return removed, q.statement(ctx, "leave", func() error {
		for _, r := range q.runs {
			if r.status == "running" && r.worker == inc.ID {
				return nil
			}
		}
		delete(q.workers, inc.ID)
		removed, q.left = true, true
		return nil
	})
}

// takeOver does what a sweep by somebody else does: the worker's row goes, its runs are due again.
func (q *fakeQueue) takeOver(worker int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.workers, worker)
	for _, r := range q.runs {
		if r.status == "running" && r.worker == worker {
			r.status = "pending"
		}
	}
}

// tune changes the pool's row.
func (q *fakeQueue) tune(change func(*spec.Pool)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(&q.tuning)
	q.generation++
}

func (q *fakeQueue) run(id int64) fakeRun {
	q.mu.Lock()
	defer q.mu.Unlock()
	return *q.runs[id]
}

func (q *fakeQueue) count(name string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.calls[name]
}

// statuses counts runs by status.
func (q *fakeQueue) statuses() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := map[string]int{}
	for _, r := range q.runs {
		n[r.status]++
	}
	return n
}

// directPulse beats without a connection.
type directPulse struct{ q *fakeQueue }

func (d directPulse) beat(ctx context.Context, inc *jobs.Incarnation, p jobs.BeatParams) (jobs.BeatResult, error) {
	return d.q.Beat(ctx, nil, inc, p)
}
func (directPulse) hangUp(context.Context) {}

// bubble runs a worker on a fake queue in a bubble of fake time. The test function ends the worker by drain, which
// returns what Run returned; without that it ends when the test function returns.
type bubble struct {
	*testing.T
	q     *fakeQueue
	w     *Worker
	drain func() error
	begin time.Time
}

func inBubble(t *testing.T, q *fakeQueue, handler jobs.HandlerFunc, test func(b *bubble), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q.t = t
		cfg := Config{
			Pool: "batch", Types: map[string]Registration{"test": {Handler: handler}}, Store: q,
			DrainTimeout: 30 * time.Second, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Metrics: telemetry.NewWorker(prometheus.NewRegistry(), "batch"),
		}
		for _, f := range change {
			f(&cfg)
		}
		w, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.heart.pulse = directPulse{q}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		b := &bubble{T: t, q: q, w: w, begin: time.Now()}
		go func() { ended <- w.Run(ctx) }()
		b.drain = sync.OnceValue(func() error { cancel(); return <-ended })
		defer func() { _ = b.drain() }()
		test(b)
	})
}

// at advances to an instant after the worker's start and lets everything settle there.
func (b *bubble) at(d time.Duration) {
	<-time.After(time.Until(b.begin.Add(d)))
	synctest.Wait()
}

// hand hands a claim to the executor, as if a claim statement had brought it.
func (b *bubble) hand(c *jobs.Claim) {
	b.w.executor.start(b.w.heart.present.Load(), b.w.ledger.add([]*jobs.Claim{c}))
}

// blocking is a handler that waits for the end of its context and records the cause.
type blocking struct {
	mu     sync.Mutex
	causes []error
}

func (h *blocking) handle(ctx context.Context, _ *jobs.Claim) (json.RawMessage, error) {
	<-ctx.Done()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.causes = append(h.causes, context.Cause(ctx))
	return nil, ctx.Err()
}

// ended lists the causes of contexts that ended.
func (h *blocking) ended() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.causes)
}

func (b *bubble) wantStatuses(want map[string]int) {
	b.Helper()
	if got := b.q.statuses(); fmt.Sprint(got) != fmt.Sprint(want) {
		b.Errorf("runs are %v, want %v", got, want)
	}
}
