//go:build chaos

package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/test/chaos/history"
)

// task is the input of a run: what its handler does, in this order.
type task struct {
	// Acts is how many effects outside the database it has, each after Pause milliseconds.
	Acts  int   `json:"acts,omitempty"`
	Pause int64 `json:"pause,omitempty"`
	// Steps is how many steps it has that write a row in the transaction of their memo.
	Steps int `json:"steps,omitempty"`
	// Sleep makes it wait so many milliseconds without a slot, Signal for a signal, for as long at most.
	Sleep  int64 `json:"sleep,omitempty"`
	Signal int64 `json:"signal,omitempty"`
	// Children is how many children it spawns, of the close policy Close, and waits for.
	Children int    `json:"children,omitempty"`
	Close    string `json:"close,omitempty"`
	// Fenced makes it write a row in a transaction under a fence.
	Fenced bool `json:"fenced,omitempty"`
	// Snooze puts the first execution off.
	Snooze bool `json:"snooze,omitempty"`
	// Fail makes so many first attempts fail after their first act, each RetryAfter milliseconds apart; Panic makes them
	// panic instead.
	Fail       int   `json:"fail,omitempty"`
	RetryAfter int64 `json:"retry_after,omitempty"`
	Panic      bool  `json:"panic,omitempty"`
	// Complete makes it write an effect and complete the run in one transaction of its own, in which it waits Hold
	// milliseconds before the commit, with Once only in the run's first claim. Forget makes the first attempt roll that back and return as if all were well.
	Complete bool  `json:"complete,omitempty"`
	Hold     int64 `json:"hold,omitempty"`
	Once     bool  `json:"once,omitempty"`
	Forget   bool  `json:"forget,omitempty"`
	// Linger is how many milliseconds it goes on afterwards.
	Linger int64 `json:"linger,omitempty"`
	// Deaf makes it go on though its context has ended. It has no effects outside then: nobody could keep those back.
	Deaf bool `json:"deaf,omitempty"`
}

// handler does what a task says and notes it.
type handler struct {
	db      *pgxpool.Pool
	journal *journal
}

// Handle implements jobs.Handler.
func (h *handler) Handle(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
	h.journal.about(c, history.Began, fmt.Sprintf("attempt %d", c.Attempt))
	note := "panicked"
	defer func() { h.journal.about(c, history.Stopped, note) }()
	err := h.work(ctx, c)
	note = fmt.Sprint("error ", err, ", cause ", context.Cause(ctx))
	return json.RawMessage(fmt.Sprintf(`{"token": %d}`, c.Token)), err
}

func (h *handler) work(ctx context.Context, c *jobs.Claim) error {
	var t task
	if err := json.Unmarshal(c.Input, &t); err != nil {
		return jobs.Permanent("input", err)
	}
	if t.Deaf {
		ctx = context.WithoutCancel(ctx)
	}
	if err := h.act(ctx, c, t); err != nil {
		return err
	}
	if err := h.engine(ctx, c, t); err != nil {
		return err
	}
	if t.Snooze && c.Token == 1 {
		return jobs.Snooze(100*time.Millisecond, "as asked")
	}
	if c.Attempt <= t.Fail {
		return fail(t, c)
	}
	if !t.Complete {
		return nil
	}
	if err := h.complete(ctx, c, t); err != nil {
		return err
	}
	return wait(ctx, t.Linger)
}

// engine does what the engine remembers.
func (h *handler) engine(ctx context.Context, c *jobs.Claim, t task) error {
	for i := range t.Steps {
		if err := h.step(ctx, c, fmt.Sprintf("step %d", i)); err != nil {
			return err
		}
	}
	if t.Sleep > 0 {
		if err := jobs.Sleep(ctx, c, "sleep", time.Duration(t.Sleep)*time.Millisecond); err != nil {
			return err
		}
	}
	if t.Signal > 0 {
		_, err := jobs.WaitSignal(ctx, c, "go", time.Duration(t.Signal)*time.Millisecond)
		if err != nil && !errors.Is(err, jobs.ErrWaitTimeout) {
			return err
		}
	}
	if t.Children > 0 {
		if err := h.family(ctx, c, t); err != nil {
			return err
		}
	}
	if t.Fenced {
		return h.fenced(ctx, c)
	}
	return nil
}

