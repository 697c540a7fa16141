package jobs_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// W40: a start names a pool that is there, and due runs in a pool that nobody works for can be seen.
func TestAnUnknownPoolIsRefusedAndAnUnservedOneIsVisibleW40(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	_, err := jobs.Start(t.Context(), q.db, jobs.StartParams{Type: jobType, Pool: "nowhere"})
	mustIs(t, err, jobs.ErrUnknownPool, "a start in a pool that does not exist")
	if !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("the error %q does not name the pool", err)
	}
	q.starts(3, jobs.StartParams{})
	if n := q.unserved()[jobType]; n != 3 {
		t.Errorf("%d due runs are counted in a pool without workers, want 3", n)
	}
}

func (q *queue) unserved() map[string]int64 {
	q.t.Helper()
	counts, err := jobs.Unserved(q.t.Context(), q.db, pool, 100)
	if err != nil {
		q.t.Fatalf("count unserved runs: %v", err)
	}
	return counts
}

// W56: a worker takes no run of a type that it does not know, whatever waits; who looks can see that nobody does.
func TestARunOfAnUnknownTypeIsLeftAloneAndVisibleW56(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	old := q.register("old")
	fresh := q.start(jobs.StartParams{Type: "new", Priority: 100})
	laned := q.start(jobs.StartParams{Type: "new", Lane: "l"})
	known := q.start(jobs.StartParams{Type: "old"})
	claims := q.claim(old, 10)
	if len(claims) != 1 || claims[0].RunID != known {
		t.Fatalf("an old worker claimed %d runs, want its own alone", len(claims))
	}
	q.wantPlace(fresh, "pending", "ready")
	q.wantPlace(laned, "pending", "ready")
	if got := q.unserved(); len(got) != 1 || got["new"] != 2 {
		t.Errorf("runs that nobody serves are %v, want two of type new", got)
	}
	newer := q.register("new", "old")
	if got := q.unserved(); len(got) != 0 {
		t.Errorf("runs that nobody serves are %v though a worker serves them", got)
	}
	if n := len(q.claim(newer, 10)); n != 2 {
		t.Errorf("the newer worker claimed %d runs, want 2", n)
	}
}

// W57: a build that does not know every type ever registered starts all the same, and history of that type stays.
func TestAWorkerStartsThoughOthersKnewMoreTypesW57(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	newer := q.register("old", "new")
	run := q.start(jobs.StartParams{Type: "new"})
	q.expire(newer)
	q.sweep()
	rolledBack := q.register("old")
	q.start(jobs.StartParams{Type: "old"})
	if n := len(q.claim(rolledBack, 10)); n != 1 {
		t.Fatalf("the older build claimed %d runs, want the one that it knows", n)
	}
	q.wantPlace(run, "pending", "ready")
	if n := one[int](q, `SELECT count(*) FROM job_type WHERE name = 'new' AND last_seen IS NOT NULL`); n != 1 {
		t.Error("the newer type is forgotten")
	}
}

// W58: registrations of two builds in turn change nothing that a start or a claim looks at.
func TestTwoBuildsInTurnRewriteNoDefinitionW58(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.declare("other", spec.DefaultPool())
	policy := func() string {
		return one[string](q, `SELECT string_agg(name || '@' || pool, ',' ORDER BY name) FROM job_type`)
	}
	q.register(jobType)
	before := policy()
	for i := range 6 {
		name := []string{pool, "other"}[i%2]
		_, err := q.store.Register(t.Context(), jobs.WorkerInfo{Pool: name, Build: []string{"v1", "v2"}[i%2], Types: []string{jobType}})
		if err != nil {
			t.Fatal(err)
		}
		if now := policy(); now != before {
			t.Fatalf("definitions are %q after a restart of the other build, want %q", now, before)
		}
	}
	r, err := jobs.Start(t.Context(), q.db, jobs.StartParams{Type: jobType})
	if err != nil {
		t.Fatal(err)
	}
	if got := one[string](q, `SELECT pool FROM run WHERE id = $1`, r.RunID); got != pool {
		t.Errorf("a start without a pool goes to %q, want the pool that registered the type first", got)
	}
}

// W48: a pool that polls costs its callers no notification.
func TestAPoolThatPollsIsNotNotifiedW48(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.limit(func(p *spec.Pool) { p.WakeMode = spec.WakePoll })
	conn := q.listen()
	q.starts(3, jobs.StartParams{})
	q.wantNotifications(conn, "a start in a pool that polls")
	q.limit(func(*spec.Pool) {})
	q.start(jobs.StartParams{})
	q.wantNotifications(conn, "a start in a pool that listens", pool)
}

// W47: nothing that is not due wakes anybody.
func TestARunThatIsNotDueWakesNobodyW47(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	conn := q.listen()
	q.start(jobs.StartParams{Delay: longTime})
	q.wantNotifications(conn, "a start for later")
}

// W53: when a notification cannot be sent, the call that sends it fails: its caller must know that the transaction is lost.
func TestAFailedNotificationFailsItsCallW53(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	tx := q.begin()
	if _, err := jobs.Start(t.Context(), tx, jobs.StartParams{Type: jobType, Pool: pool}); err != nil {
		t.Fatal(err)
	}
	_, err := tx.Exec(t.Context(), `SELECT wake(ARRAY[repeat('p', 8100)])`) // more than a notification takes
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "22023" {
		t.Fatalf("a notification that cannot be sent answers %v, want the database's error", err)
	}
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("the transaction commits though a notification in it failed")
	}
	if n := one[int](q, `SELECT count(*) FROM run`); n != 0 {
		t.Errorf("%d runs are there of a transaction that is lost", n)
	}
}

// Pools of one database have each their own lease: nobody judges another by its own threshold, and whoever sweeps waits for
// the longest heartbeat of all.
func TestPoolsWithDifferentLeasesShareADatabaseW10(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	patient, hasty := spec.DefaultPool(), spec.DefaultPool()
	patient.LeaseMillis, patient.HeartbeatMillis = 3_600_000, 1_200_000
	hasty.LeaseMillis, hasty.HeartbeatMillis, hasty.SweepMillis = 300, 100, 50
	q.declare("patient", patient)
	q.declare("hasty", hasty)
	incs := map[string]*jobs.Incarnation{}
	runs := map[string]int64{}
	for _, name := range []string{"patient", "hasty"} {
		inc, err := q.store.Register(t.Context(), jobs.WorkerInfo{Pool: name, Types: []string{jobType}})
		if err != nil {
			t.Fatal(err)
		}
		incs[name], runs[name] = inc, q.start(jobs.StartParams{Pool: name})
		q.claimOne(inc)
	}
	// Ten minutes without a sign of life of either.
	q.exec(`UPDATE worker SET expires_at = expires_at - interval '10 minutes'`)
	if r := q.sweep(); r.Workers != 1 || r.Recovered != 1 {
		t.Fatalf("the sweep took %d workers and put %d runs back, want the hasty pool's alone", r.Workers, r.Recovered)
	}
	q.wantPlace(runs["patient"], "running", "receipt")
	q.wantPlace(runs["hasty"], "pending", "ready")
	r := q.beat(q.renewal(), incs["patient"], jobs.BeatParams{Number: 1, Lease: time.Hour, Heartbeat: 20 * time.Minute})
	if r.Tuning == nil || r.Tuning.LeaseMillis != patient.LeaseMillis || r.LongestHeartbeat != 20*time.Minute {
		t.Errorf("a beat of the patient pool carries %+v and a longest heartbeat of %v, want its own tuning and 20 min", r.Tuning, r.LongestHeartbeat)
	}
	q.check()
}
