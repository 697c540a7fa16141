//go:build chaos

package chaos_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/test/chaos/history"
	"github.com/syncline-dev/syncline/test/kill/proxy"
)

const (
	// poolName is the pool of most runs; slowPool is another one, with longer leases.
	poolName, slowPool = "p", "q"
	schemaName         = "syncline"
	// oldType is known to every build, newType only to new ones; hookType is the endpoint's.
	oldType, newType, hookType = "work", "fresh", "hook"

	lease  = 3000 * time.Millisecond
	beats  = 900 * time.Millisecond
	sweeps = 200 * time.Millisecond
	// busy is what a machine with more processes than processors may add to a bound.
	busy = 3 * time.Second
	// patience bounds the wait for every run's end once nothing disturbs any more.
	patience = 30 * time.Second
)

var allTypes = []string{oldType, newType}

//go:embed recorder.sql
var recorder string

// world is one database with its workers and everything that is done to them.
type world struct {
	t      *testing.T
	server *server
	db     *pgtest.DB
	queue  *pgxpool.Pool // of callers, on the schema
	keys   []byte        // a keyset
	dir    string        // of journals
	origin time.Time     // the database's clock when the machine's stood at 0

	mu        sync.Mutex
	processes []*process
	faults    []history.Fault
	limits    func(*spec.Pool) // of the whole episode; set before the first worker
	breaks    func(*settings)  // set before the first worker
	started   []history.Start
	endpoint  *endpoint // nil without one
	log       []string
}

