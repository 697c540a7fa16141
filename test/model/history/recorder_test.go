package history_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/schema/schematest"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/test/model/history"
)

func TestMain(m *testing.M) { pgtest.Main(m, goleak.IgnoreCurrent()) }

// recorded is a queue whose history is written down.
type recorded struct {
	t     *testing.T
	db    *pgxpool.Pool
	store *jobs.Store
}

func record(t *testing.T) *recorded {
	t.Helper()
	server := schematest.NewDB(t)
	db, err := schema.Connect(t.Context(), func() (string, error) { return server.URI, nil }, "syncline", 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	r := &recorded{t: t, db: db, store: jobs.NewStore(db)}
	tuning, err := json.Marshal(spec.DefaultPool())
	r.must(err)
	r.exec(`INSERT INTO pool (name, tuning) VALUES ('p', $1)`, string(tuning))
	r.exec(`CREATE TABLE ledger (run bigint, token bigint)`)
	r.must(errors.Join(history.Install(t.Context(), db), history.Watch(t.Context(), db, "ledger")))
	return r
}

func (r *recorded) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *recorded) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.db.Exec(r.t.Context(), sql, args...)
	r.must(err)
}

func (r *recorded) start(lane string) {
	r.t.Helper()
	_, err := jobs.Start(r.t.Context(), r.db, jobs.StartParams{Type: "work", Pool: "p", Lane: lane})
	r.must(err)
}

func (r *recorded) register() *jobs.Incarnation {
	r.t.Helper()
	inc, err := r.store.Register(r.t.Context(), jobs.WorkerInfo{Pool: "p", Pod: "pod", Types: []string{"work"}})
	r.must(err)
	return inc
}

func (r *recorded) claim(inc *jobs.Incarnation) *jobs.Claim {
	r.t.Helper()
	claims, _, err := r.store.Claim(r.t.Context(), inc, 1)
	r.must(err)
	if len(claims) != 1 {
		r.t.Fatalf("claimed %d runs, want 1", len(claims))
	}
	return claims[0]
}

func (r *recorded) settle(inc *jobs.Incarnation, c *jobs.Claim, outcome jobs.Outcome, keep bool) {
	r.t.Helper()
	_, err := r.store.Settle(r.t.Context(), inc, []jobs.Settlement{{Claim: c, Outcome: outcome, KeepLane: keep}})
	r.must(err)
}

func (r *recorded) sweep() {
	r.t.Helper()
	_, err := r.store.Sweep(r.t.Context())
	r.must(err)
}

func (r *recorded) verdict() (accepted, quiet error) {
	r.t.Helper()
	changes, err := history.Read(r.t.Context(), r.db, "ledger")
	r.must(err)
	events, err := history.Decode(changes)
	r.must(err)
	relation := history.NewRelation()
	for _, e := range events {
		if err := relation.Apply(e); err != nil {
			return err, nil
		}
	}
	return relation.Commit(), relation.Quiet()
}

// TestRecordedHistoryIsAccepted takes the engine's own statements through settle, retry with a kept lane, completion by
// the handler, expiry, sweep, cancel and leave.
func TestRecordedHistoryIsAccepted(t *testing.T) {
	t.Parallel()
	r := record(t)
	r.start("lane")
	r.start("lane")
	first := r.register()
	c := r.claim(first)
	r.settle(first, c, jobs.Retried, true)
	r.settle(first, r.claim(first), jobs.Completed, false)
	c = r.claim(first)
	r.exec(`UPDATE worker SET expires_at = clock_timestamp() - interval '1 ms'`)
	second := r.register()
	r.sweep()
	r.settle(first, c, jobs.Completed, false) // a zombie: answered as lost
	c = r.claim(second)
	r.must(pgx.BeginFunc(t.Context(), r.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `INSERT INTO ledger VALUES ($1, $2)`, c.RunID, c.Token); err != nil {
			return err
		}
		return jobs.Complete(t.Context(), tx, c, nil)
	}))
	r.settle(second, c, jobs.Failed, false)
	r.start("")
	_, err := jobs.Cancel(t.Context(), r.db, jobs.CancelParams{Run: 3, By: "caller", Reason: "enough"})
	r.must(err)
	_, err = r.store.Leave(t.Context(), second)
	r.must(err)
	if accepted, quiet := r.verdict(); accepted != nil || quiet != nil {
		t.Errorf("the recorded history is refused: %v; not quiet: %v", accepted, quiet)
	}
}

// TestRecordedHistoryOfABrokenEngineIsRefused does by hand what a statement without its rule would do.
func TestRecordedHistoryOfABrokenEngineIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, rule string }{
		"a token that goes back":         {`UPDATE run SET claim_token = 0`, "protocol"},
		"an ended run that changes":      {`UPDATE run SET attempts = 7 WHERE status = 'completed'`, "protocol"},
		"a lane that is freed too early": {`DELETE FROM lane_hold`, "S8"},
		"a receipt that is lost":         {`DELETE FROM receipt`, "S6"},
		"a run put back under its worker": {`
WITH u AS (UPDATE run SET status = 'pending', claimed_by = NULL, lease_losses = 1 WHERE status = 'running' RETURNING *)
INSERT INTO ready (id, pool, job_type, vstart, lane) SELECT id, pool, job_type, run_at, lane FROM u`, "S5"},
		"a run put back into no place":         {`UPDATE run SET status = 'pending', claimed_by = NULL WHERE status = 'running'`, "S7"},
		"a handler's row without its complete": {`INSERT INTO ledger SELECT id, claim_token FROM run WHERE status = 'running'`, "completion"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := record(t)
			inc := r.register()
			r.start("")
			r.settle(inc, r.claim(inc), jobs.Completed, false)
			r.start("lane")
			r.claim(inc)
			r.exec(c.sql)
			accepted, _ := r.verdict()
			if refusal, ok := errors.AsType[*history.Refusal](accepted); !ok || refusal.Rule != c.rule {
				t.Errorf("the history is answered with %v, want a refusal by %s", accepted, c.rule)
			}
		})
	}
}

// ExampleDecode reads the model's own form of a history.
func ExampleDecode() {
	changes := []history.Change{
		{Tx: 1, Table: "run", New: json.RawMessage(`{"id":1,"status":"pending"}`)},
		{Tx: 1, Table: "ready", New: json.RawMessage(`{"id":1}`)},
		{Tx: 2, Table: "run", Old: json.RawMessage(`{"id":1,"status":"pending"}`), New: json.RawMessage(`{"id":1,"status":"cancelled"}`)},
		{Tx: 2, Table: "ready", Old: json.RawMessage(`{"id":1}`)},
	}
	events, err := history.Decode(changes)
	fmt.Println(err, history.Accept(events))
	for _, e := range events {
		fmt.Println(e)
	}
	// Output:
	// <nil> <nil>
	// tx 1: started run=1 status=pending
	// tx 1: placed run=1 place=ready
	// tx 2: ended run=1 status=cancelled
	// tx 2: unplaced run=1 place=ready
}
