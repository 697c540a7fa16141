package jobs_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// S2: a report of progress is a write of a claim.
func TestProgressIsFencedAndBounded(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	old := q.register()
	run := q.start(jobs.StartParams{})
	lost := q.claimOne(old)
	report := func(c *jobs.Claim, value string) error {
		return jobs.Progress(t.Context(), q.db, c, json.RawMessage(value))
	}
	if err := report(lost, `{"done": 1}`); err != nil {
		t.Fatal(err)
	}
	q.expire(old)
	q.sweep()
	holds := q.claimOne(q.register())
	if err := report(holds, `{"done": 2}`); err != nil {
		t.Fatal(err)
	}
	mustIs(t, report(lost, `{"done": 99}`), jobs.ErrLeaseLost, "a report of a claim that was lost")
	if got := one[string](q, `SELECT value::text FROM progress WHERE run = $1 AND token = $2`, run, holds.Token); got != `{"done": 2}` {
		t.Errorf("the progress is %s, want the newer claim's", got)
	}
	if err := report(holds, `"`+strings.Repeat("x", jobs.MaxProgress-2)+`"`); err != nil {
		t.Errorf("a report of 64 KiB: %v", err)
	}
	if err := report(holds, `"`+strings.Repeat("x", jobs.MaxProgress-1)+`"`); err == nil || !strings.Contains(err.Error(), "report a summary") {
		t.Errorf("a report of more than 64 KiB: %v, want an error with the way out", err)
	}
	// What is short on the wire may be long as PostgreSQL prints it.
	wide := `[` + strings.Repeat("1,", jobs.MaxProgress/2-2) + `1]`
	if err := report(holds, wide); !errors.Is(err, jobs.ErrInvalidStart) {
		t.Errorf("a report that PostgreSQL prints with more than 64 KiB: %v, want it refused", err)
	}
}

// What a worker serves changes while it runs: new types are claimed, others no more, and its row says so.
func TestServedTypesChangeWithinAnIncarnation(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register("a")
	for _, name := range []string{"a", "b"} {
		q.start(jobs.StartParams{Type: name})
	}
	if err := q.store.Serve(t.Context(), inc, []string{"b"}, "build-2"); err != nil {
		t.Fatal(err)
	}
	if c := q.claim(inc, 10); len(c) != 1 || c[0].Type != "b" {
		t.Fatalf("claimed %d runs, want the one of the type that is served now", len(c))
	}
	if got := one[[]string](q, `SELECT types FROM worker WHERE id = $1`, inc.ID); !slices.Equal(got, []string{"b"}) {
		t.Errorf("the worker's row names %v, want b", got)
	}
	if got := one[string](q, `SELECT pool || ' ' || build FROM job_type WHERE name = 'b'`); got != pool+" build-2" {
		t.Errorf("the type is registered as %q, want with the pool and the build", got)
	}
}
