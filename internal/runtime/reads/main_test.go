package reads_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/reads"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/schema/schematest"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestMain(m *testing.M) { pgtest.Main(m, goleak.IgnoreCurrent()) }

// queue is one test's database with a pool named p and a worker that serves the type work.
type queue struct {
	t     *testing.T
	db    *pgxpool.Pool
	store *jobs.Store
	inc   *jobs.Incarnation
}

func newQueue(t *testing.T) *queue {
	t.Helper()
	db := schematest.NewDB(t)
	q := &queue{t: t}
	var err error
	q.db, err = schema.Connect(t.Context(), func() (string, error) { return db.URI, nil }, "syncline", 5)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.db.Close)
	doc, err := json.Marshal(spec.DefaultPool())
	if err != nil {
		t.Fatal(err)
	}
	q.exec(`INSERT INTO pool (name, tuning) VALUES ('p', $1), ('empty', $1)`, string(doc))
	q.store = jobs.NewStore(q.db)
	q.inc, err = q.store.Register(t.Context(), jobs.WorkerInfo{Pool: "p", Pod: "pod-1", Types: []string{"work"}})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func (q *queue) exec(sql string, args ...any) {
	q.t.Helper()
	if _, err := q.db.Exec(q.t.Context(), sql, args...); err != nil {
		q.t.Fatalf("%s: %v", sql, err)
	}
}

func (q *queue) start(p jobs.StartParams) int64 {
	q.t.Helper()
	p.Type, p.Pool = "work", "p"
	r, err := jobs.Start(q.t.Context(), q.db, p)
	if err != nil {
		q.t.Fatal(err)
	}
	return r.RunID
}

// claim claims the next runs, at most n.
func (q *queue) claim(n int) []*jobs.Claim {
	q.t.Helper()
	claims, _, err := q.store.Claim(q.t.Context(), q.inc, n)
	if err != nil {
		q.t.Fatal(err)
	}
	return claims
}

func (q *queue) settle(s jobs.Settlement) {
	q.t.Helper()
	results, err := q.store.Settle(q.t.Context(), q.inc, []jobs.Settlement{s})
	if err != nil || results[0] != jobs.Done {
		q.t.Fatalf("settle is %v, %v, want done", results, err)
	}
}

// fail starts and fails one run.
func (q *queue) fail(p jobs.StartParams) int64 {
	q.t.Helper()
	id := q.start(p)
	c := q.claim(1)
	if len(c) != 1 || c[0].RunID != id {
		q.t.Fatalf("claimed %v, want run %d", c, id)
	}
	q.settle(jobs.Settlement{Claim: c[0], Outcome: jobs.Failed, Code: "boom", Message: "it broke"})
	return id
}

// all reads every page of the list.
func all[T any](t *testing.T, read func(after reads.Cursor) ([]T, reads.Cursor, error)) (pages int, list []T) {
	t.Helper()
	var after reads.Cursor
	for {
		part, next, err := read(after)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		list = append(list, part...)
		if next == "" {
			return pages, list
		}
		after = next
		if pages > 1000 {
			t.Fatal("the list does not end")
		}
	}
}

// recent reports a time of the last minute, by the database's clock, which is this machine's.
func recent(at time.Time) bool { return time.Since(at).Abs() < time.Minute }