// step writes a row in the transaction of its memo.
func (h *handler) step(ctx context.Context, c *jobs.Claim, name string) error {
	_, err := jobs.StepTx(ctx, c, name, func(ctx context.Context, tx pgx.Tx) (int64, error) {
		_, err := tx.Exec(ctx, "INSERT INTO public.step_effect (run, token, name) VALUES ($1, $2, $3)", c.RunID, c.Token, name)
		return c.Token, err
	})
	return err
}

// family spawns children and waits for them.
func (h *handler) family(ctx context.Context, c *jobs.Claim, t task) error {
	for i := range t.Children {
		p := params(task{Acts: 1, Pause: 20, Steps: 1, Fail: i % 2})
		p.ClosePolicy = jobs.ClosePolicy(t.Close)
		if i%2 == 1 {
			p.Pool = slowPool
		}
		if err := h.spawn(ctx, c, strconv.Itoa(i), p); err != nil {
			return err
		}
	}
	_, err := jobs.Await(ctx, c, "children")
	return err
}

func (h *handler) spawn(ctx context.Context, c *jobs.Claim, key string, p jobs.StartParams) error {
	ctx, end := bounded(ctx, task{})
	defer end()
	_, err := jobs.Spawn(ctx, h.db, c, key, p)
	return err
}

func fail(t task, c *jobs.Claim) error {
	if t.Panic {
		panic("as asked")
	}
	err := fmt.Errorf("attempt %d fails as asked", c.Attempt)
	if t.RetryAfter > 0 {
		return jobs.RetryAfter(time.Duration(t.RetryAfter)*time.Millisecond, err)
	}
	return err
}

// act has effects outside the database, the journal being the outside.
func (h *handler) act(ctx context.Context, c *jobs.Claim, t task) error {
	acts := t.Acts
	if c.Attempt <= t.Fail {
		acts = min(acts, 1)
	}
	for range acts {
		if err := wait(ctx, t.Pause); err != nil {
			return err
		}
		if !t.Deaf {
			h.journal.about(c, history.Acted, "")
		}
	}
	return nil
}

// bounded is a transaction's time: on a connection that fell silent it would last for ever.
func bounded(ctx context.Context, t task) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 5*time.Second+time.Duration(t.Hold)*time.Millisecond)
}

func (h *handler) fenced(ctx context.Context, c *jobs.Claim) error {
	ctx, end := bounded(ctx, task{})
	defer end()
	return pgx.BeginFunc(ctx, h.db, func(tx pgx.Tx) error {
		if err := jobs.Fence(ctx, tx, c); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO public.fenced (run, token, worker) VALUES ($1, $2, $3)", c.RunID, c.Token, c.Worker)
		return err
	})
}

// errForgotten rolls a transaction back of which the worker hears nothing.
var errForgotten = errors.New("forgotten")

func (h *handler) complete(ctx context.Context, c *jobs.Claim, t task) error {
	ctx, end := bounded(ctx, t)
	defer end()
	err := pgx.BeginFunc(ctx, h.db, func(tx pgx.Tx) error {
		const effect = "INSERT INTO public.effect (run, token, worker) VALUES ($1, $2, $3)"
		if _, err := tx.Exec(ctx, effect, c.RunID, c.Token, c.Worker); err != nil {
			return err
		}
		if err := jobs.Complete(ctx, tx, c, json.RawMessage(fmt.Sprintf(`{"token": %d}`, c.Token))); err != nil {
			return err
		}
		if !t.Once || c.Token == 1 {
			if err := wait(ctx, t.Hold); err != nil {
				return err
			}
		}
		if t.Forget && c.Attempt == 1 {
			return errForgotten
		}
		return nil
	})
	if errors.Is(err, errForgotten) {
		return nil
	}
	return err
}

// wait waits for so many milliseconds, or for the end of the context.
func wait(ctx context.Context, millis int64) error {
	if millis == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(time.Duration(millis) * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
