package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrWaitTimeout says that a signal did not come, or that children did not end, within the time that the wait allows. Later
// executions of the run get it at the same place.
var ErrWaitTimeout = errors.New("waited too long")

// WaitKind is what a parked run waits for.
type WaitKind string

const (
	// WaitForSignal waits for a signal of a name.
	WaitForSignal WaitKind = "signal"
	// WaitForChildren waits until children have ended.
	WaitForChildren WaitKind = "children"
	// WaitForTime waits for a time alone.
	WaitForTime WaitKind = "time"
)

// Wait is the condition under which a parked run is executed again.
type Wait struct {
	Kind WaitKind `json:"kind"`
	// Signal is the name that a WaitForSignal waits for.
	Signal string `json:"signal,omitempty"`
	// Children are the runs that a WaitForChildren waits for; none means all that this life of the run has.
	Children []int64 `json:"children,omitempty"`
}

// document is the wait as settle takes it.
func (w Wait) document() string {
	text, _ := json.Marshal(w) // of strings and numbers: cannot fail
	return string(text)
}

// String says what is waited for.
func (w Wait) String() string {
	switch {
	case w.Kind == WaitForSignal:
		return fmt.Sprintf("signal %q", w.Signal)
	case w.Kind == WaitForChildren && len(w.Children) > 0:
		return "the end of runs " + strings.Trim(fmt.Sprint(w.Children), "[]")
	case w.Kind == WaitForChildren:
		return "the end of all children"
	}
	return "a time"
}

// parkError asks the worker to park the run.
type parkError struct {
	wait  Wait
	delay time.Duration
}

func (e *parkError) Error() string { return "parked: waits for " + e.wait.String() }

// Parks reports an error that a handler has to return, wrapped or not, so that its run is parked.
func Parks(err error) bool {
	_, ok := errors.AsType[*parkError](err)
	return ok
}

// WaitSignal waits for the next signal of a name and returns its payload. Each signal satisfies one wait, in order of
// arrival; one that came before the wait counts. The run waits parked: without a slot, without spending an attempt, with
// its lane unless its type releases it. To park, WaitSignal returns an error that the handler returns as it is (Parks);
// the handler is executed again from its start when the signal is there, and gets the payload at the same place. timeout
// counts from the first execution that came here; 0 is none, and when it has passed ErrWaitTimeout comes back. The wait is
// memoised as a step whose name is the signal's with the number of the wait.
func WaitSignal(ctx context.Context, c *Claim, name string, timeout time.Duration) (json.RawMessage, error) {
	m, err := c.wait(ctx, c.waitName(name), Wait{Kind: WaitForSignal, Signal: name}, timeout)
	if err == nil && m.code == codeTimeout {
		err = WithCode(codeTimeout, ErrWaitTimeout)
	}
	if err != nil {
		return nil, fmt.Errorf("wait for signal %q: %w", name, err)
	}
	return m.output, nil
}

// waitName numbers the waits for one signal.
func (c *Claim) waitName(signal string) string {
	c.memos.mu.Lock()
	defer c.memos.mu.Unlock()
	if c.memos.waits == nil {
		c.memos.waits = map[string]int{}
	}
	c.memos.waits[signal]++
	return fmt.Sprintf("signal:%s#%d", signal, c.memos.waits[signal])
}

// Sleep waits for d, counted from the first execution that came here, parked as WaitSignal does. The name is a step's.
// Snooze is the other way to wait for a time: it keeps no place in the handler.
func Sleep(ctx context.Context, c *Claim, name string, d time.Duration) error {
	if _, err := c.wait(ctx, name, Wait{Kind: WaitForTime}, max(d, time.Millisecond)); err != nil {
		return fmt.Errorf("sleep %q: %w", name, err)
	}
	return nil
}

// ChildResult is how a child has ended.
type ChildResult struct {
	RunID int64
	// Status is completed, failed, cancelled, timed_out or lost, as it was when Await saw it first.
	Status string
	// Output is the output of a completed child, Code and Message say why another has ended.
	Output        json.RawMessage
	Code, Message string
}

