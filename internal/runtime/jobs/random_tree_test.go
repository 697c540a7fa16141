package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// TestRandomHistoriesOfTrees is TestRandomHistories with handlers that use steps, children and waits, and callers that do
// everything callers can: what a run may go through, in every order that chance finds.
func TestRandomHistoriesOfTrees(t *testing.T) {
	t.Parallel()
	for seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			newForest(t, seed).play()
		})
	}
}

const (
	forestCalls   = 60 // of each caller
	forestCallers = 3
	forestDepth   = 3
)

// forest is one random run of the whole queue with trees.
type forest struct{ *history }

func newForest(t *testing.T, seed uint64) *forest {
	f := &forest{newHistory(t, seed)}
	f.exec(`CREATE TABLE stepped (run bigint, life integer, PRIMARY KEY (run, life))`)
	return f
}

func (f *forest) play() {
	var actors, callers sync.WaitGroup
	defer func() {
		f.over.Store(true)
		actors.Wait()
	}()
	for i := range historyWorkers {
		actors.Go(func() { (&player{history: f.history, rnd: f.random(i), script: f.handle}).work() })
	}
	actors.Go(f.sweeper)
	actors.Go(f.checker)
	actors.Go(func() { f.world(f.random(50)) })
	for i := range forestCallers {
		callers.Go(func() { f.caller(f.random(100 + i)) })
	}
	callers.Wait()
	f.awaitTheEnd()
	f.over.Store(true)
	actors.Wait()
	f.verdict()
}

// awaitTheEnd waits until every run has ended, as long as something still ends or the runs' counters move.
func (f *forest) awaitTheEnd() {
	for before := ""; !f.t.Failed(); {
		var moved bool
		f.await("every run has ended, or something has moved", func() bool {
			now := one[string](f.queue, `SELECT count(*) FILTER (WHERE status IN ('pending', 'running')) || ' ' || sum(claim_token) FROM run`)
			moved = now != before
			before = now
			return moved || f.t.Failed()
		})
		if one[bool](f.queue, `SELECT NOT EXISTS (SELECT FROM run WHERE status IN ('pending', 'running'))`) {
			return
		}
	}
}

// forestProblemsSQL is what no moment may show, beside problemsSQL.
const forestProblemsSQL = `
SELECT format('dedupe key %s of tenant "%s" stands for %s runs', dedupe_key, tenant, count(*)) FROM run
WHERE dedupe_key IS NOT NULL AND status IN ('pending', 'running', 'completed') GROUP BY dedupe_key, tenant HAVING count(*) > 1
UNION ALL
SELECT format('lane %s of tenant "%s" rejects, and %s runs of it live', lane_key, tenant, count(*)) FROM run r
WHERE collision = 'reject' AND status IN ('pending', 'running') AND NOT EXISTS (SELECT FROM waiting w WHERE w.id = r.id AND w.kind = 'closing')
GROUP BY lane_key, tenant HAVING count(*) > 1
UNION ALL
SELECT format('lane %s of tenant "%s" is replaced, and %s runs of it may go on', lane_key, tenant, count(*)) FROM run r
WHERE collision = 'replace' AND status IN ('pending', 'running') AND NOT EXISTS (SELECT FROM waiting w WHERE w.id = r.id AND w.kind = 'closing')
  AND NOT EXISTS (SELECT FROM cancel_request q WHERE q.run = r.id AND q.replay = r.replays)
GROUP BY lane_key, tenant HAVING count(*) > 1
UNION ALL
SELECT format('run %s is %s and keeps its lane', r.id, r.status) FROM lane_hold h JOIN run r ON r.id = h.run
WHERE h.worker IS NULL AND r.status <> 'pending'
UNION ALL
SELECT format('signal %s of run %s was taken twice', s.output, s.run) FROM step s
WHERE s.name LIKE 'signal:%' AND s.output IS NOT NULL GROUP BY s.run, s.replay, s.output HAVING count(*) > 1`

func (f *forest) checker() {
	for f.going() {
		rows, err := f.db.Query(f.ctx, problemsSQL+"\nUNION ALL"+forestProblemsSQL)
		f.fail("look for problems", err)
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		f.fail("look for problems", err)
		if len(list) > 0 {
			f.t.Errorf("seed %d: the data are not sound: %v", f.seed, list)
		}
	}
}

// world sends signals to those who wait for them and lets deadlines pass.
func (f *forest) world(rnd *rand.Rand) {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for f.going() {
		<-tick.C
		var err error
		switch rnd.IntN(6) {
		case 0:
			_, err = f.db.Exec(f.ctx, `UPDATE deadline SET at = clock_timestamp() WHERE run = (
  SELECT d.run FROM deadline d ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)`)
		case 1:
			_, err = f.db.Exec(f.ctx, `UPDATE run SET deadline_at = clock_timestamp() - interval '16 seconds' WHERE id = (
  SELECT r.id FROM run r JOIN deadline d ON d.run = r.id WHERE r.status = 'running' AND r.deadline_at < clock_timestamp()
  ORDER BY random() LIMIT 1 FOR UPDATE OF r SKIP LOCKED)`)
		default:
			_, err = f.db.Exec(f.ctx, `SELECT signal(r.id, w.signal, to_jsonb(nextval('run_id_seq')), r.tenant)
FROM waiting w JOIN run r ON r.id = w.id WHERE w.kind = 'signal' ORDER BY random() LIMIT 1`)
		}
		f.fail("the world goes on", err)
	}
}

