package reads_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/reads"
)

func TestGetTellsARunWhole(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	id := q.start(jobs.StartParams{
		Input: []byte(`{"a": 1}`), Scope: "account/7", Tenant: "acme", Lane: "l", Tags: map[string]string{"team": "x"},
		Priority: 3, TriggerSource: "event", TriggerRef: "e1", MaxAttempts: 4, Deadline: time.Hour,
	})
	d, err := reads.Get(t.Context(), q.db, reads.Of("acme"), id)
	if err != nil {
		t.Fatal(err)
	}
	if d.ID != id || d.Type != "work" || d.Pool != "p" || d.Status != "pending" || d.Place != reads.Ready || string(d.Input) != `{"a": 1}` ||
		d.Scope != "account/7" || d.Tenant != "acme" || d.LaneKey != "l" || d.LaneNamespace != "work" || d.Tags["team"] != "x" ||
		d.Priority != 3 || d.TriggerSource != "event" || d.TriggerRef != "e1" || d.MaxAttempts != 4 || d.Root != id || d.Parent != 0 {
		t.Errorf("the run is %+v", d)
	}
	if !recent(d.CreatedAt) || !d.FinishedAt.IsZero() || d.Deadline.Sub(d.CreatedAt) != time.Hour {
		t.Errorf("times are %v, %v, %v", d.CreatedAt, d.FinishedAt, d.Deadline)
	}
	for _, tenant := range []reads.Tenant{reads.Of("other"), {}} {
		if _, err := reads.Get(t.Context(), q.db, tenant, id); !errors.Is(err, reads.ErrNotFound) {
			t.Errorf("tenant %+v reads another's run: %v", tenant, err)
		}
	}
	if _, err := reads.Get(t.Context(), q.db, reads.AnyTenant(), id); err != nil {
		t.Errorf("an administrator cannot read it: %v", err)
	}
}

func TestGetFollowsARunFromPlaceToPlace(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	place := func(id int64) string {
		d, err := reads.Get(t.Context(), q.db, reads.Of(""), id)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s %s %s", d.Status, d.Place, d.Pod)
	}
	later := q.start(jobs.StartParams{Delay: time.Hour})
	first := q.start(jobs.StartParams{Lane: "l"})
	second := q.start(jobs.StartParams{Lane: "l"})
	c := q.claim(5)
	for id, want := range map[int64]string{later: "pending scheduled ", first: "running  pod-1", second: "pending blocked "} {
		if got := place(id); got != want {
			t.Errorf("run %d is %q, want %q", id, got, want)
		}
	}
	if _, err := jobs.Cancel(t.Context(), q.db, jobs.CancelParams{Run: first, By: "me", Reason: "enough"}); err != nil {
		t.Fatal(err)
	}
	d, err := reads.Get(t.Context(), q.db, reads.Of(""), first)
	if err != nil || !d.CancelRequested || d.CancelBy != "me" || d.CancelReason != "enough" {
		t.Errorf("the request is %+v, %v", d, err)
	}
	q.settle(jobs.Settlement{Claim: c[0], Outcome: jobs.Completed, Output: []byte(`{"b": 2}`)})
	d, err = reads.Get(t.Context(), q.db, reads.Of(""), first)
	if err != nil || d.Status != "completed" || string(d.Output) != `{"b": 2}` || d.Attempts != 1 || !recent(d.FinishedAt) {
		t.Errorf("the completed run is %+v, %v", d, err)
	}
}

func TestAttemptsNameWorkerAndReasonW15(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	id := q.start(jobs.StartParams{})
	for n := range 2 {
		c := q.claim(1)[0]
		q.settle(jobs.Settlement{Claim: c, Outcome: jobs.Retried, Code: "e", Message: fmt.Sprintf("try %d", n+1)})
		q.exec(`SELECT promote('p')`)
	}
	list, err := reads.Attempts(t.Context(), q.db, reads.Of(""), id)
	if err != nil || len(list) != 2 {
		t.Fatalf("attempts are %+v, %v, want 2", list, err)
	}
	for n, a := range list {
		if a.Outcome != "retried" || a.Error != fmt.Sprintf("try %d", n+1) || a.ErrorCode != "e" || a.Worker != q.inc.ID || a.Pod != "pod-1" || !recent(a.StartedAt) {
			t.Errorf("attempt %d is %+v", n+1, a)
		}
	}
	if list, err := reads.Attempts(t.Context(), q.db, reads.Of("other"), id); err != nil || len(list) != 0 {
		t.Errorf("another tenant reads %+v, %v", list, err)
	}
}

