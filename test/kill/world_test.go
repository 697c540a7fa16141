package kill_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/test/kill/proxy"
)

const (
	poolName   = "p"
	schemaName = "syncline"
	jobType    = "work"
	// patience bounds every wait for something that will happen.
	patience = 40 * time.Second
	// brief is the length of leases that have to run out: their workers stop by themselves a second before they end. lasting is
	// the length of all others: no worker loses one to a slow machine, and a silent connection is given up after a third of it.
	brief, lasting = 3 * time.Second, 10 * time.Second
)

// world is one test's database, with a proxy before it.
type world struct {
	t      *testing.T
	server *pgtest.Instance
	db     *pgtest.DB
	queue  *pgxpool.Pool // uses the schema
	proxy  *proxy.Proxy
}

// tables are what handlers witness and touch. Nothing in effect is unique: a second effect must be seen, not refused.
const tables = `
CREATE TABLE public.effect (run bigint, token bigint, worker text);
CREATE TABLE public.mark (id bigint GENERATED ALWAYS AS IDENTITY, run bigint, token bigint, attempt int, worker text,
                          event text, cause text, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE public.gate (worker text PRIMARY KEY);`

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, pgtest.Server(t))
}

// newWorldOn uses a server of the test's own, for tests that stop it.
func newWorldOn(t *testing.T, server *pgtest.Instance) *world {
	t.Helper()
	w := &world{t: t, server: server, db: server.NewDB(t)}
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, w.db.URI)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := schema.Migrate(ctx, conn, schemaName); err != nil {
		t.Fatal(err)
	}
	w.queue, err = schema.Connect(ctx, func() (string, error) { return w.db.URI, nil }, schemaName, 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.queue.Close)
	w.exec(tables)
	w.lease(lasting)
	w.proxy, err = proxy.Listen(fmt.Sprintf("127.0.0.1:%d", server.Port()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// lease writes the pool's row: leases of a length for the workers that start now, and for those that run and hear of it.
func (w *world) lease(length time.Duration) {
	w.t.Helper()
	p := spec.DefaultPool()
	p.LeaseMillis, p.HeartbeatMillis, p.SweepMillis, p.PollMillis = length.Milliseconds(), 1000, 200, 200
	doc, err := json.Marshal(p)
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec(`INSERT INTO pool (name, tuning) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET tuning = excluded.tuning, tuning_generation = pool.tuning_generation + 1`, poolName, string(doc))
}

// worker starts a worker that reaches the database directly.
func (w *world) worker(name string) *workerProcess {
	w.t.Helper()
	return launch(w.t, settings{Name: name, URI: w.db.URI, Direct: w.db.URI, DrainTimeout: 10 * time.Second})
}

// proxied starts worker "a", which reaches the database through the proxy.
func (w *world) proxied() *workerProcess {
	w.t.Helper()
	uri := fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", pgtest.Role, w.proxy.Port(), w.db.Name)
	return launch(w.t, settings{Name: "a", URI: uri, Direct: w.db.URI, DrainTimeout: 10 * time.Second})
}

// start enqueues n runs of a task.
func (w *world) start(n int, t task) []int64 {
	w.t.Helper()
	input, err := json.Marshal(t)
	if err != nil {
		w.t.Fatal(err)
	}
	ids := make([]int64, n)
	for i := range ids {
		r, err := jobs.Start(w.t.Context(), w.queue, jobs.StartParams{Type: jobType, Pool: poolName, Input: input})
		if err != nil {
			w.t.Fatal(err)
		}
		ids[i] = r.RunID
	}
	return ids
}

// open opens the gate to every worker's handlers.
func (w *world) open() { w.openTo("") }

// openTo opens the gate to the handlers of one worker.
func (w *world) openTo(worker string) { w.exec("INSERT INTO public.gate VALUES ($1)", worker) }

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.queue.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// count reads one number.
func (w *world) count(sql string, args ...any) (n int) {
	w.t.Helper()
	if err := w.queue.QueryRow(w.t.Context(), sql, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// text reads one text.
func (w *world) text(sql string, args ...any) (s string) {
	w.t.Helper()
	if err := w.queue.QueryRow(w.t.Context(), sql, args...).Scan(&s); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return s
}

// eventually waits until a condition holds.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("did not happen within %v: %s\n%s", patience, what, w.story())
		}
	}
}

// hit waits for a fault of the proxy.
func (w *world) hit(f *proxy.Fault) {
	w.t.Helper()
	select {
	case <-f.Hit():
	case <-time.After(patience):
		w.t.Fatalf("the fault was not met within %v\n%s", patience, w.story())
	}
}

// abandoned waits until the worker has closed the connection of a held request.
func (w *world) abandoned(f *proxy.Fault) {
	w.t.Helper()
	select {
	case <-f.Abandoned():
	case <-time.After(patience):
		w.t.Fatalf("the worker has not given its request up within %v\n%s", patience, w.story())
	}
}

// marked waits until n events of a kind were witnessed, of one worker or, when it is empty, of any.
func (w *world) marked(n int, event, worker string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%d marks %q of worker %q", n, event, worker), func() bool {
		return w.count("SELECT count(*) FROM public.mark WHERE event = $1 AND ($2 = '' OR worker = $2)", event, worker) >= n
	})
}

