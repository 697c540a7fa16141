-- Claim (S3, S6, S7).

-- Locks the first rows without a lane that stand behind one place in claim order and not behind another, and says which
-- they are and where the last one stands. Index ready_free, one ordered scan a type.
CREATE OR REPLACE FUNCTION ready_take(
  p_pool text, p_types text[], p_slots integer, p_from timestamptz, p_from_run bigint, p_to timestamptz, p_to_run bigint,
  OUT tids tid[], OUT last timestamptz, OUT last_run bigint)
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
  v_ids bigint[];
BEGIN
  SELECT coalesce(array_agg(c.tid), '{}'), array_agg(c.id), max(c.vstart) INTO tids, v_ids, last
  FROM (
    SELECT x.tid, x.vstart, x.id
    FROM unnest(p_types) AS t (name)
    CROSS JOIN LATERAL (
      SELECT r.ctid AS tid, r.vstart, r.id
      FROM ready r
      WHERE r.pool = p_pool AND r.job_type = t.name AND r.lane IS NULL
        AND (r.vstart, r.id) > (p_from, p_from_run) AND (r.vstart, r.id) <= (p_to, p_to_run)
      ORDER BY r.vstart, r.id
      LIMIT p_slots
      FOR UPDATE SKIP LOCKED
    ) AS x
    ORDER BY x.vstart, x.id
    LIMIT p_slots
  ) AS c;
  last_run := v_ids[cardinality(v_ids)];
END $$;

-- Takes up to p_slots due runs of the pool and types, in order; by turns of tenants when the pool is fair. Everything hangs
-- on the worker's row, locked in a statement of its own: a claim that waited for the sweep takes nothing. Index ready_free,
-- one ordered scan a type. When a limit of the pool has cut the claim, a last row without a run (0) says so: retry_ms is
-- when to ask again.
--
-- A claim whose slots were all used says in such a row how far it went, and the next one may begin there (p_from,
-- p_from_run): what stands before has been claimed or is locked, but while somebody's old snapshot is open its index entries
-- stay, and to walk over them would cost ever more. What came to stand there since, late or with a higher priority, is seen
-- by the claims from the head: the caller makes one now and then, and one that begins further on ends with one when it
-- comes back short.
CREATE OR REPLACE FUNCTION claim(
  p_worker bigint, p_pool text, p_types text[], p_slots integer, p_from timestamptz DEFAULT NULL, p_from_run bigint DEFAULT 0)
RETURNS TABLE (
  receipt bigint, run bigint, token bigint, job_type text, tenant text, scope text, attempts integer,
  max_attempts integer, lease_losses integer, parent bigint, root bigint, trigger_source text, trigger_ref text,
  tags jsonb, input jsonb, remaining_ms bigint, lane bigint, retry_ms bigint,
  next_from timestamptz, next_run bigint)
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
  v_pod text;
  v_max integer;
  v_rate double precision;
  v_fair boolean;
  v_slots integer := p_slots;
  v_free integer;
  v_laned bigint[] := '{}';
  v_taken bigint[] := '{}';
  v_more boolean := false;
  v_retry bigint;
  v_n integer;
  v_tids tid[] := '{}';
  v_last timestamptz;
  v_last_run bigint;
