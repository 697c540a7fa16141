package jobs_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func (q *queue) startMany(params []jobs.StartParams) []jobs.StartResult {
	q.t.Helper()
	for i := range params {
		params[i].Type, params[i].Pool = jobType, pool
	}
	results, err := jobs.StartMany(q.t.Context(), q.db, params)
	if err != nil {
		q.t.Fatalf("start many: %v", err)
	}
	if len(results) != len(params) {
		q.t.Fatalf("%d results for %d runs", len(results), len(params))
	}
	return results
}

func TestC4ManyStartsAreOneStatementAndOneNotification(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	listener, s := q.listen(), q.count()
	params := make([]jobs.StartParams, 1000)
	for i := range params {
		params[i].Input = json.RawMessage(fmt.Sprintf(`{"n": %d}`, i))
	}
	s.take()
	results := q.startMany(params)
	if n := s.take(); n != 1 {
		t.Errorf("a thousand starts were %d statements, want 1", n)
	}
	q.wantNotifications(listener, "a thousand starts", pool)
	var order []int64
	for _, r := range results {
		if !r.Created {
			t.Fatalf("%+v was there", r)
		}
		order = append(order, r.RunID)
	}
	if !slices.IsSorted(order) {
		t.Error("the runs are not in order")
	}
	if n := one[int](q, `
SELECT count(*)::int FROM run r JOIN ready USING (id) WHERE r.root = r.id AND (r.input->>'n')::int = r.id - $1`, order[0]); n != 1000 {
		t.Errorf("%d runs are ready with their input, want 1000", n)
	}
	q.check()
}

func TestManyStartsTakeEveryOption(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	first := q.start(jobs.StartParams{IdempotencyKey: "b", Tenant: "t"})
	results := q.startMany([]jobs.StartParams{
		{IdempotencyKey: "a"},
		{IdempotencyKey: "b", Tenant: "t"},
		{IdempotencyKey: "a"},
		{Delay: time.Hour, Priority: 5, Lane: "l", LaneLimit: 2},
		{Deadline: time.Hour, Tags: map[string]string{"k": "v"}},
	})
	if results[1].RunID != first || results[2].RunID != results[0].RunID {
		t.Errorf("runs are %v, want the second to be %d and the third like the first", results, first)
	}
	for i, known := range []bool{false, true, true, false, false} {
		if results[i].Created == known {
			t.Errorf("start %d says that it created its run: %t", i, results[i].Created)
		}
	}
	q.wantPlace(results[3].RunID, "pending", "scheduled")
	if n := one[int](q, `SELECT count(*)::int FROM run WHERE id = $1 AND priority = 5 AND lane_key = 'l' AND lane_limit = 2`, results[3].RunID); n != 1 {
		t.Error("the fourth run lost its lane or priority")
	}
	if n := one[int](q, `SELECT count(*)::int FROM deadline d JOIN run r ON r.id = d.run WHERE r.id = $1 AND r.tags = '{"k": "v"}'`, results[4].RunID); n != 1 {
		t.Error("the fifth run lost its deadline or tags")
	}
	q.check()
}

func TestManyStartsDedupeAndCollideOneAfterTheOther(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	results := q.startMany([]jobs.StartParams{deduped(), deduped(), inLane(jobs.CollisionReplace), inLane(jobs.CollisionReplace), {}})
	if results[0].RunID != results[1].RunID || results[1].Created {
		t.Errorf("the second start with the key is answered %+v, want the first run", results[1])
	}
	q.wantPlace(results[2].RunID, "cancelled", "none")
	q.wantPlace(results[3].RunID, "pending", "ready")
	q.check()
}

