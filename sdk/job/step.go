package job

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// StepOption changes how one step is executed.
type StepOption = jobs.StepOption

// StepRetry executes a step that failed again within the same execution of its run, as the policy says; the handler keeps
// its slot meanwhile.
func StepRetry(p RetryPolicy) StepOption { return jobs.StepRetry(p) }

// StepTimeout bounds each execution of a step: its context ends with the cause ErrTimeout.
func StepTimeout(d time.Duration) StepOption { return jobs.StepTimeout(d) }

// Step executes fn once in the life of a run and stores its result under the name, 1 to 200 bytes, which belongs to this
// place in the handler: later executions of the run get the stored result without calling fn. The result is read back
// from JSON on the first execution too, so that it is the same every time. fn is executed at least once: a process that
// dies between its effect and the write of its result executes it again.
func Step[T any](ctx context.Context, r *Run, name string, fn func(ctx context.Context) (T, error), opts ...StepOption) (T, error) {
	return jobs.Step(ctx, r.claim, name, fn, opts...)
}

// StepTx is Step for effects in the database: fn works in the transaction that stores its result, on the worker's own
// connections and with PostgreSQL's default search path, so that both are there or neither, exactly once. A claim that has
// lost its run commits nothing. fn must not end the transaction.
//
// On a connection that falls silent, begin, memo and commit are given up after ten seconds each. The statements of fn have no
// limit of their own: StepTimeout gives them one.
func StepTx[T any](ctx context.Context, r *Run, name string, fn func(ctx context.Context, tx pgx.Tx) (T, error), opts ...StepOption) (T, error) {
	return jobs.StepTx(ctx, r.claim, name, func(ctx context.Context, tx pgx.Tx) (v T, err error) {
		if _, err := tx.Exec(ctx, userPath); err != nil {
			return v, err
		}
		if v, err = fn(ctx, tx); err != nil {
			return v, err
		}
		// The engine's own statement comes next.
		_, err = tx.Exec(ctx, fmt.Sprintf("SET LOCAL search_path TO %s, pg_catalog, pg_temp", pgx.Identifier{r.schema}.Sanitize()))
		return v, err
	}, opts...)
}

// Sleep waits for d, counted from the first execution that came here, without a slot. To do so it returns an error that
// the handler returns as it is; the handler is executed again from its start when the time has come. The name is a step's.
func Sleep(ctx context.Context, r *Run, name string, d time.Duration) error {
	return jobs.Sleep(ctx, r.claim, name, d)
}

// WaitSignal waits for the next signal of a name and returns its payload, without a slot, as Sleep does. Each signal
// satisfies one wait, and one that came before counts. timeout counts from the first execution that came here; 0 is none,
// and ErrWaitTimeout comes back when it has passed.
func WaitSignal[T any](ctx context.Context, r *Run, name string, timeout time.Duration) (payload T, err error) {
	raw, err := jobs.WaitSignal(ctx, r.claim, name, timeout)
	if err != nil {
		return payload, err
	}
	if err := json.Unmarshal(raw, &payload); err != nil {
		return payload, Permanent("invalid_signal", fmt.Errorf("payload of signal %q: %w", name, err))
	}
	return payload, nil
}

// Await waits until children of the run have ended, however they end, and returns how, in order of their ids; all that
// the run has when none is named. It waits without a slot, as Sleep does. The name is a step's.
func Await(ctx context.Context, r *Run, name string, children ...int64) ([]ChildResult, error) {
	return jobs.Await(ctx, r.claim, name, children...)
}

// AwaitWithin is Await with a limit, counted from the first execution that came here: when it has passed before all of the
// children have ended, ErrWaitTimeout comes back, and they go on. 0 is no limit.
func AwaitWithin(ctx context.Context, r *Run, name string, timeout time.Duration, children ...int64) ([]ChildResult, error) {
	return jobs.AwaitWithin(ctx, r.claim, name, timeout, children...)
}

// Parks reports an error of Sleep, WaitSignal, Await or AwaitWithin that the handler has to return so that its run waits.
func Parks(err error) bool { return jobs.Parks(err) }
