package jobs_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// spawn starts a child of a claimed run and gives its id.
func (q *queue) spawn(c *jobs.Claim, key string, p jobs.StartParams) int64 {
	q.t.Helper()
	r := q.spawns(c, key, p)
	if !r.Created {
		q.t.Fatalf("child %q of run %d was there", key, c.RunID)
	}
	return r.RunID
}

func (q *queue) spawns(c *jobs.Claim, key string, p jobs.StartParams) jobs.StartResult {
	q.t.Helper()
	if p.Type == "" {
		p.Type = jobType
	}
	if p.Pool == "" {
		p.Pool = pool
	}
	r, err := jobs.Spawn(q.t.Context(), q.db, c, key, p)
	if err != nil {
		q.t.Fatalf("spawn: %v", err)
	}
	return r
}

func TestASpawnRepeatedIsTheSameChildW23(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	var wg sync.WaitGroup
	results := make([]jobs.StartResult, many)
	for i := range many {
		wg.Go(func() { results[i] = q.spawns(c, "line", jobs.StartParams{}) })
	}
	wg.Wait()
	created := 0
	for _, r := range results {
		if r.RunID != results[0].RunID {
			t.Fatalf("one key gave children %v", results)
		}
		if r.Created {
			created++
		}
	}
	if created != 1 {
		t.Fatalf("%d spawns say that they created the child, want 1", created)
	}
	child := q.claimOne(inc)
	q.settle(inc, retried(c, false))
	again := q.claimOne(inc)
	if r := q.spawns(again, "line", jobs.StartParams{}); r.Created || r.RunID != child.RunID {
		t.Errorf("the next attempt's spawn is answered %+v, want run %d", r, child.RunID)
	}
	if q.spawn(again, "other", jobs.StartParams{}) == child.RunID {
		t.Error("another key gave the same child")
	}
	_, err := jobs.Spawn(t.Context(), q.db, again, "line", jobs.StartParams{Type: "other", Pool: pool})
	mustIs(t, err, jobs.ErrInvalidStart, "the child's key with another type")
	for _, key := range []string{"", strings.Repeat("x", 513)} {
		_, err := jobs.Spawn(t.Context(), q.db, again, key, jobs.StartParams{Type: jobType, Pool: pool})
		mustIs(t, err, jobs.ErrInvalidStart, "a key of a bad length")
	}
}

func TestASpawnIsFencedByItsClaimW1(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	_, old, inc, now := stolen(q, jobs.StartParams{})
	_, err := jobs.Spawn(t.Context(), q.db, old, "late", jobs.StartParams{Type: jobType, Pool: pool})
	mustIs(t, err, jobs.ErrLeaseLost, "spawn of a lost claim")
	q.spawn(now, "line", jobs.StartParams{})
	q.settle(inc, completed(now))
	_, err = jobs.Spawn(t.Context(), q.db, now, "later", jobs.StartParams{Type: jobType, Pool: pool})
	mustIs(t, err, jobs.ErrLeaseLost, "spawn of an ended run")
}

func TestNoChildIsBornAfterACancelW21(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	run := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	first := q.spawn(c, "first", jobs.StartParams{})
	q.cancelIn(q.db, run, jobs.CancelAsked)
	_, err := jobs.Spawn(t.Context(), q.db, c, "second", jobs.StartParams{Type: jobType, Pool: pool})
	mustIs(t, err, jobs.ErrCancelling, "spawn of a run that is being cancelled")
	if r := q.spawns(c, "first", jobs.StartParams{}); r.Created || r.RunID != first {
		t.Errorf("the child that is there is answered as %+v", r)
	}
}

// A spawn under way holds its parent's row, so that the parent's end sees the child.
func TestAChildBornWhileItsParentEndsIsClosedW21(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	tx := q.begin()
	r, err := jobs.Spawn(t.Context(), tx, c, "line", jobs.StartParams{Type: jobType, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	done := background(func() error {
		_, err := q.store.Settle(t.Context(), inc, []jobs.Settlement{{Claim: c, Outcome: jobs.Failed, Code: "x"}})
		return err
	})
	q.awaitWaiter()
	commit(t, tx)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	q.wantPlace(c.RunID, "failed", "none")
	q.wantPlace(r.RunID, "cancelled", "none")
}

func TestASpawnCommitsWithItsHandlersTransaction(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	tx := q.begin()
	if _, err := jobs.Spawn(t.Context(), tx, c, "line", jobs.StartParams{Type: jobType, Pool: pool}); err != nil {
		t.Fatal(err)
	}
	var idle string
	if err := tx.QueryRow(t.Context(), `SELECT current_setting('idle_in_transaction_session_timeout')`).Scan(&idle); err != nil || idle == "0" {
		t.Errorf("a transaction that holds a run's row may idle for %s, %v", idle, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := one[int](q, `SELECT count(*)::int FROM run`); n != 1 {
		t.Fatal("a child outlived the rollback of its spawn")
	}
}

func TestChildrenHaveTheTenantOfTheirParentW38(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{Tenant: "t"})
	c := q.claimOne(inc)
	child := q.spawn(c, "line", jobs.StartParams{Lane: "a"})
	_, err := jobs.Spawn(t.Context(), q.db, c, "foreign", jobs.StartParams{Type: jobType, Pool: pool, Tenant: "u"})
	mustIs(t, err, jobs.ErrInvalidStart, "spawn for another tenant")
	laned := q.start(jobs.StartParams{Tenant: "t", Lane: "a"})
	const sameSQL = `SELECT count(*)::int FROM run WHERE id IN ($1, $2) AND tenant = 't' AND lane = (SELECT lane FROM run WHERE id = $1)`
	if n := one[int](q, sameSQL, child, laned); n != 2 {
		t.Error("the child is not in its tenant's lane")
	}
}

func TestAChildMayCollide(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	first := q.spawn(c, "a", jobs.StartParams{Lane: "l"})
	_, err := jobs.Spawn(t.Context(), q.db, c, "b", jobs.StartParams{Type: jobType, Pool: pool, Lane: "l", Collision: jobs.CollisionReject})
	mustIs(t, err, jobs.ErrCollision, "spawn into a taken lane")
	q.spawn(c, "c", jobs.StartParams{Lane: "l", Collision: jobs.CollisionReplace})
	q.wantPlace(first, "cancelled", "none")
}
