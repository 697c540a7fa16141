package jobs_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func TestAClaimCarriesWhatStartWasGiven(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{Tenant: "acme"})
	parent := q.claimOne(inc)
	child := q.spawn(parent, "line", jobs.StartParams{
		Input: json.RawMessage(`{"n": 12345678901234567890}`), Scope: "order/7", MaxAttempts: 9, Tags: map[string]string{"team": "a"},
	})
	got := q.claimOne(inc)
	want := &jobs.Claim{
		RunID: child, Token: 1, Worker: inc.ID, Type: jobType, Pool: pool, Tenant: "acme", Scope: "order/7", Attempt: 1, MaxAttempts: 9,
		Parent: parent.RunID, Root: parent.RunID, TriggerSource: "parent", TriggerRef: strconv.FormatInt(parent.RunID, 10),
		Tags: map[string]string{"team": "a"}, Input: json.RawMessage(`{"n": 12345678901234567890}`),
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(jobs.Claim{})); diff != "" {
		t.Fatalf("claim differs (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeStoredIsTheCallersToChange(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	q.start(jobs.StartParams{})
	parent := q.claim(inc, 1)[0]
	for name, p := range map[string]jobs.StartParams{
		"a NUL in JSON":   {Type: jobType, Input: json.RawMessage(`{"name": "a\u0000b"}`)},
		"a NUL in a text": {Type: jobType, Scope: "a\x00b"},
		"broken JSON":     {Type: jobType, Input: json.RawMessage(`{"name": }`)},
		"a NUL in a type": {Type: "a\x00b"},
	} {
		t.Run(name, func(t *testing.T) {
			p.Pool = pool
			_, err := jobs.Start(t.Context(), q.db, p)
			mustIs(t, err, jobs.ErrInvalidStart, "start")
			_, err = jobs.StartMany(t.Context(), q.db, []jobs.StartParams{p, p})
			mustIs(t, err, jobs.ErrInvalidStart, "start many")
			_, err = jobs.Spawn(t.Context(), q.db, parent, "child", p)
			mustIs(t, err, jobs.ErrInvalidStart, "spawn")
		})
	}
	if n := one[int](q, `SELECT count(*) FROM run`); n != 1 {
		t.Fatalf("%d runs, want the parent alone", n)
	}
}

func TestStartRefusesWhatItDoesNotTakeW40W41(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const nowhere = `pool "nowhere" does not exist in schema "syncline"; create a JobPool with that poolName, start a worker with --pool, or use one of: p`
	for name, test := range map[string]struct{ jobType, options, want string }{
		"unknown option":     {"work", `{"pool":"p","prio":1,"when":2}`, `unknown option "prio", "when"; known are: pool, priority, `},
		"no type":            {"", `{"pool":"p"}`, `job_type is empty`},
		"long type":          {strings.Repeat("x", 513), `{"pool":"p"}`, `job_type has 513 bytes, want at most 512`},
		"options are a list": {"work", `[1]`, `options are of type array, want a JSON object`},
		"priority too high":  {"work", `{"pool":"p","priority":101}`, `option "priority" is 101, want a whole number from -100 to 100`},
		"priority is a text": {"work", `{"pool":"p","priority":"high"}`, `option "priority" is "high", want a whole number`},
		"fraction":           {"work", `{"pool":"p","delay_ms":1.5}`, `option "delay_ms" is 1.5, want a whole number`},
		"negative delay":     {"work", `{"pool":"p","delay_ms":-1}`, `option "delay_ms" is -1`},
		"no deadline":        {"work", `{"pool":"p","deadline_ms":0}`, `option "deadline_ms" is 0`},
		"empty lane":         {"work", `{"pool":"p","lane":""}`, `option "lane" is "", want a text that is not empty`},
		"limit without lane": {"work", `{"pool":"p","lane_limit":2}`, `need the option "lane"`},
		"tags are a list":    {"work", `{"pool":"p","tags":["a"]}`, `want an object whose values are texts`},
		"tags hold a number": {"work", `{"pool":"p","tags":{"a":1}}`, `want an object whose values are texts`},
		"trigger source":     {"work", `{"pool":"p","trigger_source":"moon"}`, `"trigger_source" is "moon", want one of: manual, schedule, event, parent`},
		"a parent":           {"work", `{"pool":"p","parent":4711}`, `unknown option "parent"; known are: `},
		"a close policy":     {"work", `{"pool":"p","close_policy":"cancel"}`, `unknown option "close_policy"`},
		"collision":          {"work", `{"pool":"p","lane":"a","collision":"fight"}`, `"collision" is "fight", want one of: queue, reject, replace`},
		"collision, no lane": {"work", `{"pool":"p","collision":"reject"}`, `need the option "lane"`},
		"key without window": {"work", `{"pool":"p","dedupe_key":"a"}`, `need each other`},
		"window without key": {"work", `{"pool":"p","dedupe_window_ms":1}`, `need each other`},
		"half a window":      {"work", `{"pool":"p","dedupe_key":"a","dedupe_window_ms":1.5}`, `option "dedupe_window_ms" is 1.5, want a whole number from 1`},
		"no window":          {"work", `{"pool":"p","dedupe_key":"a","dedupe_window_ms":0}`, `option "dedupe_window_ms" is 0, want a whole number from 1`},
		"long text":          {"work", `{"pool":"p","scope":"` + strings.Repeat("x", 513) + `"}`, `option "scope" has 513 bytes, want at most 512`},
		"many tags":          {"work", `{"pool":"p","tags":{` + tags(33) + `}}`, `option "tags" is too large: want at most 32 tags`},
		"long tag":           {"work", `{"pool":"p","tags":{"a":"` + strings.Repeat("x", 513) + `"}}`, `option "tags" is too large`},
		"long name of a tag": {"work", `{"pool":"p","tags":{"` + strings.Repeat("x", 129) + `":"a"}}`, `option "tags" is too large`},
		"text is a number":   {"work", `{"pool":"p","scope":5}`, `option "scope" is 5, want a text that is not empty`},
		"unknown pool":       {"work", `{"pool":"nowhere"}`, nowhere},
		"no pool":            {"work", `{}`, `no pool for job type "work": no worker has registered the type yet; name one with the option "pool"`},
	} {
		t.Run(name, func(t *testing.T) {
			var run int64
			err := q.db.QueryRow(t.Context(), `SELECT run FROM start($1, '{}', $2::jsonb)`, test.jobType, test.options).Scan(&run)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error is %v, want %q", err, test.want)
			}
		})
	}
	if n := one[int](q, `SELECT count(*) FROM run`); n != 0 {
		t.Fatalf("%d runs were started", n)
	}
	_, err := jobs.Start(t.Context(), q.db, jobs.StartParams{Type: jobType, Pool: "nowhere"})
	mustIs(t, err, jobs.ErrUnknownPool, "start in an unknown pool")
	_, err = jobs.Start(t.Context(), q.db, jobs.StartParams{Type: jobType, Pool: pool, Priority: 1000})
	mustIs(t, err, jobs.ErrInvalidStart, "start with a bad priority")
}

