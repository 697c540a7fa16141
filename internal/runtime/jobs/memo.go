package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrStepReused says that a handler used one name for two steps. The second would have got the result of the first.
	ErrStepReused = errors.New("name of the step is used already")
	// ErrNoStore says that a claim was not handed out by a Store and has no steps: one that a test has made, for example.
	ErrNoStore = errors.New("claim was not handed out by a store")
)

// maxStepName bounds the name of a step in bytes.
const maxStepName = 200

const (
	stepMemosSQL = `SELECT name, status, output, error_code, attempts, build FROM step_memos($1, $2, $3)`
	stepFindSQL  = `SELECT status, output, error_code, attempts, build FROM step_find($1, $2, $3, $4)`
	stepBeginSQL = `SELECT status, output, error_code, attempts, build FROM step_begin($1, $2, $3, $4, $5)`
	stepEndSQL   = `
SELECT status, output, error_code, attempts, build
FROM step_end($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11, $12)`
)

// memo is what a step has stored.
type memo struct {
	status   string
	output   json.RawMessage
	code     string
	attempts int
	build    string
}

func (m memo) completed() bool { return m.status == "completed" }

// memos are what the steps of a claim's run had stored when the first of them asked, and the names used since.
type memos struct {
	mu     sync.Mutex
	loaded bool
	stored map[string]memo
	used   map[string]bool
	waits  map[string]int
}

// enter marks a name as used in this execution and returns what is stored under it. The first call reads all memos of
// the run at once; a run's first claim has none to read.
func (c *Claim) enter(ctx context.Context, name string) (memo, error) {
	switch {
	case c.access == nil:
		return memo{}, fmt.Errorf("step %q: %w", name, ErrNoStore)
	case name == "" || len(name) > maxStepName || !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return memo{}, Permanent("step_name", fmt.Errorf("name of a step is %q, want 1 to %d bytes of UTF-8", name, maxStepName))
	}
	c.memos.mu.Lock()
	defer c.memos.mu.Unlock()
	if c.memos.used[name] {
		return memo{}, Permanent("step_reused", fmt.Errorf("step %q: %w: give each step of a handler a name of its own", name, ErrStepReused))
	}
	if !c.memos.loaded {
		if err := c.loadMemos(ctx); err != nil {
			return memo{}, fmt.Errorf("read the steps of run %d: %w", c.RunID, err)
		}
		c.memos.loaded, c.memos.used = true, map[string]bool{}
	}
	c.memos.used[name] = true
	return c.memos.stored[name], nil
}

func (c *Claim) loadMemos(ctx context.Context) error {
	if c.Token == 1 {
		return nil
	}
	return c.persist(ctx, func(ctx context.Context) error {
		rows, err := c.access.db.Query(ctx, stepMemosSQL, c.RunID, c.Worker, c.Token)
		if err != nil {
			return err
		}
		stored, name, m := map[string]memo{}, "", memo{}
		var code *string
		_, err = pgx.ForEachRow(rows, []any{&name, &m.status, (*[]byte)(&m.output), &code, &m.attempts, &m.build}, func() error {
			one := m
			one.code, one.output = value(code), append(json.RawMessage(nil), m.output...)
			stored[name] = one
			return nil
		})
		c.memos.stored = stored
		return err
	})
}

// warn tells the author of a handler that a memo is another build's, whose step of that name may have done another thing.
func (c *Claim) warn(ctx context.Context, name string, m memo) {
	if m.build != c.access.build {
		c.access.log.WarnContext(ctx, "step was memoised by another build", slog.Int64("run", c.RunID), slog.String("type", c.Type),
			slog.String("step", name), slog.String("memo_build", m.build), slog.String("build", c.access.build))
	}
}

func readMemo(row pgx.Row) (m memo, err error) {
	var code *string
	err = row.Scan(&m.status, (*[]byte)(&m.output), &code, &m.attempts, &m.build)
	m.code = value(code)
	return m, err
}

// memoGrace is how long what a step has done may still be written after its handler's context has ended.
const memoGrace = 3 * time.Second

// persist tries a statement again while only the way to the database is at fault, until the handler's context ended
// memoGrace ago, or its lease was lost.
func (c *Claim) persist(ctx context.Context, statement func(ctx context.Context) error) error {
	late, end := afterwards(ctx, memoGrace)
	defer end()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := tryOnce(late, statement)
		if err == nil || !passing(err) {
			return typed(err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-late.Done():
			t.Stop()
			return typed(err)
		}
	}
}

// memoTimeout bounds one statement about a memo, so that a connection that fell silent is replaced.
const memoTimeout = 10 * time.Second

func tryOnce(ctx context.Context, statement func(ctx context.Context) error) error {
	short, end := context.WithTimeout(ctx, memoTimeout)
	defer end()
	return statement(short)
}

// afterwards is a context that ends grace after ctx, at once when the lease is lost.
func afterwards(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var timer *time.Timer
	var mu sync.Mutex
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrLeaseLost) {
			cancel()
			return
		}
		mu.Lock()
		defer mu.Unlock()
		timer = time.AfterFunc(grace, cancel)
	})
	return late, func() {
		stop()
		cancel()
		mu.Lock()
		defer mu.Unlock()
		if timer != nil {
			timer.Stop()
		}
	}
}

// passing reports an error that the same statement may not meet again: no answer, or the server's or a lock's trouble.
func passing(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		_, unreadable := errors.AsType[pgx.ScanArgError](err)
		return !unreadable && !errors.Is(err, pgx.ErrNoRows)
	}
	switch pg.Code[:2] {
	case "08", "40", "53", "55", "57", "58":
		return true
	}
	return false
}
