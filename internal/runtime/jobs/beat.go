package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// beatSQL writes one row of worker by its primary key, whatever is in flight, and reads back what a worker must know. The
// runs of cancel requests are looked up one by one (OFFSET 0 keeps the planner from joining): for a table that is nearly
// always empty it would expect many, and read all of run.
//
// The counters are totals of the incarnation. What the pool's row has not got yet is added to it only when nobody
// holds that row: a beat never waits for whoever edits a pool, and a beat whose reply was lost is not counted twice.
const beatSQL = `
WITH before AS MATERIALIZED (
  SELECT id, pool, completed, failed, fenced_writes
  FROM worker
  WHERE id = $1 AND beat < $2
  FOR NO KEY UPDATE
),
counted AS MATERIALIZED (
  SELECT p.name
  FROM pool p
  JOIN before b ON b.pool = p.name
  WHERE (b.completed, b.failed, b.fenced_writes) IS DISTINCT FROM ($8::bigint, $9::bigint, $10::bigint)
  FOR NO KEY UPDATE OF p SKIP LOCKED
),
renewed AS (
  UPDATE worker w
  SET beat = $2,
      lease_millis = $3,
      expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond',
      heartbeat_millis = $4,
      tuning_generation = $5,
      in_flight = $6,
      draining = $7,
      completed = CASE WHEN c.name IS NULL THEN w.completed ELSE $8::bigint END,
      failed = CASE WHEN c.name IS NULL THEN w.failed ELSE $9::bigint END,
      fenced_writes = CASE WHEN c.name IS NULL THEN w.fenced_writes ELSE $10::bigint END
  FROM before b
  LEFT JOIN counted c ON true
  WHERE w.id = b.id
  RETURNING w.id, c.name, b.completed AS c0, b.failed AS f0, b.fenced_writes AS w0
),
added AS (
  UPDATE pool p
  SET completed = p.completed + $8::bigint - r.c0,
      failed = p.failed + $9::bigint - r.f0,
      fenced_writes = p.fenced_writes + $10::bigint - r.w0
  FROM renewed r
  WHERE p.name = r.name
)
SELECT
  EXISTS (SELECT FROM renewed),
  EXISTS (SELECT FROM worker WHERE id = $1 AND beat >= $2),
  p.tuning,
  p.tuning_generation,
  (SELECT coalesce(max(heartbeat_millis), 0) FROM worker),
  (SELECT array_agg(id) FROM receipt WHERE worker = $1),
  (SELECT json_agg(json_build_object('run', r.id, 'token', r.claim_token, 'by', c.requested_by, 'reason', c.reason) ORDER BY c.id)
   FROM cancel_request c
   CROSS JOIN LATERAL (
     SELECT q.id, q.claim_token
     FROM run q
     WHERE q.id = c.run AND q.replays = c.replay AND q.status = 'running' AND q.claimed_by = $1
     OFFSET 0
   ) AS r)
FROM (SELECT 1) AS one
LEFT JOIN pool p ON p.name = $11`

// Beat renews the lease on a connection of its own. A row that is there is renewed, expired or not: nobody has taken
// anything yet.
func (s *Store) Beat(ctx context.Context, conn *pgx.Conn, inc *Incarnation, p BeatParams) (BeatResult, error) {
	var row beatRow
	err := conn.QueryRow(ctx, beatSQL, inc.ID, p.Number, millis(p.Lease), millis(p.Heartbeat), p.TuningGeneration,
		p.InFlight, p.Draining, p.Completed, p.Failed, p.FencedWrites, inc.Pool).
		Scan(&row.renewed, &row.later, &row.tuning, &row.generation, &row.heartbeat, &row.receipts, &row.cancels)
	if err != nil {
		return BeatResult{}, fmt.Errorf("renew the lease of worker %d: %w", inc.ID, typed(err))
	}
	return row.result(inc)
}

type beatRow struct {
	renewed, later  bool
	tuning, cancels []byte
	generation      *int64
	heartbeat       int64
	receipts        []int64
}

func (b beatRow) result(inc *Incarnation) (BeatResult, error) {
	r := BeatResult{
		Confirmed:        b.renewed,
		Gone:             !b.renewed && !b.later,
		NeedsReconcile:   inc.unknown(b.receipts),
		LongestHeartbeat: time.Duration(b.heartbeat) * time.Millisecond,
	}
	if b.generation != nil {
		r.TuningGeneration = *b.generation
		if doc, err := decodeTuning(b.tuning); err != nil {
			r.TuningErr = err
		} else {
			r.Tuning = &doc
		}
	}
	return r, r.readCancels(b.cancels)
}

func (r *BeatResult) readCancels(raw []byte) error {
	if raw == nil {
		return nil
	}
	var notices []struct {
		Run, Token int64
		By, Reason string
	}
	if err := json.Unmarshal(raw, &notices); err != nil {
		return fmt.Errorf("read cancel requests: %w", err)
	}
	for _, n := range notices {
		r.Cancels = append(r.Cancels, CancelNotice{RunID: n.Run, Token: n.Token, CancelRequested: CancelRequested{By: n.By, Reason: n.Reason}})
	}
	return nil
}

// unknown reports a receipt that no claim of this process explains.
func (i *Incarnation) unknown(receipts []int64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, id := range receipts {
		if i.receipts[id] == 0 {
			return true
		}
	}
	return false
}
