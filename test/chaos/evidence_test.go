//go:build chaos

package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/test/chaos/history"
)

// unended counts what must not be there once everything has ended.
const unended = `
SELECT (SELECT count(*) FROM run WHERE status IN ('pending', 'running')) + (SELECT count(*) FROM receipt) + (SELECT count(*) FROM lane_hold)`

// settle waits until every run has ended and nothing of them is left; false when that takes too long.
func (w *world) settle(within time.Duration) bool {
	return eventually(within, func() bool {
		var n int
		err := w.queue.QueryRow(context.Background(), unended).Scan(&n)
		return err == nil && n == 0
	})
}

// stop ends the workers by SIGTERM and wants those that were left alone so far to drain cleanly, which they can do when
// nothing runs.
func (w *world) stop() (problems []string) {
	var alive []*process
	for _, p := range w.all() {
		if p.lives() && !p.told.Load() && !p.aside {
			alive = append(alive, p)
			p.signal(syscall.SIGTERM)
		}
	}
	for _, p := range alive {
		if code := p.exit(15 * time.Second); code != 0 {
			problems = append(problems, fmt.Sprintf("worker %s did not drain: exit code %d", p.name, code))
		}
	}
	return problems
}

const readChanges = `
SELECT tx::text::bigint, name, old, new, writer, at, pg_xact_commit_timestamp(tx::xid) AS committed
FROM public.change
ORDER BY committed, tx, seq`

// changes reads what the recorder has, in the order of commits.
func (w *world) changes() ([]history.Change, error) {
	rows, err := w.db.Pool.Query(context.Background(), readChanges)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (c history.Change, err error) {
		var before, after []byte
		var at, committed time.Time
		var writer string
		if err := r.Scan(&c.Tx, &c.Table, &before, &after, &writer, &at, &committed); err != nil {
			return c, err
		}
		c.Old, c.New = json.RawMessage(before), json.RawMessage(after)
		c.At, c.Committed = at.Sub(w.origin), committed.Sub(w.origin)
		if name, is := strings.CutPrefix(writer, application("")); is {
			c.Writer = name
		}
		return c, nil
	})
}

// evidence gathers everything that is known of the episode.
func (w *world) evidence() (history.Evidence, error) {
	e := history.Evidence{
		Origin: w.origin, End: machineClock(), Bound: w.bound, Warmup: busy, MaxRunning: map[string]int{},
	}
	if limit := w.tuned(poolName, func(*spec.Pool) {}).MaxRunning; limit > 0 {
		e.MaxRunning[poolName] = limit
	}
	w.db.Pool.Reset()
	var err error
	if e.Changes, err = w.changes(); err != nil {
		return e, fmt.Errorf("read the recorded changes: %w", err)
	}
	if e.Marks, err = readJournals(w.dir); err != nil {
		return e, err
	}
	for _, p := range w.all() {
		if !p.aside {
			e.Processes = append(e.Processes, p.life())
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Faults, e.Started = w.faults, w.started
	return e, nil
}

// deadlocks is how often the server has resolved one in this database, as far as it or a worker says so: its statistics come
// a while later.
func (w *world) deadlocks() (n int) {
	w.t.Helper()
	err := w.server.admin(context.Background(), func(c *pgx.Conn) error {
		return c.QueryRow(context.Background(), "SELECT deadlocks FROM pg_stat_database WHERE datname = $1", w.db.Name).Scan(&n)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	told := 0
	for _, p := range w.all() {
		told += strings.Count(p.log.String(), "SQLSTATE 40P01")
	}
	return max(n, told)
}

// story is what was done, and the ends of the workers' logs, for a failure's message.
func (w *world) story() string {
	var b strings.Builder
	w.mu.Lock()
	b.WriteString(strings.Join(w.log, "\n"))
	w.mu.Unlock()
	for _, p := range w.all() {
		text := p.log.String()
		if len(text) > 4000 {
			text = "…" + text[len(text)-4000:]
		}
		fmt.Fprintf(&b, "\n--- log of %s\n%s", p.name, text)
	}
	return b.String()
}
