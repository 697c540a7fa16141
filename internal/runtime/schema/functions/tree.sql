-- Trees of runs: what becomes of children when their parent ends. Nothing here waits for a lock: what somebody else has
-- locked gets a request, which the worker's beat or the sweep applies. Index run_parent. OFFSET 0 has the planner look
-- the rows of one run up at a time: while the table is small it would rather join all of it, and keep that plan.

-- Ends pending runs, each with its own message, and returns those that ended: the side row first, then the run. A kept
-- hold goes without the lane's lock; the next sweep wakes the lane. Runs that are closing have ended already.
CREATE OR REPLACE FUNCTION end_quietly(p_runs bigint[], p_status text, p_code text, p_messages text[]) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
  v_taken bigint[];
  v_ended bigint[];
BEGIN
  SELECT array_agg(x.id) INTO v_taken
  FROM (
    SELECT id FROM (SELECT id FROM ready WHERE id = ANY (p_runs) FOR UPDATE SKIP LOCKED) AS a
    UNION ALL
    SELECT id FROM (SELECT id FROM scheduled WHERE id = ANY (p_runs) FOR UPDATE SKIP LOCKED) AS b
    UNION ALL
    SELECT id FROM (SELECT id FROM blocked WHERE id = ANY (p_runs) FOR UPDATE SKIP LOCKED) AS c
    UNION ALL
    SELECT id FROM (SELECT id FROM waiting WHERE id = ANY (p_runs) AND kind <> 'closing' FOR UPDATE SKIP LOCKED) AS d
  ) AS x;
  IF v_taken IS NULL THEN
    RETURN '{}';
  END IF;
  WITH l AS MATERIALIZED (
    SELECT r.id
    FROM run r
    WHERE r.id = ANY (v_taken) AND r.status = 'pending'
    ORDER BY r.id
    FOR NO KEY UPDATE SKIP LOCKED
  ),
  u AS (
    UPDATE run r
    SET status = p_status, finished_at = clock_timestamp(), error_code = p_code,
        error = (SELECT t.message FROM unnest(p_runs, p_messages) AS t (id, message) WHERE t.id = r.id LIMIT 1)
    WHERE r.id = ANY (ARRAY(SELECT id FROM l))
    RETURNING r.id
  )
  SELECT coalesce(array_agg(id), '{}') INTO v_ended FROM u;
  DELETE FROM ready WHERE id = ANY (v_ended);
  DELETE FROM scheduled WHERE id = ANY (v_ended);
  DELETE FROM blocked WHERE id = ANY (v_ended);
  DELETE FROM waiting WHERE id = ANY (v_ended);
  DELETE FROM lane_hold WHERE run = ANY (v_ended) AND worker IS NULL;
  RETURN v_ended;
END $$;

