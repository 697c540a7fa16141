package jobs_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestRegisterInsertsAMissingPoolAndKeepsADeclaredOne(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	tuning := spec.DefaultPool()
	tuning.LeaseMillis, tuning.HeartbeatMillis, tuning.Concurrency = 90, 30, 3
	q.declare("declared", tuning)
	for name, want := range map[string]spec.Pool{"declared": tuning, "by-hand": spec.DefaultPool()} {
		inc, err := q.store.Register(t.Context(), jobs.WorkerInfo{Pool: name, Types: []string{"a"}})
		if err != nil {
			t.Fatalf("register in %q: %v", name, err)
		}
		if !reflect.DeepEqual(inc.Tuning, want) {
			t.Errorf("tuning of %q is %+v, want %+v", name, inc.Tuning, want)
		}
		lease := one[int64](q, `
SELECT lease_millis FROM worker
WHERE id = $1 AND expires_at - started_at BETWEEN '0' AND (lease_millis + 1000) * interval '1 ms'`, inc.ID)
		if lease != want.LeaseMillis {
			t.Errorf("lease in %q is %d ms, want %d", name, lease, want.LeaseMillis)
		}
	}
}

func TestABeatCarriesTuningAndCancelRequests(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, other, conn := q.register(), q.register(), q.renewal()
	q.starts(2, jobs.StartParams{})
	mine, theirs := q.claimOne(inc), q.claimOne(other)
	for _, run := range []int64{mine.RunID, theirs.RunID} {
		if a, err := jobs.Cancel(t.Context(), q.db, jobs.CancelParams{Run: run, By: "me", Reason: "enough"}); err != nil || a != jobs.CancelAsked {
			t.Fatalf("cancel answered %q, %v", a, err)
		}
	}
	tuning := spec.DefaultPool()
	tuning.Concurrency = 77
	q.declare(pool, tuning)
	q.exec(`UPDATE pool SET tuning_generation = 9`)
	r := q.beat(conn, inc, jobs.BeatParams{Number: 1, Heartbeat: 7 * time.Minute})
	if r.Tuning == nil || r.Tuning.Concurrency != 77 || r.TuningGeneration != 9 {
		t.Errorf("beat carries tuning %+v of generation %d, want concurrency 77 and 9", r.Tuning, r.TuningGeneration)
	}
	want := jobs.CancelNotice{RunID: mine.RunID, Token: mine.Token, CancelRequested: jobs.CancelRequested{By: "me", Reason: "enough"}}
	if len(r.Cancels) != 1 || r.Cancels[0] != want {
		t.Errorf("beat carries cancel requests %+v, want %+v", r.Cancels, want)
	}
	if r := q.beat(conn, other, jobs.BeatParams{Number: 1}); r.LongestHeartbeat != 7*time.Minute {
		t.Errorf("longest heartbeat is %s, want 7m", r.LongestHeartbeat)
	}
	q.exec(`UPDATE pool SET tuning = '{"version": 99}'`)
	if r := q.beat(conn, inc, jobs.BeatParams{Number: 2}); !r.Confirmed || r.Tuning != nil || r.TuningErr == nil {
		t.Errorf("beat with a tuning that cannot be read answered %+v, want the lease renewed and the reason", r)
	}
}

func TestABeatsCountersReachThePoolOnceAndNeverWaitForIt(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc, conn := q.register(), q.renewal()
	count := func() string {
		return one[string](q, `SELECT format('%s/%s/%s', completed, failed, fenced_writes) FROM pool WHERE name = $1`, pool)
	}
	q.beat(conn, inc, jobs.BeatParams{Number: 1, Completed: 3, Failed: 2, FencedWrites: 1})
	q.beat(conn, inc, jobs.BeatParams{Number: 1, Completed: 3, Failed: 2, FencedWrites: 1})
	q.beat(conn, inc, jobs.BeatParams{Number: 2, Completed: 3, Failed: 2, FencedWrites: 1})
	if c := count(); c != "3/2/1" {
		t.Fatalf("counters are %s, want 3/2/1: every beat repeats its totals", c)
	}
	editor := q.begin()
	if _, err := editor.Exec(t.Context(), `SELECT FROM pool FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	if r := q.beat(conn, inc, jobs.BeatParams{Number: 3, Completed: 10, Failed: 2, FencedWrites: 1}); !r.Confirmed {
		t.Fatalf("beat answered %+v while somebody edits the pool", r)
	}
	commit(t, editor)
	q.beat(conn, inc, jobs.BeatParams{Number: 4, Completed: 11, Failed: 2, FencedWrites: 1})
	if c := count(); c != "11/2/1" {
		t.Fatalf("counters are %s, want 11/2/1", c)
	}
}