// caller does everything that callers can, several things in one transaction, which is not always committed.
func (f *forest) caller(rnd *rand.Rand) {
	for range forestCalls {
		if !f.going() {
			return
		}
		err := pgx.BeginFunc(f.ctx, f.db, func(tx pgx.Tx) error {
			for range 1 + rnd.IntN(3) {
				err := pgx.BeginFunc(f.ctx, tx, func(tx pgx.Tx) error { return f.call(tx, rnd) })
				if err != nil && !refused(err) {
					return err
				}
			}
			if rnd.IntN(8) == 0 {
				return errRollback
			}
			return nil
		})
		if err != nil && !errors.Is(err, errRollback) && !code(err, "40P01") && !errors.Is(err, jobs.ErrBusy) {
			f.fail("call", err)
		}
	}
}

// refused reports what a caller is told when it comes too late, or at the wrong time.
func refused(err error) bool {
	return errors.Is(err, jobs.ErrCollision) || errors.Is(err, jobs.ErrNotReplayable) || errors.Is(err, jobs.ErrUnknownRun) ||
		code(err, "40001")
}

func code(err error, want string) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == want
}

var forestTenants = []string{"", "t"}

func (f *forest) call(tx pgx.Tx, rnd *rand.Rand) error {
	var newest int64
	if err := tx.QueryRow(f.ctx, `SELECT coalesce(max(id), 0) FROM run`).Scan(&newest); err != nil {
		return err
	}
	run, tenant := 1+rnd.Int64N(newest+1), forestTenants[rnd.IntN(2)]
	scope := jobs.ScopeParams{Scope: strconv.Itoa(rnd.IntN(4)), Tenant: tenant, MaxRuns: 1 + rnd.IntN(10)}
	var err error
	switch n := rnd.IntN(100); {
	case n < 45:
		p := f.params(rnd)
		p.Tenant = tenant
		switch rnd.IntN(8) {
		case 0:
			p.DedupeKey, p.DedupeWindow = strconv.Itoa(rnd.IntN(3)), time.Hour
		case 1:
			p.IdempotencyKey = strconv.Itoa(rnd.IntN(10))
		}
		_, err = jobs.Start(f.ctx, tx, p)
	case n < 50:
		_, err = jobs.StartMany(f.ctx, tx, []jobs.StartParams{f.params(rnd), f.params(rnd)})
	case n < 65:
		_, err = jobs.Cancel(f.ctx, tx, jobs.CancelParams{Run: run, Tenant: tenant, By: "caller", NoCascade: rnd.IntN(4) == 0})
	case n < 69:
		_, err = jobs.CancelScope(f.ctx, tx, scope, "caller", "scope")
	case n < 74:
		_, err = jobs.RescheduleScope(f.ctx, tx, scope, time.Duration(rnd.IntN(10))*time.Millisecond)
	case n < 80:
		_, err = jobs.Signal(f.ctx, tx, jobs.SignalParams{Run: run, Name: "go", Tenant: tenant, Payload: fmt.Append(nil, -run*1000-rnd.Int64N(1000))})
	default:
		_, err = jobs.Replay(f.ctx, tx, run, tenant, []jobs.ReplayMode{jobs.ReplayScratch, jobs.ReplayLastStep}[rnd.IntN(2)])
	}
	return err
}

// params are a run that does not always want to run alone, or in time.
func (f *forest) params(rnd *rand.Rand) jobs.StartParams {
	p := f.history.params(rnd)
	p.Scope, p.MaxAttempts = strconv.Itoa(rnd.IntN(4)), 3
	if rnd.IntN(4) == 0 {
		p.Deadline = time.Duration(1+rnd.IntN(60)) * time.Millisecond
	}
	switch rnd.IntN(6) {
	case 0:
		p.Lane, p.LaneLimit, p.Collision = "rejecting", 1, jobs.CollisionReject
	case 1:
		p.Lane, p.LaneLimit, p.Collision = "replaced", 1, jobs.CollisionReplace
	}
	return p
}

// handle is a handler of which nothing is certain but that it ends some day.
func (f *forest) handle(p *player, c *jobs.Claim) jobs.Settlement {
	output, err := f.script(p, c)
	var asked bool
	f.fail("look for a request", p.db.QueryRow(p.ctx, `
SELECT EXISTS (SELECT FROM cancel_request q JOIN run r ON r.id = q.run AND r.replays = q.replay WHERE r.id = $1)`, c.RunID).Scan(&asked))
	var cause error
	switch {
	case asked && p.rnd.IntN(4) > 0:
		cause = &jobs.CancelRequested{By: "by", Reason: "reason"}
	case !c.Deadline.IsZero() && time.Now().After(c.Deadline) && p.rnd.IntN(3) > 0:
		cause = jobs.ErrDeadline
	}
	if cause != nil {
		err = errors.Join(cause, err)
	}
	config := jobs.TypeConfig{
		Retry:              jobs.RetryPolicy{Base: time.Millisecond, Max: 10 * time.Millisecond},
		ReleaseLaneOnRetry: p.rnd.IntN(2) == 0,
	}
	return config.Settle(c, output, err, cause)
}

