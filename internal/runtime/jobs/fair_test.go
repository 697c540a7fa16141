package jobs_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func (q *queue) fair() {
	q.t.Helper()
	q.limit(func(p *spec.Pool) { p.Fairness = spec.FairnessTenant })
}

// pending inserts due runs of a tenant, ” for none, faster than start does.
func (q *queue) pending(tenant string, n int) {
	q.t.Helper()
	q.exec(`
WITH r AS (
  INSERT INTO run (id, job_type, pool, tenant, root)
  SELECT nextval('run_id_seq'), $1, $2, nullif($3, ''), 0 FROM generate_series(1, $4::int)
  RETURNING id, run_at)
INSERT INTO ready (id, pool, job_type, vstart, tenant)
SELECT id, $2, $1, run_at, (SELECT $3 FROM pool_gate g WHERE g.pool = $2 AND g.fair) FROM r`, jobType, pool, tenant, n)
}

// shares counts claims by tenant, as text in order of the tenants.
func shares(claims []*jobs.Claim) string {
	n := map[string]int{}
	for _, c := range claims {
		n[c.Tenant]++
	}
	parts := make([]string, 0, len(n))
	for _, tenant := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%s:%d", tenant, n[tenant]))
	}
	return strings.Join(parts, " ")
}

func (q *queue) wantShares(inc *jobs.Incarnation, slots int, want string) {
	q.t.Helper()
	if got := shares(q.claim(inc, slots)); got != want {
		q.t.Fatalf("a claim of %d divides as %q, want %q", slots, got, want)
	}
}

// A tenant with a great many runs delays another's by no more than one turn, whatever the slots are.
func TestATenantWithManyRunsDelaysAnothersByOneTurnW41(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fair()
	inc := q.register()
	q.pending("many", 50_000)
	q.exec(`ANALYZE`)
	q.wantShares(inc, 1, "many:1")
	q.start(jobs.StartParams{Tenant: "few", Priority: -100})
	q.wantShares(inc, 1, "few:1")
	q.wantShares(inc, 10, "many:10")
	q.start(jobs.StartParams{Tenant: "few"})
	q.wantShares(inc, 10, "few:1 many:9")
	for i := range 5 {
		q.starts(2, jobs.StartParams{Tenant: fmt.Sprintf("t%d", i)})
	}
	// Six tenants and one slot: within six claims everybody has had a turn, within twelve two.
	for turn := range 2 {
		var all []*jobs.Claim
		for range 6 {
			all = append(all, q.claim(inc, 1)...)
		}
		if got, want := shares(all), "many:1 t0:1 t1:1 t2:1 t3:1 t4:1"; got != want {
			t.Fatalf("turn %d divides as %q, want %q", turn, got, want)
		}
	}
	q.wantShares(inc, 3, "many:3")
	q.check()
}

