package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// StepOption changes how one step is executed.
type StepOption func(*stepConfig)

type stepConfig struct {
	retry   *RetryPolicy
	timeout time.Duration
}

// StepRetry executes a step that failed again within the same execution of its run, as the policy says; the handler keeps
// its slot meanwhile. MaxAttempts counts within one execution of the run. Without it a step is executed once, and what
// happens next is the run's policy.
func StepRetry(p RetryPolicy) StepOption { return func(s *stepConfig) { s.retry = &p } }

// StepTimeout bounds each execution of a step: its context ends with the cause ErrTimeout.
func StepTimeout(d time.Duration) StepOption { return func(s *stepConfig) { s.timeout = d } }

// Step executes fn once in the life of a run and stores its result under the name, which belongs to this place in the
// handler: later executions of the run get the stored result without calling fn. The result is what was stored, read back
// from JSON, on the first execution too, so that it is the same every time.
//
// fn is executed at least once: a process that dies between the effect of fn and the write of the memo executes it again.
// StepTx is exact for effects in the database. A claim that has lost its run stores nothing and gets ErrLeaseLost. Steps
// of one handler may run in parallel. Errors of fn come back wrapped; ErrStepReused, ErrOutputTooLarge and ErrInvalidOutput
// fail the run for good.
func Step[T any](ctx context.Context, c *Claim, name string, fn func(ctx context.Context) (T, error), opts ...StepOption) (T, error) {
	s := newStep(c, name, opts)
	s.execute = func(ctx context.Context) (memo, error) {
		began := time.Now()
		output, err := encoded(fn(ctx))
		if err != nil {
			return memo{}, err
		}
		return s.store(ctx, s.ended(output, time.Since(began)))
	}
	return decoded[T](s.run(ctx))
}

// StepTx is Step for effects in the database: fn works in the transaction that stores its result, so that both are there
// or neither, exactly once, whatever dies in between and whatever the commit returned. A claim that has lost its run
// commits nothing. fn must neither end the transaction nor call Complete or another step; it commits at READ COMMITTED.
func StepTx[T any](ctx context.Context, c *Claim, name string, fn func(ctx context.Context, tx pgx.Tx) (T, error), opts ...StepOption) (T, error) {
	s := newStep(c, name, opts)
	s.execute = func(ctx context.Context) (memo, error) {
		began := time.Now()
		return s.transaction(ctx, func(tx pgx.Tx) (ending, error) {
			output, err := encoded(fn(ctx, stepTx{tx}))
			return s.ended(output, time.Since(began)), err
		})
	}
	return decoded[T](s.run(ctx))
}

func encoded[T any](v T, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	output, err := json.Marshal(v)
	if err != nil {
		return nil, Permanent(codeInvalidOutput, fmt.Errorf("%w: %w", ErrInvalidOutput, err))
	}
	return output, nil
}

func decoded[T any](name string, m memo, err error) (v T, _ error) {
	if err != nil {
		return v, fmt.Errorf("step %q: %w", name, err)
	}
	if err := json.Unmarshal(m.output, &v); err != nil {
		return v, Permanent("invalid_memo", fmt.Errorf(
			"step %q has stored a result that is no %T (%w): give a step that does something else a new name", name, v, err))
	}
	return v, nil
}

// stepRun is one step in one execution of its run.
type stepRun struct {
	c        *Claim
	name     string
	cfg      stepConfig
	attempts int // stored so far, over all executions of the run
	execute  func(ctx context.Context) (memo, error)
}

// ending is what is written of a step at its end.
type ending struct {
	status        string
	output        json.RawMessage
	code, message *string
	attempts      int
	took          time.Duration
}

func newStep(c *Claim, name string, opts []StepOption) *stepRun {
	s := &stepRun{c: c, name: name}
	for _, o := range opts {
		o(&s.cfg)
	}
	return s
}

