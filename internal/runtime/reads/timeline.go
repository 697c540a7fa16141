package reads

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Moment is one thing that happened in a tree of runs.
type Moment struct {
	At  time.Time
	Run int64
	// Type is the run's job type.
	Type string
	// What is created, attempt, step, signal, or the status in which the run ended.
	What string
	// Name is the attempt's outcome, the step's or the signal's name.
	Name string
	// Error says why, when something went wrong.
	Error string

	n int64
}

// timelineSQL gathers the moments of a tree by run_root and the keys of what hangs on its runs. $2 to $5 are where the page
// begins: the order is total, so no page skips or repeats a moment.
const timelineSQL = `
WITH tree AS MATERIALIZED (
  SELECT r.* FROM run r WHERE r.root = $1 AND ($6 OR coalesce(r.tenant, '') = $7)
),
moment AS (
  SELECT t.created_at AS at, t.id AS run, t.job_type, 'created' AS what, t.trigger_source AS name, '' AS error, 0::bigint AS n
  FROM tree t
  UNION ALL
  SELECT a.finished_at, t.id, t.job_type, 'attempt', a.outcome, coalesce(a.error, ''), a.number
  FROM tree t JOIN attempt a ON a.run = t.id
  UNION ALL
  SELECT s.finished_at, t.id, t.job_type, 'step', s.name, coalesce(s.error, ''), s.replay::bigint << 32 | s.seq
  FROM tree t JOIN step s ON s.run = t.id
  WHERE s.finished_at IS NOT NULL
  UNION ALL
  SELECT g.created_at, t.id, t.job_type, 'signal', g.name, '', g.id
  FROM tree t JOIN signal g ON g.run = t.id
  UNION ALL
  SELECT t.finished_at, t.id, t.job_type, t.status, '', coalesce(t.error, ''), 0
  FROM tree t
  WHERE t.finished_at IS NOT NULL
)
SELECT at, run, job_type, what, name, error, n
FROM moment
WHERE $2::timestamptz IS NULL OR (at, run, what, n) > ($2, $3, $4, $5)
ORDER BY at, run, what, n
LIMIT $8`

// position is a place in a timeline.
type position struct {
	Micros int64  `json:"us"`
	Run    int64  `json:"run"`
	What   string `json:"what"`
	N      int64  `json:"n"`
}

// Timeline reads a page of what happened in the tree of a root run, oldest first. next is empty after the last page:
// nothing is left out silently.
func Timeline(ctx context.Context, q Querier, tenant Tenant, root int64, after Cursor, limit int) (list []Moment, next Cursor, err error) {
	limit, err = pageSize(limit)
	if err != nil {
		return nil, "", err
	}
	scope := page{Filter: Filter{Root: root}, Tenant: tenant.name, Any: tenant.any}
	var at position
	found, err := after.open("timeline", scope, &at)
	if err != nil {
		return nil, "", err
	}
	var since *time.Time
	if found {
		since = new(time.UnixMicro(at.Micros))
	}
	list, err = collect(ctx, q, fmt.Sprintf("read timeline of run %d", root), func(row pgx.CollectableRow) (Moment, error) {
		var m Moment
		err := row.Scan(&m.At, &m.Run, &m.Type, &m.What, &m.Name, &m.Error, &m.n)
		return m, err
	}, timelineSQL, root, since, at.Run, at.What, at.N, tenant.any, tenant.name, limit+1)
	if err != nil || len(list) <= limit {
		return list, "", err
	}
	list = list[:limit]
	last := list[limit-1]
	next, err = makeCursor("timeline", scope, position{Micros: last.At.UnixMicro(), Run: last.Run, What: last.What, N: last.n})
	return list, next, err
}