// newWorld makes a database with the recorder in it. Mutations change the SQL functions before anything uses them.
func newWorld(t *testing.T, s *server, mutations ...mutation) *world {
	t.Helper()
	w := &world{t: t, server: s, db: s.NewDB(t), dir: t.TempDir(), limits: func(*spec.Pool) {}, breaks: func(*settings) {}}
	conn, err := pgx.Connect(t.Context(), w.db.URI)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := schema.Migrate(t.Context(), conn, schemaName); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), recorder); err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations {
		m.apply(t, conn)
	}
	w.measureClock(conn)
	w.queue, err = schema.Connect(t.Context(), func() (string, error) { return w.db.URI, nil }, schemaName, 8, schema.WithApplicationName("caller"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	w.declare()
	return w
}

// close ends what is left of the processes.
func (w *world) close() {
	for _, p := range w.all() {
		if err := p.end(); err != nil {
			w.t.Error(err)
		}
	}
	if w.endpoint != nil {
		w.endpoint.close()
	}
	w.queue.Close()
}

// declare writes the pools' rows with the signing secrets, and a keyset that opens them.
func (w *world) declare() {
	w.t.Helper()
	keys, err := sealing.NewKeyset()
	if err == nil {
		w.keys, err = keys.JSON()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	for _, pool := range []string{poolName, slowPool} {
		w.tunePool(pool, func(*spec.Pool) {})
		secrets, err := sealed(keys, pool)
		if err != nil {
			w.t.Fatal(err)
		}
		w.exec("UPDATE pool SET secrets = $2 WHERE name = $1", pool, secrets)
	}
}

// measureClock finds the database's clock on the machine's, from the quickest of some questions.
func (w *world) measureClock(conn *pgx.Conn) {
	best := time.Hour
	for range 20 {
		var now time.Time
		before := machineClock()
		if err := conn.QueryRow(w.t.Context(), "SELECT clock_timestamp()").Scan(&now); err != nil {
			w.t.Fatal(err)
		}
		if took := machineClock() - before; took < best {
			best, w.origin = took, now.Add(-before-took/2)
		}
	}
}

const writeTuning = `
INSERT INTO pool (name, tuning) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET tuning = excluded.tuning, tuning_generation = pool.tuning_generation + 1`

// tuned is a pool of these tests: quick leases, changed by change. The slow pool's are longer by half.
func (w *world) tuned(pool string, change func(*spec.Pool)) spec.Pool {
	p := spec.DefaultPool()
	p.Concurrency = 8
	p.LeaseMillis, p.HeartbeatMillis, p.SweepMillis, p.PollMillis = lease.Milliseconds(), beats.Milliseconds(), sweeps.Milliseconds(), 200
	if pool == slowPool {
		p.Concurrency, p.LeaseMillis, p.HeartbeatMillis, p.SweepMillis = 4, p.LeaseMillis*3/2, p.HeartbeatMillis*3/2, p.SweepMillis*2
	} else {
		w.limits(&p)
	}
	if w.endpoint != nil {
		p.Handlers = []spec.Handler{w.endpoint.declared()}
	}
	change(&p)
	return p
}

// tune writes the row of the pool of most runs.
func (w *world) tune(change func(*spec.Pool)) {
	w.t.Helper()
	w.tunePool(poolName, change)
}

func (w *world) tunePool(pool string, change func(*spec.Pool)) {
	w.t.Helper()
	doc, err := json.Marshal(w.tuned(pool, change))
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec(writeTuning, pool, string(doc))
}

// bound is how long after the end of a lease its runs may still stand under it.
func (w *world) bound(pool string) time.Duration {
	p := w.tuned(pool, func(*spec.Pool) {})
	return time.Duration(p.SweepMillis)*time.Millisecond + p.Lease()/3 + busy
}

// through is the database's URI by way of a proxy.
func (w *world) through(p *proxy.Proxy) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", pgtest.Role, p.Port(), w.db.Name)
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.queue.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// count reads one number.
func (w *world) count(sql string, args ...any) (n int64) {
	w.t.Helper()
	if err := w.queue.QueryRow(w.t.Context(), sql, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// enqueue starts n runs of a task.
func (w *world) enqueue(n int, t task, change func(*jobs.StartParams)) []int64 {
	w.t.Helper()
	ids := make([]int64, n)
	for i := range ids {
		p := params(t)
		change(&p)
		r, err := jobs.Start(w.t.Context(), w.queue, p)
		if err != nil {
			w.t.Fatal(err)
		}
		ids[i] = r.RunID
	}
	for _, id := range ids {
		w.acknowledged(history.Start{Run: id})
	}
	return ids
}

// params ask for a run of a task.
func params(t task) jobs.StartParams {
	input, err := json.Marshal(t)
	if err != nil {
		panic(err)
	}
	return jobs.StartParams{Type: oldType, Pool: poolName, Input: input}
}

func (w *world) acknowledged(starts ...history.Start) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.started = append(w.started, starts...)
}

// note writes a line of the episode's log.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf("%9.3f ", machineClock().Seconds())+fmt.Sprintf(format, args...))
}

// during notes a fault from its beginning to its end; the process is empty when it concerns all.
func (w *world) during(process, kind string, frozen bool, do func()) {
	w.note("%s %s: begins", kind, process)
	f := history.Fault{Process: process, Kind: kind, From: machineClock(), Frozen: frozen}
	do()
	f.To = machineClock()
	w.note("%s %s: ends", kind, process)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, f)
}

// all are the processes so far.
func (w *world) all() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*process(nil), w.processes...)
}

// eventually waits until a condition holds, or for as long as within; false then.
func eventually(within time.Duration, holds func() bool) bool {
	deadline := time.After(within)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
	return true
}

// must waits for something that a scenario needs to go on.
func (w *world) must(what string, holds func() bool) {
	w.t.Helper()
	if !eventually(patience, holds) {
		w.t.Fatalf("did not happen within %v: %s\n%s", patience, what, w.story())
	}
}

// retune is tune for what may fail because of a fault.
func (w *world) retune(ctx context.Context, change func(*spec.Pool)) {
	doc, err := json.Marshal(w.tuned(poolName, change))
	if err == nil {
		_, err = w.queue.Exec(ctx, writeTuning, poolName, string(doc))
	}
	w.note("tune: %v", err)
}