// run gives the stored result, or executes the step until it has one or may not be tried again.
func (s *stepRun) run(ctx context.Context) (name string, m memo, err error) {
	if m, err = s.c.enter(ctx, s.name); err != nil {
		return s.name, m, err
	}
	if m.completed() {
		s.c.warn(ctx, s.name, m)
		return s.name, m, nil
	}
	s.attempts = m.attempts
	for attempt := 1; ; attempt++ {
		m, err = s.attempt(ctx)
		if err == nil || !s.again(ctx, attempt, err) {
			break
		}
	}
	if err != nil {
		s.failed(ctx, err)
	}
	return s.name, m, err
}

// attempt executes the step once. With a policy of its own it is counted before, so that a crash counts too.
func (s *stepRun) attempt(ctx context.Context) (memo, error) {
	s.attempts++
	if s.cfg.retry != nil {
		var m memo
		err := s.c.persist(ctx, func(ctx context.Context) (err error) {
			m, err = readMemo(s.c.access.db.QueryRow(ctx, stepBeginSQL, s.c.RunID, s.c.Worker, s.c.Token, s.name, s.c.access.build))
			return err
		})
		if err != nil || m.completed() {
			return m, err
		}
		s.attempts = m.attempts
	}
	if s.cfg.timeout <= 0 {
		return s.execute(ctx)
	}
	short, end := context.WithTimeoutCause(ctx, s.cfg.timeout, ErrTimeout)
	defer end()
	m, err := s.execute(short)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		err = WithCode(codeTimeout, fmt.Errorf("%w after %s: %w", ErrTimeout, s.cfg.timeout, err))
	}
	return m, err
}

// again waits for the next attempt; false when there is none.
func (s *stepRun) again(ctx context.Context, attempt int, err error) bool {
	p := s.cfg.retry
	if p == nil || attempt >= p.attempts() || p.permanent(err) || passesThrough(err) || ctx.Err() != nil {
		return false
	}
	wait := p.Backoff(attempt)
	if later, ok := errors.AsType[*retryAfterError](err); ok {
		wait = later.after
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// passesThrough reports an error that is about the run and no failure of the step.
func passesThrough(err error) bool {
	_, ok := errors.AsType[aside](err)
	return ok || errors.Is(err, ErrLeaseLost)
}

// failed stores why the step has no result, for people to read. The error goes to the handler, stored or not.
func (s *stepRun) failed(ctx context.Context, err error) {
	if passesThrough(err) || ctx.Err() != nil {
		return
	}
	code, message := codeOf(err), s.c.config.Message(err.Error())
	_, _ = s.store(ctx, ending{status: "failed", code: &code, message: &message, attempts: s.attempts})
}

func (s *stepRun) ended(output json.RawMessage, took time.Duration) ending {
	return ending{status: "completed", output: output, attempts: s.attempts, took: took}
}

// store writes how the step ended, again until the database has answered.
func (s *stepRun) store(ctx context.Context, e ending) (m memo, err error) {
	if err := s.c.config.storable(e.output); err != nil {
		return memo{}, err
	}
	err = s.c.persist(ctx, func(ctx context.Context) (err error) {
		m, err = s.write(ctx, s.c.access.db, e, false)
		return err
	})
	return m, unstorableMemo(err)
}

// write is one statement: fence, number, memo. bound says that q is a transaction of the handler.
func (s *stepRun) write(ctx context.Context, q Querier, e ending, bound bool) (memo, error) {
	var output *string
	if e.output != nil {
		output = new(string(e.output))
	}
	return readMemo(q.QueryRow(ctx, stepEndSQL, s.c.RunID, s.c.Worker, s.c.Token, s.name, e.status, output, e.code, e.message,
		s.c.access.build, e.attempts, millis(e.took), bound))
}

// unstorableMemo makes a value that the database refuses an error that no retry cures.
func unstorableMemo(err error) error {
	if err != nil && isData(err) {
		return Permanent(codeInvalidOutput, fmt.Errorf("%w: %w", ErrInvalidOutput, err))
	}
	return err
}