// ended waits until every run has ended.
func (w *world) ended(ids []int64) {
	w.t.Helper()
	w.eventually("every run ends", func() bool {
		return w.count("SELECT count(*) FROM run WHERE id = ANY ($1) AND status IN ('pending', 'running')", ids) == 0
	})
}

// fate is how runs must have ended.
type fate struct {
	attempts, losses int
	// tokens is how often each was claimed; 0 does not matter.
	tokens int
	// effects is how many effects each has; it is checked as it is.
	effects int
}

// want checks that every run has completed with a fate, and that the queue keeps nothing of it.
func (w *world) want(ids []int64, f fate) {
	w.t.Helper()
	w.ended(ids)
	rows, err := w.queue.Query(w.t.Context(), `
		SELECT id, status, attempts, lease_losses, claim_token, (SELECT count(*) FROM public.effect e WHERE e.run = r.id)
		FROM run r WHERE id = ANY ($1) ORDER BY id`, ids)
	if err != nil {
		w.t.Fatal(err)
	}
	var id int64
	var status string
	var got fate
	if _, err := pgx.ForEachRow(rows, []any{&id, &status, &got.attempts, &got.losses, &got.tokens, &got.effects}, func() error {
		if f.tokens == 0 {
			got.tokens = 0
		}
		if status != "completed" || got != f {
			w.t.Errorf("run %d is %s with %+v, want completed with %+v", id, status, got, f)
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	w.clean(ids)
	if w.t.Failed() {
		w.t.Log(w.story())
	}
}

// clean checks that ended runs stand nowhere any more.
func (w *world) clean(ids []int64) {
	w.t.Helper()
	w.eventually("no side row, receipt or hold of an ended run is left", func() bool {
		return w.count(`SELECT (SELECT count(*) FROM ready WHERE id = ANY ($1)) + (SELECT count(*) FROM scheduled WHERE id = ANY ($1))
			+ (SELECT count(*) FROM blocked WHERE id = ANY ($1)) + (SELECT count(*) FROM waiting WHERE id = ANY ($1))
			+ (SELECT count(*) FROM lane_hold WHERE run = ANY ($1)) + (SELECT count(*) FROM receipt WHERE ids && $1)`, ids) == 0
	})
}

// story is what handlers witnessed, for a failure's message.
func (w *world) story() string {
	s := w.text(`SELECT coalesce(string_agg(format('%s run %s token %s %s %s %s', to_char(at, 'SS.MS'), run, token, worker, event, cause), E'\n' ORDER BY id), '')
		FROM public.mark`)
	return s + "\n" + w.text(`
		SELECT coalesce(string_agg(format('attempt: run %s token %s worker %s %s %s %s', run, number, worker, pod, outcome, error),
			E'\n' ORDER BY finished_at), '')
		FROM attempt`)
}