func TestListLosesNoRunAmongEqualTimesW68(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	var want []int64
	for range 10 {
		want = append(want, q.start(jobs.StartParams{}))
	}
	q.exec(`UPDATE run SET created_at = '2026-01-01 00:00:00.000123'`)
	slices.Reverse(want)
	pages, got := all(t, func(after reads.Cursor) ([]reads.Run, reads.Cursor, error) {
		return reads.List(t.Context(), q.db, reads.Of(""), reads.Filter{}, after, 3)
	})
	if ids := runIDs(got); pages != 4 || !slices.Equal(ids, want) {
		t.Errorf("%d pages gave %v, want 4 with %v", pages, ids, want)
	}
}

func runIDs(list []reads.Run) []int64 {
	ids := make([]int64, len(list))
	for i, r := range list {
		ids[i] = r.ID
	}
	return ids
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	plain := q.start(jobs.StartParams{})
	tagged := q.start(jobs.StartParams{Tags: map[string]string{"a": "1", "b": "2"}, Scope: "s/1"})
	event := q.start(jobs.StartParams{TriggerSource: "event", TriggerRef: "e9"})
	foreign := q.start(jobs.StartParams{Tenant: "acme"})
	failed := q.fail(jobs.StartParams{Priority: 100})
	old := q.start(jobs.StartParams{})
	q.exec(`UPDATE run SET created_at = created_at - interval '1 day' WHERE id = $1`, old)
	tests := map[string]struct {
		tenant reads.Tenant
		filter reads.Filter
		want   []int64
	}{
		"all of no tenant": {want: []int64{old, failed, event, tagged, plain}},
		"of a tenant":      {tenant: reads.Of("acme"), want: []int64{foreign}},
		"of all tenants":   {tenant: reads.AnyTenant(), want: []int64{old, failed, foreign, event, tagged, plain}},
		"by status":        {filter: reads.Filter{Status: []string{"failed", "lost"}}, want: []int64{failed}},
		"by tag":           {filter: reads.Filter{Tags: map[string]string{"a": "1"}}, want: []int64{tagged}},
		"by wrong tag":     {filter: reads.Filter{Tags: map[string]string{"a": "2"}}},
		"by scope":         {filter: reads.Filter{Scope: "s/1"}, want: []int64{tagged}},
		"by trigger":       {filter: reads.Filter{TriggerSource: "event", TriggerRef: "e9"}, want: []int64{event}},
		"by root":          {filter: reads.Filter{Root: plain}, want: []int64{plain}},
		"by pool and type": {filter: reads.Filter{Pool: "p", Type: "work", Since: time.Now().Add(-time.Hour)}, want: []int64{failed, event, tagged, plain}},
		"by another pool":  {filter: reads.Filter{Pool: "empty"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			list, next, err := reads.List(t.Context(), q.db, tc.tenant, tc.filter, "", 0)
			if err != nil || next != "" || !slices.Equal(runIDs(list), tc.want) {
				t.Errorf("list is %v, next %q, error %v, want %v", runIDs(list), next, err, tc.want)
			}
		})
	}
}

func TestListRefusesWhatItCannotReadW69(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for range 3 {
		q.start(jobs.StartParams{})
	}
	_, cursor, err := reads.List(t.Context(), q.db, reads.Of(""), reads.Filter{}, "", 1)
	if err != nil || cursor == "" {
		t.Fatalf("cursor is %q, %v", cursor, err)
	}
	tests := map[string]struct {
		filter reads.Filter
		tenant reads.Tenant
		after  reads.Cursor
		limit  int
		want   error
		says   string
	}{
		"garbage":               {after: "!!", want: reads.ErrInvalidCursor, says: "begin without one"},
		"a changed cursor":      {after: cursor[:len(cursor)-4] + "AAAA", want: reads.ErrInvalidCursor},
		"another filter":        {after: cursor, filter: reads.Filter{Pool: "p"}, want: reads.ErrInvalidCursor, says: "another list or filter"},
		"another tenant":        {after: cursor, tenant: reads.Of("acme"), want: reads.ErrInvalidCursor},
		"an unknown status":     {filter: reads.Filter{Status: []string{"done"}}, want: reads.ErrInvalidFilter, says: `status is "done", want any of pending`},
		"a limit below nothing": {limit: -1, want: reads.ErrInvalidFilter, says: "limit is -1, want 1 to 1000"},
		"a limit too large":     {limit: 1001, want: reads.ErrInvalidFilter},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			list, _, err := reads.List(t.Context(), q.db, tc.tenant, tc.filter, tc.after, tc.limit)
			if !errors.Is(err, tc.want) || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("list is %v, error %v, want %v that says %q", runIDs(list), err, tc.want, tc.says)
			}
		})
	}
	if _, _, err := reads.Failures(t.Context(), q.db, reads.Of(""), "p", cursor, 1); !errors.Is(err, reads.ErrInvalidCursor) {
		t.Errorf("a cursor of another list is taken: %v", err)
	}
}

