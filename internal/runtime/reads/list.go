package reads

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Filter narrows a list; zero values do not. Lists are quick along one of Root, Parent, Scope, Type or Pool, whose indexes
// hold the runs in order, and filter the rest.
type Filter struct {
	Root   int64
	Parent int64
	Scope  string
	Type   string
	Pool   string
	// Status is any of pending, running, completed, failed, cancelled, timed_out and lost.
	Status []string
	// Tags must all be on the run.
	Tags map[string]string
	// TriggerSource is manual, schedule, event or parent.
	TriggerSource string
	TriggerRef    string
	// Since is the earliest creation, inclusive.
	Since time.Time
}

// statuses are all that a run can have.
var statuses = []string{"pending", "running", "completed", "failed", "cancelled", "timed_out", "lost"}

func (f Filter) validate(limit int) (int, error) {
	for _, s := range f.Status {
		if !slices.Contains(statuses, s) {
			return 0, fmt.Errorf("%w: status is %q, want any of %s", ErrInvalidFilter, s, strings.Join(statuses, ", "))
		}
	}
	return pageSize(limit)
}

func pageSize(limit int) (int, error) {
	switch {
	case limit == 0:
		return DefaultPage, nil
	case limit < 0 || limit > MaxPage:
		return 0, fmt.Errorf("%w: limit is %d, want 1 to %d", ErrInvalidFilter, limit, MaxPage)
	}
	return limit, nil
}

// condition adds one comparison with the next parameter.
type conditions struct {
	where []string
	args  []any
}

func (c *conditions) add(sql string, arg any) {
	c.args = append(c.args, arg)
	c.where = append(c.where, strings.ReplaceAll(sql, "?", fmt.Sprintf("$%d", len(c.args))))
}

// conditions are in the same order for the same filter: connections keep the plans of statements by their text.
func (f Filter) conditions(tenant Tenant) (*conditions, error) {
	c := &conditions{}
	if !tenant.any {
		c.add("coalesce(r.tenant, '') = ?", tenant.name)
	}
	for _, x := range []struct {
		column string
		value  any
	}{
		{"root", f.Root},
		{"parent", f.Parent},
		{"scope", f.Scope},
		{"job_type", f.Type},
		{"pool", f.Pool},
		{"trigger_source", f.TriggerSource},
		{"trigger_ref", f.TriggerRef},
	} {
		if x.value != int64(0) && x.value != "" {
			c.add("r."+x.column+" = ?", x.value)
		}
	}
	if len(f.Status) > 0 {
		c.add("r.status = ANY (?)", f.Status)
	}
	if !f.Since.IsZero() {
		c.add("r.created_at >= ?", f.Since)
	}
	if len(f.Tags) > 0 {
		tags, err := json.Marshal(f.Tags)
		if err != nil {
			return nil, err
		}
		c.add("r.tags @> ?::jsonb", string(tags))
	}
	return c, nil
}

// page is what a cursor's checksum covers.
type page struct {
	Filter
	Tenant string
	Any    bool
}

// List reads a page of runs, newest first: limit runs at most, 0 for DefaultPage. The order is that of the ids, which grow
// with every start and are never equal, so no page skips or repeats a run however many start at one instant. next is
// empty after the last page.
func List(ctx context.Context, q Querier, tenant Tenant, f Filter, after Cursor, limit int) (runs []Run, next Cursor, err error) {
	limit, err = f.validate(limit)
	if err != nil {
		return nil, "", err
	}
	scope := page{Filter: f, Tenant: tenant.name, Any: tenant.any}
	c, err := f.conditions(tenant)
	if err != nil {
		return nil, "", err
	}
	var last int64
	found, err := after.open("runs", scope, &last)
	if err != nil {
		return nil, "", err
	}
	if found {
		c.add("r.id < ?", last)
	}
	runs, err = collect(ctx, q, "list runs", scanRun, listSQL(c, limit+1), c.args...)
	if err != nil || len(runs) <= limit {
		return runs, "", err
	}
	runs = runs[:limit]
	next, err = makeCursor("runs", scope, runs[limit-1].ID)
	return runs, next, err
}

// listSQL reads one row more than a page, to know whether another follows.
func listSQL(c *conditions, rows int) string {
	where := "true"
	if len(c.where) > 0 {
		where = strings.Join(c.where, "\n  AND ")
	}
	return fmt.Sprintf(`
SELECT %s
FROM run r
WHERE %s
ORDER BY r.id DESC
LIMIT %d`, columns, where, rows)
}

// Failure is a run that ended as failed, timed_out or lost.
type Failure struct {
	Run
}

// failuresSQL walks failure_recent from its end and finds each run by its key. A run that was replayed since is left out.
const failuresSQL = `
SELECT ` + columns + `
FROM failure f
JOIN run r ON r.id = f.run AND r.replays = f.replay AND r.status IN ('failed', 'timed_out', 'lost')
WHERE f.pool = $1
  AND ($2 OR coalesce(f.tenant, '') = $3)
  AND ($4::timestamptz IS NULL OR (f.finished_at, f.run) < ($4, $5))
ORDER BY f.finished_at DESC, f.run DESC
LIMIT $6`

// failedAt is a position among failures; microseconds since 1970, so that nothing is rounded.
type failedAt struct {
	Micros int64 `json:"us"`
	Run    int64 `json:"run"`
}

// Failures reads a page of a pool's runs that failed, timed out or were lost, the latest first.
func Failures(ctx context.Context, q Querier, tenant Tenant, pool string, after Cursor, limit int) (list []Failure, next Cursor, err error) {
	limit, err = pageSize(limit)
	if err != nil {
		return nil, "", err
	}
	scope := page{Filter: Filter{Pool: pool}, Tenant: tenant.name, Any: tenant.any}
	var at failedAt
	found, err := after.open("failures", scope, &at)
	if err != nil {
		return nil, "", err
	}
	var before *time.Time
	if found {
		before = new(time.UnixMicro(at.Micros))
	}
	list, err = collect(ctx, q, "list failures", func(row pgx.CollectableRow) (Failure, error) {
		r, err := scanRun(row)
		return Failure{Run: r}, err
	}, failuresSQL, pool, tenant.any, tenant.name, before, at.Run, limit+1)
	if err != nil || len(list) <= limit {
		return list, "", err
	}
	list = list[:limit]
	last := list[limit-1]
	next, err = makeCursor("failures", scope, failedAt{Micros: last.FinishedAt.UnixMicro(), Run: last.ID})
	return list, next, err
}
