package reads

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// CountLimit is where counting stops: a count of this size says that there are at least as many.
const CountLimit = 10_000

// Count is how many runs stand somewhere, and since when the oldest does.
type Count struct {
	// N is exact below CountLimit.
	N int
	// Oldest is when the first of them became due, for scheduled ones when it will; zero when there is none.
	Oldest time.Time
}

// Depth is what stands in a pool. It is read from the narrow tables: history costs it nothing.
type Depth struct {
	Pool string
	// Due runs may be claimed now, or will be as soon as somebody looks.
	Due Count
	// Scheduled runs are not due yet.
	Scheduled Count
	// Blocked runs wait for their lane.
	Blocked Count
	// Waiting runs wait for a signal, children or a time.
	Waiting Count
	// Running runs are held by claims; Oldest is when the first was claimed.
	Running Count
}

// depthSQL counts by the indexes on pool, at most $2 rows of each table and pool.
const depthSQL = `
WITH held AS MATERIALIZED (
  SELECT r.pool, r.claimed_at
  FROM receipt c
  CROSS JOIN LATERAL unnest(c.ids, c.tokens) AS t (id, token)
  JOIN run r ON r.id = t.id
  WHERE (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', c.worker, t.token)
)
SELECT p.name,
  least(due.n + over.n, $2)::int, least((SELECT r.run_at FROM run r WHERE r.id = due.first), over.oldest),
  later.n::int, later.oldest,
  laned.n::int, laned.oldest,
  parked.n::int, parked.oldest,
  running.n::int, running.oldest
FROM pool p
CROSS JOIN LATERAL (
  SELECT count(*) AS n, (array_agg(d.id ORDER BY d.vstart, d.id))[1] AS first
  FROM (SELECT x.id, x.vstart FROM ready x WHERE x.pool = p.name LIMIT $2) AS d) AS due
CROSS JOIN LATERAL (
  SELECT count(*) AS n, min(o.run_at) AS oldest
  FROM (
    SELECT x.run_at FROM scheduled x WHERE x.pool = p.name AND x.run_at <= clock_timestamp() ORDER BY x.run_at LIMIT $2) AS o) AS over
CROSS JOIN LATERAL (
  SELECT count(*) AS n, min(o.run_at) AS oldest
  FROM (
    SELECT x.run_at FROM scheduled x WHERE x.pool = p.name AND x.run_at > clock_timestamp() ORDER BY x.run_at LIMIT $2) AS o) AS later
CROSS JOIN LATERAL (
  SELECT count(*) AS n, min(r.run_at) AS oldest
  FROM (SELECT x.id FROM blocked x WHERE x.pool = p.name LIMIT $2) AS b
  JOIN run r ON r.id = b.id) AS laned
CROSS JOIN LATERAL (
  SELECT count(*) AS n, min(r.run_at) AS oldest
  FROM (SELECT x.id FROM waiting x WHERE x.pool = p.name LIMIT $2) AS b
  JOIN run r ON r.id = b.id) AS parked
CROSS JOIN LATERAL (
  SELECT count(*) AS n, min(h.claimed_at) AS oldest FROM held h WHERE h.pool = p.name) AS running
WHERE $1 = '' OR p.name = $1
ORDER BY p.name`

// Depths reads how deep the pools are, by name; only one when pool is not empty.
func Depths(ctx context.Context, q Querier, pool string) ([]Depth, error) {
	return collect(ctx, q, fmt.Sprintf("read depth of pool %q", pool), func(row pgx.CollectableRow) (Depth, error) {
		var d Depth
		var due, scheduled, blocked, waiting, running *time.Time
		err := row.Scan(&d.Pool, &d.Due.N, &due, &d.Scheduled.N, &scheduled, &d.Blocked.N, &blocked, &d.Waiting.N, &waiting,
			&d.Running.N, &running)
		d.Due.Oldest, d.Scheduled.Oldest, d.Blocked.Oldest = value(due), value(scheduled), value(blocked)
		d.Waiting.Oldest, d.Running.Oldest = value(waiting), value(running)
		return d, err
	}, depthSQL, pool, CountLimit)
}