func TestCallsRefuseWhatTheyDoNotTake(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for sql, want := range map[string]string{
		`cancel(1, 'by', 'why', '{"deep": true}')`:                `unknown option "deep"; known are: tenant, cascade`,
		`cancel(1, 'by', 'why', '[1]')`:                           `options are of type array, want a JSON object`,
		`cancel(1, 'by', 'why', '{"cascade": "yes"}')`:            `option "cascade" is "yes", want true or false`,
		`cancel_scope('s', 'by', 'why', '{"deep": true}')`:        `unknown option "deep"; known are: tenant, cascade, after, max_runs`,
		`reschedule_scope('s', 1, '{"cascade": true}')`:           `unknown option "cascade"; known are: tenant, after, max_runs`,
		`reschedule_scope('s', -1)`:                               `option "delay_ms" is -1, want a whole number from 0`,
		`replay(1, 'scratch', '{"deep": true}')`:                  `unknown option "deep"; known are: tenant`,
		`replay(1, 'half')`:                                       `mode is "half", want scratch or last_step`,
		`signal(1, '')`:                                           `name of the signal has 0 bytes, want 1 to 200`,
		`signal(1, '` + strings.Repeat("x", 201) + `')`:           `name of the signal has 201 bytes, want 1 to 200`,
		`spawn(1, 1, '', 'work')`:                                 `key of a child has 0 bytes, want 1 to 512`,
		`spawn(1, 1, '` + strings.Repeat("x", 513) + `', 'work')`: `key of a child has 513 bytes, want 1 to 512`,
	} {
		if _, err := q.db.Exec(t.Context(), `SELECT `+sql); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s is answered %v, want %q", sql, err, want)
		}
	}
}