// Await waits until children of the run have ended, however they end, and returns how, in order of their ids. Without
// children named it waits for all that this life of the run has. It parks as WaitSignal does, except that it always lets
// its lane go: the children may need it. The name is a step's.
func Await(ctx context.Context, c *Claim, name string, children ...int64) ([]ChildResult, error) {
	return AwaitWithin(ctx, c, name, 0, children...)
}

// AwaitWithin is Await with a limit, counted from the first execution that came here: when it has passed before all of the
// children have ended, ErrWaitTimeout comes back. They go on: what becomes of them is the handler's to decide. 0 is no limit.
func AwaitWithin(ctx context.Context, c *Claim, name string, timeout time.Duration, children ...int64) ([]ChildResult, error) {
	children = slices.Clone(children)
	slices.Sort(children)
	m, err := c.wait(ctx, name, Wait{Kind: WaitForChildren, Children: slices.Compact(children)}, timeout)
	if err == nil && m.code == codeTimeout {
		err = WithCode(codeTimeout, ErrWaitTimeout)
	}
	if err != nil {
		return nil, fmt.Errorf("await %q: %w", name, err)
	}
	return c.results(ctx, m.output)
}

const waitForSQL = `
SELECT done, output, error_code, remaining_ms
FROM wait_for($1, $2, $3, $4, $5, $6, $7, $8)`

// wait gives the memo of a wait that is over, or the error that parks the run.
func (c *Claim) wait(ctx context.Context, name string, w Wait, limit time.Duration) (memo, error) {
	m, err := c.enter(ctx, name)
	if err != nil {
		return m, err
	}
	if m.completed() {
		c.warn(ctx, name, m)
		return m, nil
	}
	var done bool
	var remaining *int64
	err = c.persist(ctx, func(ctx context.Context) error {
		var code *string
		err := c.access.db.QueryRow(ctx, waitForSQL, c.RunID, c.Worker, c.Token, name, w.signal(), w.children(), bounded(limit), c.access.build).
			Scan(&done, (*[]byte)(&m.output), &code, &remaining)
		m.code = value(code)
		return err
	})
	switch {
	case isInvalid(err):
		return m, Permanent("invalid_wait", err)
	case err != nil || done:
		return m, err
	}
	return m, &parkError{wait: w, delay: time.Duration(value(remaining)) * time.Millisecond}
}

func (w Wait) signal() *string {
	if w.Kind != WaitForSignal {
		return nil
	}
	return &w.Signal
}

// children is nil unless children are waited for: then no child means all.
func (w Wait) children() []int64 {
	if w.Kind != WaitForChildren {
		return nil
	}
	return append([]int64{}, w.Children...)
}

func bounded(limit time.Duration) *int64 {
	if limit <= 0 {
		return nil
	}
	return new(millis(limit))
}

// isInvalid reports an argument that a function refuses.
func isInvalid(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == codeInvalid || errors.Is(err, ErrInvalidStart)
}

const resultsSQL = `
SELECT r.id, r.output, coalesce(r.error_code, ''), coalesce(r.error, '')
FROM run r
WHERE r.id = ANY ($1)`

// results reads how the children of a memo have ended. A child that retention has removed keeps its status.
func (c *Claim) results(ctx context.Context, output json.RawMessage) ([]ChildResult, error) {
	var ended []struct {
		Run    int64
		Status string
	}
	if err := json.Unmarshal(output, &ended); err != nil {
		return nil, Permanent("invalid_memo", fmt.Errorf("memo of an await: %w", err))
	}
	results, ids, at := make([]ChildResult, len(ended)), make([]int64, len(ended)), map[int64]int{}
	for i, e := range ended {
		results[i], ids[i], at[e.Run] = ChildResult{RunID: e.Run, Status: e.Status}, e.Run, i
	}
	err := c.persist(ctx, func(ctx context.Context) error {
		rows, err := c.access.db.Query(ctx, resultsSQL, ids)
		if err != nil {
			return err
		}
		var r ChildResult
		_, err = pgx.ForEachRow(rows, []any{&r.RunID, (*[]byte)(&r.Output), &r.Code, &r.Message}, func() error {
			one := &results[at[r.RunID]]
			one.Output, one.Code, one.Message = slices.Clone(r.Output), r.Code, r.Message
			return nil
		})
		return err
	})
	return results, err
}
