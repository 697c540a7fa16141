package jobs_test

import (
	"slices"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func TestAClaimFurtherOnEndsAtTheHeadWhenItComesBackShort(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	first := q.starts(5, jobs.StartParams{})
	if got := ids(q.claim(inc, 2)); !slices.Equal(got, first[:2]) {
		t.Fatalf("claimed %v, want %v", got, first[:2])
	}
	urgent := q.start(jobs.StartParams{Priority: 100}) // stands before all others
	want := append(slices.Clone(first[2:]), urgent)
	if got := ids(q.claim(inc, 10)); !slices.Equal(got, want) {
		t.Errorf("claimed %v, want what stands further on and what came to stand before it: %v", got, want)
	}
	q.check()
}

func TestAClaimFurtherOnPassesOverWhatStandsBefore(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	runs := q.starts(4, jobs.StartParams{})
	const claim = `SELECT coalesce(array_agg(run ORDER BY run), '{}') FROM claim($1, $2, $3, $4, $5, $6) WHERE run <> 0`
	for _, tt := range []struct {
		what  string
		slots int
		from  int64
		want  []int64
	}{
		{"one slot behind the second", 1, runs[1], runs[2:3]},
		{"three slots behind the third, which are more than stand there", 3, runs[2], []int64{runs[0], runs[1], runs[3]}},
	} {
		at := one[any](q, `SELECT run_at FROM run WHERE id = $1`, tt.from)
		got := one[[]int64](q, claim, inc.ID, pool, inc.Types, tt.slots, at, tt.from)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: claimed %v, want %v", tt.what, got, tt.want)
		}
	}
	q.check()
}