// tags are n different ones, as JSON without the braces.
func tags(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%d":"x"`, i)
	}
	return b.String()[1:]
}

func TestStartUsesThePoolThatRegisteredTheTypeFirstW58W67(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for _, name := range []string{"first", "second"} {
		if _, err := q.store.Register(t.Context(), jobs.WorkerInfo{Pool: name, Types: []string{"typed"}}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := jobs.Start(t.Context(), q.db, jobs.StartParams{Type: "typed"})
	if err != nil {
		t.Fatal(err)
	}
	if p := one[string](q, `SELECT pool FROM run WHERE id = $1`, r.RunID); p != "first" {
		t.Fatalf("run waits in pool %q, want the first", p)
	}
}

func TestStartsWithOneKeyAtOnceMakeOneRun(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const n = 8
	var created atomic.Int64
	var wg sync.WaitGroup
	got := make([]int64, n)
	for i := range n {
		wg.Go(func() {
			r, err := jobs.Start(t.Context(), q.db, jobs.StartParams{Type: jobType, Pool: pool, IdempotencyKey: "k"})
			if err != nil {
				t.Errorf("start: %v", err)
			}
			if r.Created {
				created.Add(1)
			}
			got[i] = r.RunID
		})
	}
	wg.Wait()
	for _, id := range got {
		if id != got[0] {
			t.Fatalf("starts with one key gave runs %v", got)
		}
	}
	if created.Load() != 1 {
		t.Fatalf("%d starts say that they created the run, want 1", created.Load())
	}
	other := q.start(jobs.StartParams{IdempotencyKey: "k", Tenant: "t"})
	if other == got[0] {
		t.Fatal("another tenant's key found this tenant's run")
	}
	_, err := jobs.Start(t.Context(), q.db, jobs.StartParams{Type: "other", Pool: pool, IdempotencyKey: "k"})
	mustIs(t, err, jobs.ErrInvalidStart, "start of another type with the key")
	q.check()
}

func TestStartCommitsWithItsCaller(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	tx := q.begin()
	if _, err := jobs.Start(t.Context(), tx, jobs.StartParams{Type: jobType, Pool: pool}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := one[int](q, `SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM ready)`); n != 0 {
		t.Fatal("a start outlived its caller's rollback")
	}
}

func TestPriorityAgesW41(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	old := q.start(jobs.StartParams{})
	q.exec(`UPDATE ready SET vstart = vstart - interval '11 minutes'`)
	high, higher := q.start(jobs.StartParams{Priority: 10}), q.start(jobs.StartParams{Priority: 12})
	for _, want := range []int64{higher, old, high} {
		if c := q.claimOne(inc); c.RunID != want {
			t.Fatalf("claimed run %d, want %d: a run that waited 11 minutes stands between priority 10 and 12", c.RunID, want)
		}
	}
}

func TestAClaimTakesOnlyItsPoolsAndItsTypesRunsInOneOrderW56(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register("a", "b")
	q.declare("elsewhere", inc.Tuning)
	var want []int64
	for _, name := range []string{"a", "b", "c", "b", "a"} {
		run := q.start(jobs.StartParams{Type: name})
		if name != "c" {
			want = append(want, run)
		}
	}
	q.start(jobs.StartParams{Type: "a", Pool: "elsewhere"})
	q.start(jobs.StartParams{Type: "a", Delay: time.Hour})
	q.wantClaims(inc, 3, want[:3]...)
	q.wantClaims(inc, 3, want[3:]...)
}
