-- Sweep (S5, S7, S8).

-- Ends pending runs without waiting for anybody, and all that this closes. Returns the runs that ended.
CREATE OR REPLACE FUNCTION end_pending(p_runs bigint[], p_status text, p_code text, p_message text) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_ended bigint[] := end_quietly(p_runs, p_status, p_code, array_fill(p_message, ARRAY[cardinality(p_runs)]));
BEGIN
  IF cardinality(v_ended) > 0 THEN
    PERFORM wake(closed(v_ended));
  END IF;
  RETURN v_ended;
END $$;

-- Puts back what receipts of dead workers name. Each run is checked again on its locked row; those in lanes only when
-- the lane is locked. A run that was to be cancelled, is past its deadline or has lost its worker too often ends.
-- The first loss is due at once, later ones after a growing, jittered delay.
CREATE OR REPLACE FUNCTION sweep_receipts(
  p_receipts bigint[], p_lanes bigint[], p_max_losses integer, OUT recovered integer, OUT ended integer, OUT pools text[])
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz := clock_timestamp();
  v_ended bigint[];
BEGIN
  WITH n AS MATERIALIZED (
    SELECT c.worker, c.pod, t.id, t.token
    FROM receipt c
    CROSS JOIN LATERAL unnest(c.ids, c.tokens) AS t (id, token)
    WHERE c.id = ANY (p_receipts)
  ),
  l AS MATERIALIZED (
    SELECT r.id, n.worker, n.pod, n.token, r.claimed_at AS started_at,
           (SELECT cancel_message(q.requested_by, q.reason)
            FROM cancel_request q WHERE q.run = r.id AND q.replay = r.replays ORDER BY q.id LIMIT 1) AS cancelled
    FROM n
    JOIN run r ON r.id = n.id
    WHERE (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', n.worker, n.token)
      AND (r.lane IS NULL OR r.lane = ANY (p_lanes))
    ORDER BY r.id
    FOR NO KEY UPDATE OF r SKIP LOCKED
  ),
  f AS MATERIALIZED (
    SELECT l.*, CASE WHEN l.cancelled IS NOT NULL THEN 'cancelled'
                     WHEN r.deadline_at <= v_now THEN 'timed_out'
                     WHEN r.lease_losses + 1 > p_max_losses THEN 'lost'
                     ELSE 'pending' END AS status,
           format('worker %s (pod %s) stopped renewing its lease', l.worker, l.pod) AS message
    FROM l
    JOIN run r ON r.id = l.id
  ),
  u AS (
    UPDATE run r
    SET status = f.status,
        lease_losses = r.lease_losses + 1,
        claimed_by = CASE WHEN f.status = 'pending' THEN NULL ELSE r.claimed_by END,
        finished_at = CASE WHEN f.status = 'pending' THEN NULL ELSE v_now END,
        run_at = CASE WHEN f.status = 'pending' AND r.lease_losses > 0
                   THEN v_now + least(power(2, r.lease_losses - 1), 900) * (0.5 + random() / 2) * interval '1 second'
                   ELSE r.run_at END,
        error_code = CASE f.status WHEN 'pending' THEN NULL WHEN 'cancelled' THEN 'cancelled' WHEN 'timed_out' THEN 'deadline' ELSE 'worker_lost' END,
        error = CASE f.status WHEN 'pending' THEN NULL WHEN 'cancelled' THEN f.cancelled ELSE f.message END
    FROM f
    WHERE r.id = f.id
    RETURNING r.id, r.pool, r.job_type, r.status, r.run_at, r.priority, r.lane, r.replays, f.message, f.worker, f.pod, f.token, f.started_at
  ),
  rd AS (
    INSERT INTO ready (id, pool, job_type, vstart, lane, tenant)
    SELECT id, pool, job_type, vstart(run_at, priority), lane,
           (SELECT coalesce(r.tenant, '') FROM pool_gate g JOIN run r ON r.id = u.id WHERE g.pool = u.pool AND g.fair)
    FROM u
    WHERE status = 'pending' AND run_at <= v_now
    ON CONFLICT DO NOTHING
    RETURNING pool
  ),
  sc AS (
    INSERT INTO scheduled (id, pool, job_type, run_at, priority, lane)
    SELECT id, pool, job_type, run_at, priority, lane FROM u WHERE status = 'pending' AND run_at > v_now
    ON CONFLICT DO NOTHING
  ),
  a AS (
    INSERT INTO attempt (run, number, replay, worker, pod, outcome, error_code, error, started_at, finished_at)
    SELECT id, token, replays, worker, pod, 'lost', 'worker_lost', message, started_at, v_now FROM u
    ON CONFLICT DO NOTHING
  ),
  c AS (
    INSERT INTO pool_delta (pool, leases_recovered) SELECT pool, count(*) FROM u GROUP BY pool
  )
  SELECT (SELECT count(*) FROM u WHERE status = 'pending'), (SELECT array_agg(id) FROM u WHERE status <> 'pending'),
         (SELECT coalesce(array_agg(DISTINCT pool), '{}') FROM rd)
  INTO recovered, v_ended, pools;
  ended := coalesce(cardinality(v_ended), 0);
  IF ended > 0 THEN
    pools := pools || closed(v_ended);
  END IF;
END $$;

-- Applies requests and deadlines to pending runs, and forgets those of runs that have ended. Returns how many ended.
CREATE OR REPLACE FUNCTION sweep_requests() RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_now constant timestamptz := clock_timestamp();
  v_runs bigint[];
  v_messages text[];
  v_ended integer := 0;
BEGIN
  SELECT array_agg(c.run), array_agg(cancel_message(c.requested_by, c.reason)) INTO v_runs, v_messages
  FROM (SELECT * FROM cancel_request ORDER BY id LIMIT 10000) AS c
  JOIN run r ON r.id = c.run AND r.replays = c.replay
  WHERE r.status = 'pending';
  IF v_runs IS NOT NULL THEN
    v_runs := end_quietly(v_runs, 'cancelled', 'cancelled', v_messages);
    PERFORM wake(closed(v_runs));
    v_ended := cardinality(v_runs);
  END IF;
  DELETE FROM cancel_request
  WHERE id IN (
    SELECT c.id
    FROM (SELECT * FROM cancel_request ORDER BY id LIMIT 10000) AS c
    LEFT JOIN run r ON r.id = c.run AND r.replays = c.replay AND r.status IN ('pending', 'running')
    WHERE r.id IS NULL
    FOR UPDATE OF c SKIP LOCKED);

  SELECT array_agg(x.run) INTO v_runs
  FROM (SELECT d.run FROM deadline d WHERE d.at <= v_now ORDER BY d.at LIMIT 1000 FOR UPDATE SKIP LOCKED) AS x;
  IF v_runs IS NOT NULL THEN
    v_ended := v_ended + cardinality(end_pending(v_runs, 'timed_out', 'deadline', 'deadline passed before the run ended'));
    -- A running one is its worker's to stop; look again later, when its handler has had the time.
    v_ended := v_ended + cardinality(overdue(v_runs));
    UPDATE deadline SET at = clock_timestamp() + interval '15 seconds' WHERE run = ANY (v_runs);
    DELETE FROM deadline d
    WHERE d.run = ANY (v_runs)
      AND NOT EXISTS (SELECT FROM run r WHERE r.id = d.run AND r.status IN ('pending', 'running'));
  END IF;
  RETURN v_ended;
END $$;

-- The audit of "one place" over the next stretch of run, one statement over one snapshot for each of its two halves: a
-- pending run without a side row becomes due, a running run of a dead worker that no receipt names gets one, so that the
-- next sweep finds it. Returns how many it repaired, and their pools.
CREATE OR REPLACE FUNCTION audit(p_limit integer, OUT repaired integer, OUT pools text[])
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_from bigint;
  v_to bigint;
  v_n integer;
BEGIN
  repaired := 0;
  pools := '{}';
  SELECT p.run INTO v_from FROM audit_position p FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT max(x.id) INTO v_to FROM (SELECT r.id FROM run r WHERE r.id > v_from ORDER BY r.id LIMIT p_limit) AS x;
  UPDATE audit_position SET run = coalesce(v_to, 0);
  WITH s AS MATERIALIZED (
    SELECT r.id
    FROM run r
    WHERE r.id > v_from AND r.id <= v_to AND r.status = 'pending'
      AND NOT EXISTS (SELECT FROM ready x WHERE x.id = r.id)
      AND NOT EXISTS (SELECT FROM scheduled x WHERE x.id = r.id)
      AND NOT EXISTS (SELECT FROM blocked x WHERE x.id = r.id)
      AND NOT EXISTS (SELECT FROM waiting x WHERE x.id = r.id)
    ORDER BY r.id
    FOR NO KEY UPDATE SKIP LOCKED
  ),
  i AS (
    INSERT INTO ready (id, pool, job_type, vstart, lane, tenant)
    SELECT r.id, r.pool, r.job_type, vstart(r.run_at, r.priority), r.lane,
           (SELECT coalesce(r.tenant, '') FROM pool_gate g WHERE g.pool = r.pool AND g.fair)
    FROM s
    JOIN run r ON r.id = s.id
    ON CONFLICT DO NOTHING
    RETURNING pool
  )
  SELECT count(*), coalesce(array_agg(DISTINCT pool), '{}') INTO repaired, pools FROM i;
  -- Apart, so that receipts are looked at for the few runs of dead workers only.
  WITH o AS MATERIALIZED (
    SELECT r.id, r.claimed_by, r.claim_token
    FROM run r
    WHERE r.id > v_from AND r.id <= v_to AND r.status = 'running'
      AND NOT EXISTS (SELECT FROM worker w WHERE w.id = r.claimed_by)
  ),
  i AS (
    INSERT INTO receipt (worker, pod, ids, tokens)
    SELECT o.claimed_by, '', ARRAY[o.id], ARRAY[o.claim_token]
    FROM o
    WHERE NOT EXISTS (SELECT FROM receipt c WHERE c.worker = o.claimed_by AND o.id = ANY (c.ids))
    RETURNING id
  )
  SELECT count(*) INTO v_n FROM i;
  repaired := repaired + v_n;
END $$;

-- Wakes lanes with room, repairs kept holds of runs that are not pending any more, and removes lanes that nobody uses.
-- Lanes that somebody else holds are met next time. Returns how many holds it freed, and the pools woken.
CREATE OR REPLACE FUNCTION sweep_lanes(OUT freed integer, OUT pools text[])
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_lanes bigint[];
BEGIN
  WITH RECURSIVE b (lane) AS (
    (SELECT lane FROM blocked ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT x.lane FROM blocked x WHERE x.lane > b.lane ORDER BY x.lane LIMIT 1) FROM b WHERE b.lane IS NOT NULL
  )
  SELECT array_agg(y.id) INTO v_lanes
  FROM (
    SELECT l.id
    FROM lane l
    WHERE l.id IN (
      (SELECT f.id FROM b JOIN lane f ON f.id = b.lane
       WHERE f.max_claims > (SELECT count(*) FROM lane_hold h WHERE h.lane = f.id) LIMIT 10000)
      UNION ALL
      SELECT h.lane FROM lane_hold h
      WHERE h.worker IS NULL AND NOT EXISTS (SELECT FROM run r WHERE r.id = h.run AND r.status = 'pending'))
    ORDER BY l.id
    FOR UPDATE SKIP LOCKED
  ) AS y;
  WITH d AS (
    DELETE FROM lane_hold h
    WHERE h.lane = ANY (v_lanes) AND h.worker IS NULL
      AND NOT EXISTS (SELECT FROM run r WHERE r.id = h.run AND r.status = 'pending')
    RETURNING 1
  )
  SELECT count(*) INTO freed FROM d;
  pools := lane_wake(coalesce(v_lanes, '{}'));

  SELECT array_agg(y.id) INTO v_lanes
  FROM (
    SELECT l.id
    FROM lane l
    WHERE NOT EXISTS (SELECT FROM lane_hold h WHERE h.lane = l.id)
      AND NOT EXISTS (SELECT FROM blocked b WHERE b.lane = l.id)
      AND NOT EXISTS (SELECT FROM ready r WHERE r.lane = l.id)
    ORDER BY l.id
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
  ) AS y;
  DELETE FROM lane l
  WHERE l.id = ANY (v_lanes)
    AND NOT EXISTS (SELECT FROM lane_hold h WHERE h.lane = l.id)
    AND NOT EXISTS (SELECT FROM blocked b WHERE b.lane = l.id);
END $$;

-- Takes over what dead workers of all pools held, and repairs. Each statement sees fresh data; what is locked is met
-- next time. Anybody may call it, several at once.
CREATE OR REPLACE FUNCTION sweep(
  p_max_losses integer, OUT workers integer, OUT recovered integer, OUT ended integer, OUT holds integer,
  OUT promoted integer, OUT repaired integer)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_lanes bigint[];
  v_receipts bigint[];
  v_pools text[];
  v_more text[];
BEGIN
  WITH d AS (
    DELETE FROM worker
    WHERE id IN (SELECT id FROM worker WHERE expires_at < clock_timestamp() FOR UPDATE SKIP LOCKED)
    RETURNING 1
  )
  SELECT count(*) INTO workers FROM d;

  SELECT array_agg(DISTINCT h.lane) INTO v_lanes
  FROM lane_hold h
  WHERE h.worker IS NOT NULL AND NOT EXISTS (SELECT FROM worker w WHERE w.id = h.worker);
  v_lanes := coalesce(v_lanes, '{}');
  PERFORM FROM lane l WHERE l.id = ANY (v_lanes) ORDER BY l.id FOR UPDATE;

  SELECT array_agg(x.id) INTO v_receipts
  FROM (
    SELECT c.id
    FROM receipt c
    WHERE NOT EXISTS (SELECT FROM worker w WHERE w.id = c.worker)
    ORDER BY c.id
    LIMIT 1000
    FOR UPDATE OF c SKIP LOCKED
  ) AS x;
  SELECT s.recovered, s.ended, s.pools INTO recovered, ended, v_pools
  FROM sweep_receipts(v_receipts, v_lanes, p_max_losses) AS s;

  WITH d AS (
    DELETE FROM lane_hold h
    WHERE h.lane = ANY (v_lanes) AND h.worker IS NOT NULL
      AND NOT EXISTS (SELECT FROM worker w WHERE w.id = h.worker)
      AND NOT EXISTS (
        SELECT FROM run r
        WHERE r.id = h.run AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', h.worker, h.token))
    RETURNING 1
  )
  SELECT count(*) INTO holds FROM d;
  v_pools := v_pools || lane_wake(v_lanes);

  DELETE FROM receipt c
  WHERE c.id = ANY (v_receipts) AND NOT EXISTS (
    SELECT FROM unnest(c.ids, c.tokens) AS t (id, token)
    JOIN run r ON r.id = t.id
    WHERE (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', c.worker, t.token));

  -- Handlers that had ended their runs themselves are gone with their workers.
  DELETE FROM completing
  WHERE run IN (
    SELECT c.run FROM completing c WHERE NOT EXISTS (SELECT FROM worker w WHERE w.id = c.worker) FOR UPDATE OF c SKIP LOCKED);

  ended := ended + sweep_requests();

  SELECT coalesce(sum(m.moved), 0) INTO promoted FROM pool p CROSS JOIN LATERAL promote(p.name) AS m;
  SELECT promoted + s.moved, s.pools INTO promoted, v_more FROM sweep_waiting() AS s;
  v_pools := v_pools || v_more;

  SELECT a.repaired, a.pools INTO repaired, v_more FROM audit(2000) AS a;
  v_pools := v_pools || v_more;
  SELECT holds + s.freed, s.pools INTO holds, v_more FROM sweep_lanes() AS s;
  v_pools := v_pools || v_more;

  WITH p AS MATERIALIZED (
    SELECT p.name FROM pool p
    WHERE EXISTS (SELECT FROM pool_delta x WHERE x.pool = p.name)
    ORDER BY p.name
    FOR NO KEY UPDATE SKIP LOCKED
  ),
  d AS (
    DELETE FROM pool_delta x USING p WHERE x.pool = p.name RETURNING x.pool, x.leases_recovered
  )
  UPDATE pool p
  SET leases_recovered = p.leases_recovered + s.n
  FROM (SELECT pool, sum(leases_recovered) AS n FROM d GROUP BY pool) AS s
  WHERE p.name = s.pool;
  PERFORM wake(v_pools);
END $$;