var errFails = errors.New("fails")

func (f *forest) script(p *player, c *jobs.Claim) (json.RawMessage, error) {
	ctx, rnd := p.ctx, p.rnd
	memoised, err := jobs.Step(ctx, c, "token", func(context.Context) (int64, error) { return c.Token, nil })
	if err == nil && memoised > c.Token {
		f.t.Errorf("seed %d: run %d remembers token %d under token %d", f.seed, c.RunID, memoised, c.Token)
	}
	if err == nil && rnd.IntN(2) == 0 {
		_, err = jobs.StepTx(ctx, c, "once", func(ctx context.Context, tx pgx.Tx) (bool, error) {
			_, err := tx.Exec(ctx, `INSERT INTO stepped SELECT id, replays FROM run WHERE id = $1`, c.RunID)
			return true, err
		})
	}
	var children []int64
	for i := range rnd.IntN(3) {
		if err == nil {
			var child int64
			if child, err = f.spawnChild(p, c, i); child != 0 {
				children = append(children, child)
			}
		}
	}
	if err == nil {
		err = f.rest(p, c, children)
	}
	switch n := rnd.IntN(100); {
	case err != nil && !errors.Is(err, jobs.ErrCancelling) && !errors.Is(err, jobs.ErrWaitTimeout):
		return nil, err
	case n < 10:
		return nil, jobs.Snooze(time.Duration(rnd.IntN(5))*time.Millisecond, "tired")
	case n < 30:
		return nil, errFails
	case n < 40:
		return nil, jobs.Permanent("bad", errFails)
	case n < 60:
		err := p.completeInTransaction(c, n%3 > 0)
		return json.RawMessage(`{}`), err
	}
	return json.RawMessage(`{}`), nil
}

// spawnChild starts a child, sometimes in a transaction that is rolled back.
func (f *forest) spawnChild(p *player, c *jobs.Claim, i int) (child int64, err error) {
	params := f.params(p.rnd)
	params.ClosePolicy = []jobs.ClosePolicy{jobs.CloseTerminate, jobs.CloseCancel, jobs.CloseAbandon}[p.rnd.IntN(3)]
	depth, _ := strconv.Atoi(c.Tags["depth"])
	if depth >= forestDepth {
		return 0, nil
	}
	params.Tags = map[string]string{"depth": strconv.Itoa(depth + 1)}
	err = pgx.BeginFunc(p.ctx, p.db, func(tx pgx.Tx) error {
		r, err := jobs.Spawn(p.ctx, tx, c, fmt.Sprint("child", i), params)
		if err == nil && p.rnd.IntN(8) == 0 {
			return errRollback
		}
		child = r.RunID
		return err
	})
	if errors.Is(err, errRollback) || errors.Is(err, jobs.ErrCollision) || errors.Is(err, jobs.ErrBusy) || code(err, "40P01") {
		return 0, nil
	}
	return child, err
}

// rest waits for something, or not.
func (f *forest) rest(p *player, c *jobs.Claim, children []int64) error {
	var err error
	switch p.rnd.IntN(6) {
	case 0:
		_, err = jobs.WaitSignal(p.ctx, c, "go", time.Duration(p.rnd.IntN(20))*time.Millisecond)
	case 1:
		err = jobs.Sleep(p.ctx, c, "sleep", time.Duration(p.rnd.IntN(8))*time.Millisecond)
	case 2:
		_, err = jobs.Await(p.ctx, c, "all")
	case 3:
		_, err = jobs.Await(p.ctx, c, "named"+fmt.Sprint(children), children...)
	}
	return err
}

// verdict looks at the whole history once it has ended.
func (f *forest) verdict() {
	if f.t.Failed() {
		return
	}
	f.await("nothing is left over", func() bool {
		f.exec(`UPDATE worker SET expires_at = clock_timestamp() - interval '1 ms'`)
		f.exec(`UPDATE deadline SET at = clock_timestamp() - interval '1 ms'`)
		f.sweep()
		return one[bool](f.queue, `
SELECT NOT EXISTS (SELECT FROM receipt) AND NOT EXISTS (SELECT FROM lane_hold) AND NOT EXISTS (SELECT FROM lane)
   AND NOT EXISTS (SELECT FROM worker) AND NOT EXISTS (SELECT FROM completing) AND NOT EXISTS (SELECT FROM cancel_request)
   AND NOT EXISTS (SELECT FROM deadline)`)
	})
	f.check()
	for status, n := range map[string]int{"completed": 1, "cancelled": 1, "failed": 1, "timed_out": 1} {
		if got := one[int](f.queue, `SELECT count(*)::int FROM run WHERE status = $1`, status); got < n {
			f.t.Errorf("seed %d: %d runs are %s", f.seed, got, status)
		}
	}
	f.protocol()
}
