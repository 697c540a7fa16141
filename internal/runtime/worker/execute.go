package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// executor runs handlers, each in a goroutine that has nothing else to do meanwhile. A handler that ignores its context keeps its slot, its claim
// and its lane until it returns: nothing is settled or given back for it.
type executor struct {
	serving *serving
	ledger  *ledger
	settler *settler
	claimer *claimer
	log     *slog.Logger
	metrics *telemetry.Worker

	hands     hands
	observers sync.Map // of handler times by job type
}

// observer is the histogram of a job type, remembered: looking it up by its label costs more than the observation.
func (e *executor) observer(jobType string) prometheus.Observer {
	if o, ok := e.observers.Load(jobType); ok {
		return o.(prometheus.Observer)
	}
	o := e.metrics.HandlerSeconds.WithLabelValues(jobType)
	e.observers.Store(jobType, o)
	return o
}

// start runs the handlers of claims that are held.
func (e *executor) start(inc *jobs.Incarnation, flights []*flight) {
	e.metrics.Running.Add(float64(len(flights)))
	for _, f := range flights {
		e.hands.do(func() {
			defer f.cancel(nil)
			e.execute(f.ctx, inc, f.claim)
		})
	}
}

// execute runs one handler to its end, whichever way it ends, and queues what became of it.
func (e *executor) execute(ctx context.Context, inc *jobs.Incarnation, c *jobs.Claim) {
	if !c.Deadline.IsZero() {
		var end context.CancelFunc
		ctx, end = context.WithDeadlineCause(ctx, c.Deadline, jobs.ErrDeadline)
		defer end()
	}
	r, served := e.serving.get(c.Type)
	if !served { // the claim was on its way when the pool gave the type up
		e.stopped(inc, r.Config.Settle(c, nil, jobs.GiveBack(errNotServed), nil))
		return
	}
	r.Config.Attach(c)
	if r.Config.Timeout > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeoutCause(ctx, r.Config.Timeout, jobs.ErrTimeout)
		defer end()
	}
	if ctx.Err() != nil { // stopped before it has begun
		cause := context.Cause(ctx)
		e.stopped(inc, r.Config.Settle(c, nil, cause, cause))
		return
	}
	began := time.Now()
	var output json.RawMessage
	err := errExited
	defer func() { // deferred, because a handler may end the goroutine
		e.observer(c.Type).Observe(time.Since(began).Seconds())
		e.stopped(inc, judge(r.Config, c, output, err, context.Cause(ctx)))
	}()
	output, err = e.call(ctx, r, c)
}

// judge decides how a claim ends. The handler's error is code of its own: one that panics when it is read, a nil pointer in
// an error for example, must end this run and not the process.
func judge(t jobs.TypeConfig, c *jobs.Claim, output json.RawMessage, err, cause error) (s jobs.Settlement) {
	defer func() {
		if p := recover(); p != nil {
			s = t.Settle(c, nil, jobs.Panicked(fmt.Errorf("handler returned an error of type %T, which panics when it is read: %v", err, p)), cause)
		}
	}()
	return t.Settle(c, output, err, cause)
}

// stopped records that a handler has returned and queues its result.
func (e *executor) stopped(inc *jobs.Incarnation, s jobs.Settlement) {
	running := e.ledger.stop(heldBy(s.Claim))
	e.metrics.Running.Dec()
	e.metrics.Unsettled.Inc()
	e.settler.add(inc, s)
	e.claimer.freed(running)
}

// errExited is the error of a handler that ended its goroutine instead of returning.
var errExited = errors.New("handler ended its goroutine without returning")

// errNotServed is why a run goes back that was claimed just before its type left the pool's declaration.
var errNotServed = errors.New("this worker does not serve the job type any more")

// call turns a panic into an error: the stack goes to the log, the run fails like any other.
func (e *executor) call(ctx context.Context, r Registration, c *jobs.Claim) (output json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.ErrorContext(ctx, "handler panicked", slog.Int64("run", c.RunID), slog.String("type", c.Type),
				slog.String("panic", r.Config.Message(fmt.Sprint(p))), slog.String("stack", string(debug.Stack())))
			output, err = nil, jobs.Panicked(fmt.Errorf("handler panicked: %v", p))
		}
	}()
	return r.Handler.Handle(ctx, c)
}