func TestFailuresComeLatestFirstPageByPageW74(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	var want []int64
	for range 5 {
		want = append(want, q.fail(jobs.StartParams{}))
	}
	foreign := q.fail(jobs.StartParams{Tenant: "acme"})
	q.exec(`UPDATE run SET finished_at = '2026-01-01 00:00:00.000123'`)
	q.exec(`UPDATE failure SET finished_at = '2026-01-01 00:00:00.000123'`)
	slices.Reverse(want)
	pages, got := all(t, func(after reads.Cursor) ([]reads.Failure, reads.Cursor, error) {
		return reads.Failures(t.Context(), q.db, reads.Of(""), "p", after, 2)
	})
	ids := make([]int64, len(got))
	for i, f := range got {
		ids[i] = f.ID
	}
	if pages != 3 || !slices.Equal(ids, want) {
		t.Errorf("%d pages gave %v, want 3 with %v", pages, ids, want)
	}
	mine, _, err := reads.Failures(t.Context(), q.db, reads.Of("acme"), "p", "", 0)
	if err != nil || len(mine) != 1 || mine[0].ID != foreign || mine[0].ErrorCode != "boom" {
		t.Errorf("failures of the tenant are %+v, %v", mine, err)
	}
}

func TestDepthTellsDueFromScheduledBlockedAndRunningW71(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.start(jobs.StartParams{Lane: "l", Priority: 100})
	q.start(jobs.StartParams{Lane: "l", Priority: 99})
	q.claim(1)
	q.start(jobs.StartParams{})
	q.start(jobs.StartParams{Delay: time.Hour})
	q.exec(`UPDATE scheduled SET run_at = run_at`)
	depths, err := reads.Depths(t.Context(), q.db, "")
	if err != nil || len(depths) != 2 || depths[0].Pool != "empty" || depths[1].Pool != "p" {
		t.Fatalf("depths are %+v, %v", depths, err)
	}
	if empty := (reads.Depth{Pool: "empty"}); depths[0] != empty {
		t.Errorf("the empty pool has %+v", depths[0])
	}
	d := depths[1]
	if got := []int{d.Due.N, d.Scheduled.N, d.Blocked.N, d.Waiting.N, d.Running.N}; !slices.Equal(got, []int{1, 1, 1, 0, 1}) {
		t.Errorf("due, scheduled, blocked, waiting, running are %v, want 1 1 1 0 1", got)
	}
	if !recent(d.Due.Oldest) || !recent(d.Blocked.Oldest) || !recent(d.Running.Oldest) || !d.Waiting.Oldest.IsZero() ||
		time.Until(d.Scheduled.Oldest) < 50*time.Minute {
		t.Errorf("oldest are %+v", d)
	}
}

func TestTimelineTellsATreeWholePageByPageW73(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	root := q.start(jobs.StartParams{})
	c := q.claim(1)[0]
	child, err := jobs.Spawn(t.Context(), q.db, c, "k", jobs.StartParams{Type: "work", Pool: "p"})
	if err != nil {
		t.Fatal(err)
	}
	q.settle(jobs.Settlement{Claim: c, Outcome: jobs.Retried, Code: "e", Message: "not yet", Delay: time.Hour})
	k := q.claim(1)[0]
	q.settle(jobs.Settlement{Claim: k, Outcome: jobs.Completed})
	_, got := all(t, func(after reads.Cursor) ([]reads.Moment, reads.Cursor, error) {
		return reads.Timeline(t.Context(), q.db, reads.Of(""), root, after, 1)
	})
	var lines []string
	for _, m := range got {
		lines = append(lines, fmt.Sprintf("%d %s %s", m.Run, m.What, m.Name))
	}
	want := []string{
		fmt.Sprintf("%d created manual", root), fmt.Sprintf("%d created parent", child.RunID),
		fmt.Sprintf("%d attempt retried", root), fmt.Sprintf("%d completed ", child.RunID),
	}
	if !slices.Equal(lines, want) {
		t.Errorf("the timeline is\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}