func TestManyStartsAreAllOrNone(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for name, params := range map[string][]jobs.StartParams{
		"a bad option":  {{Type: jobType, Pool: pool}, {Type: jobType, Pool: pool, Priority: 101}},
		"two types":     {{Type: jobType, Pool: pool}, {Type: "other", Pool: pool}},
		"a foreign key": {{Type: "other", Pool: pool, IdempotencyKey: "x"}, {Type: "other", Pool: pool, IdempotencyKey: "taken"}},
	} {
		if name == "a foreign key" {
			q.start(jobs.StartParams{IdempotencyKey: "taken"})
		}
		before := one[int](q, `SELECT count(*)::int FROM run`)
		_, err := jobs.StartMany(t.Context(), q.db, params)
		mustIs(t, err, jobs.ErrInvalidStart, name)
		if n := one[int](q, `SELECT count(*)::int FROM run`); n != before {
			t.Errorf("%s: %d runs were started", name, n-before)
		}
	}
	if r, err := jobs.StartMany(t.Context(), q.db, nil); err != nil || r != nil {
		t.Errorf("no runs are answered %v, %v", r, err)
	}
	for name, test := range map[string]struct{ sql, want string }{
		"too many": {
			`SELECT count(*) FROM start_many('work', array_fill('{}'::jsonb, ARRAY[10001]), '{"{\"pool\": \"p\"}"}')`,
			"10001 inputs, want at most 10000",
		},
		"options differ": {
			`SELECT count(*) FROM start_many('work', '{"{}","{}","{}"}', '{"{\"pool\": \"p\"}","{}"}')`,
			"2 options for 3 inputs",
		},
	} {
		if _, err := q.db.Exec(t.Context(), test.sql); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want %q", name, err, test.want)
		}
	}
	if n := one[int](q, `SELECT count(*)::int FROM start_many('work', '{"{}","{}"}', '{"{\"pool\": \"p\"}"}')`); n != 2 {
		t.Errorf("one option for two inputs started %d runs", n)
	}
}

func TestInputsAndOutputsAreBoundedW66(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	text := func(n int) json.RawMessage { return json.RawMessage(`"` + strings.Repeat("x", n-2) + `"`) }
	fits, large := text(jobs.MaxPayload), text(jobs.MaxPayload+1)
	_, err := jobs.Start(t.Context(), q.db, jobs.StartParams{Type: jobType, Pool: pool, Input: large})
	mustIs(t, err, jobs.ErrTooLarge, "start")
	if !strings.Contains(err.Error(), "input has 1048577 bytes, want at most 1048576") {
		t.Errorf("the error does not say how large: %v", err)
	}
	_, err = jobs.StartMany(t.Context(), q.db, []jobs.StartParams{{Type: jobType, Pool: pool}, {Type: jobType, Pool: pool, Input: large}})
	mustIs(t, err, jobs.ErrTooLarge, "start many")
	q.start(jobs.StartParams{Input: fits})
	c := q.claimOne(inc)
	_, err = jobs.Spawn(t.Context(), q.db, c, "child", jobs.StartParams{Type: jobType, Pool: pool, Input: large})
	mustIs(t, err, jobs.ErrTooLarge, "spawn")
	tx := q.begin()
	mustIs(t, jobs.Complete(t.Context(), tx, c, large), jobs.ErrTooLarge, "complete")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx = q.begin()
	if err := jobs.Complete(t.Context(), tx, c, fits); err != nil {
		t.Fatal(err)
	}
	commit(t, tx)
}

// An array may have any shape and begin at any number.
func TestManyStartsTakeEveryElementOfTheirArrays(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for _, options := range []string{`{"pool": "p"}`, `{"pool": "p", "lane": "a", "collision": "replace"}`} {
		for _, inputs := range []string{`{{1,2},{3,4}}`, `[0:3]={1,2,3,4}`} {
			runs := one[[]int64](q, `
SELECT array_agg(m.run ORDER BY m.ordinality)
FROM start_many('work', $1::text::jsonb[], array_fill($2::jsonb, ARRAY[2, 2])) WITH ORDINALITY AS m
WHERE m.created`, inputs, options)
			got := one[string](q, `
SELECT string_agg(r.input::text, ' ' ORDER BY t.n) FROM unnest($1::bigint[]) WITH ORDINALITY AS t (id, n) JOIN run r ON r.id = t.id`, runs)
			if got != "1 2 3 4" {
				t.Errorf("inputs %s with options %s started runs with the inputs %q, want 1 to 4", inputs, options, got)
			}
		}
	}
}