-- Who asks for a cancel, or why, cut to what the beats of workers can carry: a cancel is never refused for its words.
CREATE OR REPLACE FUNCTION cancel_text(p_text text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path FROM CURRENT
AS $$ SELECT coalesce(left(p_text, 10000), '') $$;

-- What the end of a cancelled run says.
CREATE OR REPLACE FUNCTION cancel_message(p_by text, p_reason text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path FROM CURRENT
AS $$ SELECT format('cancel requested by "%s": %s', p_by, p_reason) $$;

-- Leaves requests about live runs, where none that reaches as far stands yet, and tells their pools: a worker that hears of
-- it beats at once, and the beat carries the request.
CREATE OR REPLACE FUNCTION request_cancels(p_runs bigint[], p_by text[], p_reasons text[], p_cascade boolean) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
  v_pools text[];
BEGIN
  WITH r AS MATERIALIZED (
    SELECT r.id, r.replays, r.status, r.pool, t.requested_by, t.reason
    FROM unnest(p_runs, p_by, p_reasons) AS t (id, requested_by, reason)
    CROSS JOIN LATERAL (SELECT x.id, x.replays, x.status, x.pool FROM run x WHERE x.id = t.id OFFSET 0) AS r
    WHERE r.status IN ('pending', 'running')
      AND NOT EXISTS (SELECT FROM cancel_request q WHERE q.run = r.id AND q.replay = r.replays AND (q.cascade OR NOT p_cascade) OFFSET 0)
      AND NOT EXISTS (SELECT FROM waiting w WHERE w.id = r.id AND w.kind = 'closing' OFFSET 0)
  ),
  i AS (
    INSERT INTO cancel_request (run, replay, requested_by, reason, cascade)
    SELECT id, replays, requested_by, reason, p_cascade FROM r
  )
  SELECT array_agg(DISTINCT pool) FILTER (WHERE status = 'running') INTO v_pools FROM r;
  IF v_pools IS NOT NULL THEN
    PERFORM pg_notify(current_schema() || '_pool', t.pool) FROM unnest(v_pools) AS t (pool);
  END IF;
END $$;

-- Cancels the live descendants of runs, along the edges that are not abandoned, and returns those that it ended. A child
-- that has ended keeps its own children: they got theirs when it ended, or it has completed and they may live.
CREATE OR REPLACE FUNCTION cancel_children(p_runs bigint[], p_by text DEFAULT NULL, p_reason text DEFAULT NULL) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
  v_level bigint[] := p_runs;
  v_by text[];
  v_reasons text[];
  v_messages text[];
  v_ended bigint[] := '{}';
BEGIN
  LOOP
    SELECT array_agg(x.id), array_agg(x.requested_by), array_agg(x.reason), array_agg(cancel_message(x.requested_by, x.reason))
    INTO v_level, v_by, v_reasons, v_messages
    FROM (
      SELECT c.id, coalesce(p_by, 'run ' || p.id) AS requested_by,
             coalesce(p_reason, CASE WHEN p.status IN ('pending', 'running') THEN 'its parent is being cancelled'
                                     ELSE 'its parent ended as ' || p.status END) AS reason
      FROM run p
      CROSS JOIN LATERAL (
        SELECT r.id FROM run r
        WHERE r.parent = p.id AND r.status IN ('pending', 'running') AND r.close_policy <> 'abandon'
        OFFSET 0
      ) AS c
      WHERE p.id = ANY (v_level)
      ORDER BY c.id
    ) AS x;
    EXIT WHEN v_level IS NULL;
    v_ended := v_ended || end_quietly(v_level, 'cancelled', 'cancelled', v_messages);
    PERFORM request_cancels(v_level, v_by, v_reasons, true);
  END LOOP;
  RETURN v_ended;
END $$;

-- Concludes runs that this transaction has ended: those with a live child of the policy 'cancel' go on as closing until
-- the last one has ended (wake_parents ends them then), the parents of the others are woken. The end is nobody's to see
-- before this transaction commits, so an ended run still never changes. Returns the pools in which something became due.
CREATE OR REPLACE FUNCTION conclude(p_ended bigint[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
  v_ended bigint[] := p_ended;
  v_closing bigint[];
BEGIN
  -- A closing run is a live child again, so its own parent may have to close too.
  LOOP
    WITH e AS MATERIALIZED (
      SELECT r.id, r.pool, r.job_type, vstart(r.run_at, r.priority) AS vstart, r.status, r.error_code, r.error
      FROM run r
      WHERE r.id = ANY (v_ended) AND r.status NOT IN ('pending', 'running', 'completed')
        AND EXISTS (
          SELECT FROM run c WHERE c.parent = r.id AND c.status IN ('pending', 'running') AND c.close_policy = 'cancel' OFFSET 0)
    ),
    u AS (
      UPDATE run r
      SET status = 'pending', claimed_by = NULL, finished_at = NULL, error_code = NULL, error = NULL
      WHERE r.id = ANY (ARRAY(SELECT id FROM e))
    ),
    w AS (
      INSERT INTO waiting (id, pool, job_type, vstart, kind, end_status, end_code, end_error)
      SELECT id, pool, job_type, vstart, 'closing', status, error_code, error FROM e
    )
    SELECT array_agg(id) INTO v_closing FROM e;
    EXIT WHEN v_closing IS NULL;
    SELECT coalesce(array_agg(t.id), '{}') INTO v_ended FROM unnest(v_ended) AS t (id) WHERE t.id <> ALL (v_closing);
  END LOOP;
  PERFORM note_failures(v_ended);
  RETURN wake_parents(v_ended);
END $$;

-- Called for runs that this transaction has ended without their having completed, whatever ended them. Returns the pools
-- in which something became due.
CREATE OR REPLACE FUNCTION closed(p_runs bigint[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
  v_parents bigint[];
BEGIN
  -- Whoever was cancelled alone leaves its children be.
  SELECT array_agg(r.id) INTO v_parents
  FROM run r
  WHERE r.id = ANY (p_runs)
    AND EXISTS (SELECT FROM run c WHERE c.parent = r.id OFFSET 0)
    AND (r.status <> 'cancelled'
      OR EXISTS (SELECT FROM cancel_request q WHERE q.run = r.id AND q.replay = r.replays AND q.cascade)
      OR NOT EXISTS (SELECT FROM cancel_request q WHERE q.run = r.id AND q.replay = r.replays));
  IF v_parents IS NULL THEN
    RETURN conclude(p_runs);
  END IF;
  RETURN conclude(p_runs || cancel_children(v_parents));
END $$;
