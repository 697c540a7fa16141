-- Settle and give back (S2, S8, S9, S10).

-- Writes how a worker's claims ended, and returns the exceptions: 'already' done by this claim, 'lost', or 'busy' while a
-- handler's transaction holds the row. p_outcomes NULL: all completed, the short way. Runs are locked by id, only where
-- the visible version matches the fence, and passed over when locked, unless p_wait. Holds are freed by their own run,
-- token and worker, whatever became of the run. p_receipts are those that this batch should leave empty. p_outputs holds
-- the output of a completed run, and of a parked one what it waits for. p_parented are runs that may have ended well and
-- whose parents may wait for them; of other ends closed() tells the parents.
CREATE OR REPLACE FUNCTION settle(
  p_worker bigint, p_runs bigint[], p_tokens bigint[], p_outcomes text[], p_outputs text[], p_codes text[],
  p_messages text[], p_delays bigint[], p_keep boolean[], p_lanes bigint[], p_receipts bigint[], p_wait boolean,
  p_parented bigint[] DEFAULT '{}')
RETURNS TABLE (run bigint, token bigint, result text)
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
  v_tokens bigint[];
  v_other_ids bigint[];
  v_other_tokens bigint[];
  v_busy bigint[] := '{}';
  v_pools text[] := '{}';