// The claim looks at one row a tenant and at what it takes, however many rows there are.
func TestAFairClaimsCostIsThatOfItsTenants(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fair()
	inc := q.register()
	q.pending("few", 20)
	read := func() int64 {
		tx := q.begin()
		fetched := func() int64 {
			var n int64
			err := tx.QueryRow(t.Context(), `
SELECT coalesce(sum(pg_stat_get_xact_tuples_fetched(indexrelid) + pg_stat_get_xact_tuples_returned(indexrelid)), 0)::bigint
FROM pg_index WHERE indrelid = 'ready'::regclass`).Scan(&n)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := fetched()
		if _, err := tx.Exec(t.Context(), `SELECT count(*) FROM claim($1, $2, $3, 5)`, inc.ID, pool, inc.Types); err != nil {
			t.Fatal(err)
		}
		n := fetched() - before
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		return n
	}
	few := read()
	q.pending("few", 20_000)
	q.pending("many", 20_000)
	q.exec(`ANALYZE`)
	if many := read(); many > few+100 {
		t.Errorf("a claim read %d index rows of ready with 40 000 pending, %d with 20", many, few)
	}
}

func TestRunsWithoutATenantAreOneGroup(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fair()
	inc := q.register()
	q.starts(8, jobs.StartParams{})
	q.starts(8, jobs.StartParams{Tenant: "a"})
	q.wantShares(inc, 6, ":3 a:3")
	q.wantShares(inc, 1, ":1")
	q.wantShares(inc, 1, "a:1")
	q.wantShares(inc, 16, ":4 a:4")
}

// Within a tenant the order is that of every pool.
func TestAFairPoolKeepsTheOrderWithinATenant(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fair()
	inc := q.register(jobType, "other")
	low := q.start(jobs.StartParams{Tenant: "a"})
	high := q.start(jobs.StartParams{Tenant: "a", Priority: 1, Type: "other"})
	for _, want := range []int64{high, low} {
		if c := q.claimOne(inc); c.RunID != want {
			t.Fatalf("claimed run %d, want %d", c.RunID, want)
		}
	}
}

// Every way into ready keeps the tenant.
func TestEveryWayBackKeepsItsTenantsTurn(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fair()
	inc := q.register()
	q.starts(3, jobs.StartParams{Tenant: "a"})
	q.start(jobs.StartParams{Tenant: "b"})
	q.start(jobs.StartParams{})
	all := q.claim(inc, 9)
	if len(all) != 5 {
		t.Fatalf("claimed %d runs, want 5", len(all))
	}
	q.settle(inc, retried(all[0], false), retried(all[1], false))
	q.giveBack(inc, all[2])
	q.expire(inc)
	q.sweep()
	for _, c := range all[:2] {
		q.exec(`DELETE FROM ready WHERE id = $1`, c.RunID)
	}
	q.sweep() // the audit has come to the end of run
	q.sweep() // and begins anew
	promoted := q.start(jobs.StartParams{Tenant: "c", Delay: longTime})
	q.exec(`UPDATE scheduled SET run_at = clock_timestamp() WHERE id = $1`, promoted)
	if _, _, err := q.store.Promote(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	wrong := one[int](q, `SELECT count(*) FROM ready x JOIN run r USING (id) WHERE x.tenant IS DISTINCT FROM coalesce(r.tenant, '')`)
	if n := one[int](q, `SELECT count(*) FROM ready`); n != 6 || wrong != 0 {
		t.Fatalf("%d runs are ready, %d of them without their tenant, want 6 and none", n, wrong)
	}
}

func TestLanesOfAFairPoolAreTakenByTurns(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fair()
	inc := q.register()
	for i := range 300 {
		q.start(jobs.StartParams{Tenant: "many", Lane: strconv.Itoa(i)})
	}
	q.starts(3, jobs.StartParams{Tenant: "many"})
	q.start(jobs.StartParams{Tenant: "few", Lane: "0"})
	q.start(jobs.StartParams{Tenant: "other"})
	q.wantShares(inc, 6, "few:1 many:4 other:1")
	q.start(jobs.StartParams{Tenant: "few", Lane: "1"})
	got := shares(append(q.claim(inc, 1), q.claim(inc, 1)...))
	if got != "few:1 many:1" {
		t.Fatalf("two claims of one slot divide as %q, want few:1 many:1", got)
	}
	// A claim that could not fill its slots at once is asked for again, and in the end everything is claimed.
	n := 0
	for range 100 {
		claims, again := q.claimAgain(inc, 50)
		n += len(claims)
		if len(claims) < 50 && again == 0 {
			break
		}
	}
	if n != 298 {
		t.Fatalf("claimed %d of the other runs, want 298", n)
	}
	q.check()
}

// A pool becomes fair while it has runs: they are one group, and nobody waits behind all of them.
func TestAPoolBecomesFairWhileItHasRuns(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.pending("many", 500)
	q.starts(2, jobs.StartParams{Tenant: "many", Lane: "l"})
	q.fair()
	q.start(jobs.StartParams{Tenant: "few"})
	if got := shares(append(q.claim(inc, 1), q.claim(inc, 1)...)); got != "few:1 many:1" {
		t.Fatalf("two claims of one slot divide as %q, want few:1 many:1", got)
	}
	n := 0
	for range 100 {
		claims, again := q.claimAgain(inc, 50)
		n += len(claims)
		if len(claims) == 0 && again == 0 {
			break
		}
	}
	if n != 500 {
		t.Fatalf("claimed %d of the runs from before, want 500 (one of two waits for its lane)", n)
	}
	q.limit(func(*spec.Pool) {})
	q.starts(2, jobs.StartParams{Tenant: "few"})
	q.wantShares(inc, 9, "few:2")
	q.check()
}

// Claims at once take every run once, and a caller who keeps a row locked stops nobody.
func TestFairClaimsAtOnceTakeEachRunOnce(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fair()
	for i := range 7 {
		q.pending(fmt.Sprintf("t%d", i), 40)
	}
	caller := q.begin()
	if _, err := caller.Exec(t.Context(), `SELECT FROM ready WHERE tenant = 't3' ORDER BY id LIMIT 1 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	done := make(chan []*jobs.Claim)
	for range 4 {
		inc := q.register()
		go func() {
			var mine []*jobs.Claim
			for empty := 0; empty < 3; {
				claims, _, err := q.store.Claim(t.Context(), inc, 9)
				if err != nil {
					t.Error(err)
					break
				}
				if len(claims) == 0 {
					empty++
				}
				mine = append(mine, claims...)
			}
			done <- mine
		}()
	}
	seen := map[int64]bool{}
	for range 4 {
		for _, c := range <-done {
			if seen[c.RunID] {
				t.Errorf("run %d was claimed twice", c.RunID)
			}
			seen[c.RunID] = true
		}
	}
	if len(seen) != 279 {
		t.Errorf("claimed %d runs, want all 280 but the one that a caller keeps", len(seen))
	}
	commit(t, caller)
	q.check()
}