BEGIN
  SELECT w.pod, g.max_running, g.starts_per_second, g.fair INTO v_pod, v_max, v_rate, v_fair
  FROM worker w
  LEFT JOIN pool_gate g ON g.pool = p_pool
  WHERE w.id = p_worker AND w.expires_at > clock_timestamp()
  FOR KEY SHARE OF w;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'worker % has no lease any more, or one that has run out', p_worker USING ERRCODE = 'SL001';
  END IF;
  IF v_max > 0 OR v_rate > 0 THEN
    SELECT o.slots, o.retry_ms INTO v_slots, v_retry FROM gate_open(p_pool, p_slots) AS o;
  END IF;
  IF v_slots < 1 THEN
    v_free := 0;
  ELSIF v_fair THEN
    SELECT f.ids, f.laned, f.more INTO v_taken, v_laned, v_more FROM fair_take(p_pool, p_types, v_slots) AS f;
    v_free := 0;
  ELSE
    IF ready_has_lanes(p_pool, p_types) THEN
      v_laned := admit(p_pool, p_types, v_slots, NULL);
    END IF;
    v_free := v_slots - cardinality(v_laned);
  END IF;

  IF v_free > 0 THEN
    SELECT t.tids, t.last, t.last_run INTO v_tids, v_last, v_last_run
    FROM ready_take(p_pool, p_types, v_free, coalesce(p_from, '-infinity'), p_from_run, 'infinity', 0) AS t;
    IF cardinality(v_tids) < v_free THEN
      v_last := NULL;
      IF p_from IS NOT NULL THEN
        SELECT v_tids || t.tids INTO v_tids
        FROM ready_take(p_pool, p_types, v_free - cardinality(v_tids), '-infinity', 0, p_from, p_from_run) AS t;
      END IF;
    END IF;
  END IF;

  RETURN QUERY
  WITH d AS (
    DELETE FROM ready WHERE ctid = ANY (v_tids) RETURNING id
  ),
  dl AS (
    DELETE FROM ready WHERE id = ANY (v_laned) RETURNING id
  ),
  u AS (
    -- The guard keeps a stray side row from stealing a live claim.
    UPDATE run r
    SET status = 'running', claimed_by = p_worker, claimed_at = clock_timestamp(), claim_token = r.claim_token + 1, spare = NULL
    WHERE r.id = ANY (ARRAY(SELECT id FROM d UNION ALL SELECT id FROM dl) || v_taken) AND r.status = 'pending'
    RETURNING r.id, r.claim_token, r.job_type, r.tenant, r.scope, r.attempts, r.max_attempts, r.lease_losses, r.parent, r.root,
              r.trigger_source, r.trigger_ref, r.tags, r.input, r.deadline_at, r.lane
  ),
  x AS (
    INSERT INTO receipt (worker, pod, ids, tokens)
    SELECT p_worker, v_pod, array_agg(id), array_agg(claim_token) FROM u HAVING count(*) > 0
    RETURNING id
  ),
  h AS (
    INSERT INTO lane_hold (run, lane, token, worker)
    SELECT id, lane, claim_token, p_worker FROM u WHERE lane IS NOT NULL
    ON CONFLICT (run) DO UPDATE SET token = excluded.token, worker = excluded.worker
    WHERE lane_hold.worker IS NULL
  )
  SELECT (SELECT id FROM x), u.id, u.claim_token, u.job_type, u.tenant, u.scope, u.attempts, u.max_attempts,
         u.lease_losses, u.parent, u.root, u.trigger_source, u.trigger_ref, u.tags, u.input,
         (extract(epoch FROM u.deadline_at - clock_timestamp()) * 1000)::bigint, u.lane, NULL::bigint, NULL::timestamptz, NULL::bigint
  FROM u;
  GET DIAGNOSTICS v_n = ROW_COUNT;
  IF v_rate > 0 AND v_n > 0 THEN
    PERFORM gate_spend(p_pool, v_n);
  END IF;
  -- Slots that a limit left are no news when there was nothing for them.
  IF v_n < v_slots THEN
    v_retry := CASE WHEN v_more THEN 1 END;
  END IF;
  IF v_retry IS NOT NULL OR v_last IS NOT NULL THEN
    RETURN QUERY SELECT 0::bigint, 0::bigint, 0::bigint, '', NULL::text, NULL::text, 0, NULL::integer, 0, NULL::bigint, 0::bigint, '',
                        NULL::text, NULL::jsonb, NULL::jsonb, NULL::bigint, NULL::bigint, v_retry, v_last, v_last_run;
  END IF;
END $$;