BEGIN
  IF cardinality(p_lanes) > 0 THEN
    PERFORM FROM lane l WHERE l.id = ANY (p_lanes) ORDER BY l.id FOR UPDATE;
  END IF;
  IF p_wait THEN
    PERFORM FROM run r
    WHERE r.id = ANY (p_runs) AND r.status = 'running' AND r.claimed_by = p_worker AND r.claim_token = ANY (p_tokens)
    ORDER BY r.id
    FOR NO KEY UPDATE;
  END IF;

  -- Those whose row nobody has locked or written since the claim: such a row has no xmax, so it is free. That saves a lock,
  -- its log record and a second look-up for every run. Who locks one in the moment between is waited for, at most the
  -- connection's lock timeout; written again, the batch passes that row over.
  WITH u AS (
    UPDATE run r
    SET status = 'completed', finished_at = clock_timestamp(), attempts = r.attempts + 1, output = s.output::jsonb,
        error = NULL, error_code = NULL, settled_token = r.claim_token
    FROM (
      SELECT t.id, t.token, t.output
      FROM unnest(p_runs, p_tokens, p_outputs, p_outcomes) AS t (id, token, output, outcome)
      WHERE p_outcomes IS NULL OR t.outcome = 'completed'
      ORDER BY t.id
    ) AS s
    WHERE r.id = s.id AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, s.token)
      AND r.xmax = '0'::xid
    RETURNING r.id, r.claim_token
  )
  SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(claim_token), '{}') INTO v_ids, v_tokens FROM u;

  IF cardinality(v_ids) < cardinality(p_runs) THEN
    WITH s AS MATERIALIZED (
      SELECT t.id, t.token, t.output
      FROM unnest(p_runs, p_tokens, p_outputs, p_outcomes) AS t (id, token, output, outcome)
      WHERE p_outcomes IS NULL OR t.outcome = 'completed'
    ),
    l AS MATERIALIZED (
      SELECT r.id, s.output
      FROM s
      JOIN run r ON r.id = s.id
      WHERE (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, s.token)
      ORDER BY r.id
      FOR NO KEY UPDATE OF r SKIP LOCKED
    ),
    u AS (
      UPDATE run r
      SET status = 'completed', finished_at = clock_timestamp(), attempts = r.attempts + 1, output = l.output::jsonb,
          error = NULL, error_code = NULL, settled_token = r.claim_token
      FROM l
      WHERE r.id = l.id
      RETURNING r.id, r.claim_token
    )
    SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(claim_token), '{}') INTO v_other_ids, v_other_tokens FROM u;
    v_ids := v_ids || v_other_ids;
    v_tokens := v_tokens || v_other_tokens;
  END IF;
  IF p_outcomes IS NOT NULL THEN
    SELECT o.ids, o.tokens, o.pools INTO v_other_ids, v_other_tokens, v_pools
    FROM settle_other(p_worker, p_runs, p_tokens, p_outcomes, p_codes, p_messages, p_delays, p_keep, p_outputs) AS o;
    v_ids := v_ids || v_other_ids;
    v_tokens := v_tokens || v_other_tokens;
  END IF;

  -- Runs that were passed over, because the transaction in doubt that holds them has not ended when this statement looks.
  -- They keep lane and note and are answered busy, even if they end before the answer: the next settle sees to them.
  IF cardinality(v_ids) < cardinality(p_runs) THEN
    SELECT coalesce(array_agg(r.id), '{}') INTO v_busy
    FROM unnest(p_runs, p_tokens) AS t (id, token)
    CROSS JOIN LATERAL (SELECT * FROM run x WHERE x.id = t.id OFFSET 0) AS r
    WHERE (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, t.token);
  END IF;

  IF cardinality(p_parented) > 0 THEN
    v_pools := v_pools || wake_parents(p_parented);
  END IF;
  IF cardinality(p_lanes) > 0 THEN
    DELETE FROM lane_hold h
    USING unnest(p_runs, p_tokens) AS t (id, token)
    WHERE h.run = ANY (ARRAY[t.id]) AND h.token = t.token AND h.worker = p_worker AND t.id <> ALL (v_busy);
    v_pools := v_pools || lane_wake(p_lanes);
  END IF;
  IF cardinality(v_pools) > 0 THEN
    PERFORM wake(v_pools);
  END IF;

  IF cardinality(v_ids) = cardinality(p_runs) THEN
    DELETE FROM receipt c WHERE c.id = ANY (p_receipts) AND c.worker = p_worker;
    RETURN;
  END IF;
  -- Something was not settled by this call: a receipt goes only when nothing in it runs under its worker and token.
  DELETE FROM receipt c
  WHERE c.id = ANY (p_receipts) AND c.worker = p_worker AND NOT EXISTS (
    SELECT FROM unnest(c.ids, c.tokens) AS t (id, token)
    CROSS JOIN LATERAL (SELECT * FROM run x WHERE x.id = t.id OFFSET 0) AS r
    WHERE (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', c.worker, t.token));
  -- A handler that completed its run itself, or outlived the run's deadline, has stopped.
  DELETE FROM completing c
  USING unnest(p_runs, p_tokens) AS t (id, token)
  WHERE c.run = ANY (ARRAY[t.id]) AND c.token = t.token AND c.worker = p_worker AND t.id <> ALL (v_busy);
  RETURN QUERY
  SELECT t.id, t.token,
         CASE WHEN t.id = ANY (v_busy) THEN 'busy'
              WHEN r.settled_token = t.token THEN 'already'
              ELSE 'lost' END
  FROM unnest(p_runs, p_tokens) AS t (id, token)
  LEFT JOIN run r ON r.id = t.id
  WHERE NOT EXISTS (SELECT FROM unnest(v_ids, v_tokens) AS d (id, token) WHERE d.id = t.id AND d.token = t.token);
END $$;

-- The outcomes of settle that are not 'completed': the run ends, goes back or is parked, and an attempt row says why. A run
-- that goes back or is parked keeps its lane, if it shall, by leaving the hold without a worker. One that waits for children
-- never does: they may need that lane. p_waits says for a parked run what it waits for: kind, signal, children. Returns
-- what was written, and the pools that got something due.
CREATE OR REPLACE FUNCTION settle_other(
  p_worker bigint, p_runs bigint[], p_tokens bigint[], p_outcomes text[], p_codes text[], p_messages text[],
  p_delays bigint[], p_keep boolean[], p_waits text[] DEFAULT NULL, OUT ids bigint[], OUT tokens bigint[], OUT pools text[])
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
  v_parked bigint[];
BEGIN
  WITH s AS MATERIALIZED (
    SELECT t.*, t.outcome IN ('retried', 'snoozed', 'given_back', 'parked') AS back
    FROM unnest(p_runs, p_tokens, p_outcomes, p_codes, p_messages, p_delays, p_keep, p_waits)
      AS t (id, token, outcome, code, message, delay, keep, wait)
    WHERE t.outcome <> 'completed'
    ORDER BY t.id
  ),
  l AS MATERIALIZED (
    SELECT s.*, r.claimed_at AS started_at
    FROM s
    CROSS JOIN LATERAL (
      SELECT r.claimed_at
      FROM run r
      WHERE r.id = s.id AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, s.token)
      FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
  ),
  u AS (
    UPDATE run r
    SET status = CASE WHEN l.back THEN 'pending' ELSE l.outcome END,
        claimed_by = CASE WHEN l.back THEN NULL ELSE r.claimed_by END,
        finished_at = CASE WHEN l.back THEN NULL ELSE v_now END,
        attempts = r.attempts + CASE WHEN l.outcome IN ('retried', 'failed', 'timed_out') THEN 1 ELSE 0 END,
        run_at = CASE WHEN l.outcome = 'retried' OR l.outcome <> 'parked' AND l.delay > 0
                   THEN v_now + l.delay * interval '1 millisecond'
                   ELSE r.run_at END,
        error_code = CASE WHEN l.back THEN NULL ELSE l.code END,
        error = CASE WHEN l.back THEN NULL ELSE l.message END,
        settled_token = r.claim_token
    FROM l
    WHERE r.id = l.id
    RETURNING r.id, r.pool, r.job_type, r.status, r.run_at, r.priority, r.lane, r.tenant, r.replays, l.token, l.outcome,
              l.back, l.code, l.message, l.delay, l.keep, l.wait, l.started_at
  ),
  rd AS (
    INSERT INTO ready (id, pool, job_type, vstart, lane, tenant)
    SELECT u.id, u.pool, u.job_type, vstart(u.run_at, u.priority), u.lane,
           (SELECT coalesce(u.tenant, '') FROM pool_gate g WHERE g.pool = u.pool AND g.fair)
    FROM u
    WHERE back AND outcome <> 'parked' AND run_at <= v_now
    ON CONFLICT DO NOTHING
    RETURNING pool
  ),
  sc AS (
    INSERT INTO scheduled (id, pool, job_type, run_at, priority, lane)
    SELECT id, pool, job_type, run_at, priority, lane FROM u WHERE back AND outcome <> 'parked' AND run_at > v_now
    ON CONFLICT DO NOTHING
  ),
  w AS (
    INSERT INTO waiting (id, pool, job_type, vstart, lane, wake_at, kind, signal, children)
    SELECT id, pool, job_type, vstart(run_at, priority), lane,
           CASE WHEN delay > 0 OR wait::jsonb ->> 'kind' = 'time' THEN v_now + delay * interval '1 millisecond' END,
           wait::jsonb ->> 'kind', wait::jsonb ->> 'signal',
           (SELECT array_agg(e::bigint) FROM jsonb_array_elements_text(wait::jsonb -> 'children') AS e)
    FROM u
    WHERE outcome = 'parked'
    ON CONFLICT DO NOTHING
  ),
  k AS (
    UPDATE lane_hold h
    SET worker = NULL
    FROM u
    WHERE u.back AND u.keep AND u.wait::jsonb ->> 'kind' IS DISTINCT FROM 'children'
      AND h.run = ANY (ARRAY[u.id]) AND h.token = u.token AND h.worker = p_worker
  ),
  a AS (
    INSERT INTO attempt (run, number, replay, worker, pod, outcome, error_code, error, started_at, finished_at)
    SELECT u.id, u.token, u.replays, p_worker, coalesce((SELECT w.pod FROM worker w WHERE w.id = p_worker), ''), u.outcome, u.code,
           u.message, u.started_at, v_now
    FROM u
    ON CONFLICT DO NOTHING
  )
  SELECT coalesce(array_agg(u.id), '{}'), coalesce(array_agg(u.token), '{}'), (SELECT coalesce(array_agg(DISTINCT pool), '{}') FROM rd),
         array_agg(u.id) FILTER (WHERE NOT u.back), array_agg(u.id) FILTER (WHERE u.outcome = 'parked')
  INTO ids, tokens, pools, v_ended, v_parked
  FROM u;
  IF v_parked IS NOT NULL THEN
    pools := pools || wake_waiting(v_parked);
  END IF;
  IF v_ended IS NOT NULL THEN
    pools := pools || closed(v_ended);
  END IF;
END $$;

-- Ends those of the given running runs whose deadline passed 15 seconds ago, more than their workers need to stop a handler
-- that obeys: what remains are handlers that ignore their context. They keep their slot and lane until they return; their
-- steps, spawns and results are refused from now on, and the row in completing keeps the run from being replayed under
-- them. Runs of dead workers are the receipts' business. A busy run is met next time. Returns the runs that ended.
CREATE OR REPLACE FUNCTION overdue(p_runs bigint[]) RETURNS bigint[]
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
  c_message constant text := 'deadline passed, and the handler did not stop';
  v_now timestamptz := clock_timestamp();
  v_ended bigint[];
BEGIN
  WITH l AS MATERIALIZED (
    SELECT r.id, w.pod
    FROM run r
    JOIN worker w ON w.id = r.claimed_by
    WHERE r.id = ANY (p_runs) AND r.status = 'running' AND r.deadline_at <= v_now - interval '15 seconds'
    ORDER BY r.id
    FOR NO KEY UPDATE OF r SKIP LOCKED
  ),
  u AS (
    UPDATE run r
    SET status = 'timed_out', finished_at = v_now, attempts = r.attempts + 1, error_code = 'deadline', error = c_message
    FROM l
    WHERE r.id = l.id
    RETURNING r.id, r.claim_token, r.replays, r.claimed_by, r.claimed_at, l.pod
  ),
  c AS (
    INSERT INTO completing (run, token, worker)
    SELECT id, claim_token, claimed_by FROM u
    ON CONFLICT (run) DO UPDATE SET token = excluded.token, worker = excluded.worker
  ),
  a AS (
    INSERT INTO attempt (run, number, replay, worker, pod, outcome, error_code, error, started_at, finished_at)
    SELECT id, claim_token, replays, claimed_by, pod, 'timed_out', 'deadline', c_message, claimed_at, v_now FROM u
    ON CONFLICT DO NOTHING
  )
  SELECT coalesce(array_agg(id), '{}') INTO v_ended FROM u;
  IF cardinality(v_ended) > 0 THEN
    PERFORM wake(closed(v_ended));
  END IF;
  RETURN v_ended;
END $$;
