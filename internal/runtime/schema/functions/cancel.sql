-- Cancel and reschedule: called by anybody, inside their own, possibly endless, transactions (S10). A tenant that is not
-- given means the runs without one: the runs of others are not there.

-- Ends a pending run, or leaves a request about a running one: 'cancelled', 'requested', 'ended' or 'unknown'. Its live
-- descendants are cancelled with it, unless an edge on the way is abandoned. Asking again repairs: the descendants of a run
-- that has ended without having completed are looked for once more. Options:
--   tenant, cascade (false: this run alone)
-- The side row is taken first, which makes claims pass the run over, then the run; when the row has moved meanwhile, all
-- four places are looked through again. A running run's row is never locked.
CREATE OR REPLACE FUNCTION cancel(run bigint, requested_by text, reason text, options jsonb DEFAULT '{}') RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_run constant bigint := cancel.run;
  v_by constant text := cancel_text(cancel.requested_by);
  v_reason constant text := cancel_text(cancel.reason);
  v_tenant text;
  v_cascade boolean;
  v_kind text;
  v_status text;
  v_children bigint[] := '{}';
BEGIN
  PERFORM start_known(coalesce(cancel.options, '{}'), '{tenant,cascade}');
  v_tenant := start_text('tenant', cancel.options -> 'tenant');
  v_cascade := coalesce(start_flag('cascade', cancel.options -> 'cascade'), true);
  PERFORM FROM run r WHERE r.id = v_run AND r.tenant IS NOT DISTINCT FROM v_tenant;
  IF NOT FOUND THEN
    RETURN 'unknown';
  END IF;
  FOR i IN 1..100 LOOP
    v_kind := take_side_row(v_run);
    IF v_kind IS NOT NULL AND v_kind <> 'closing' THEN
      UPDATE run r
      SET status = 'cancelled', finished_at = clock_timestamp(), error_code = 'cancelled', error = cancel_message(v_by, v_reason)
      WHERE r.id = v_run AND r.status = 'pending';
      IF FOUND THEN
        DELETE FROM ready x WHERE x.id = v_run;
        DELETE FROM scheduled x WHERE x.id = v_run;
        DELETE FROM blocked x WHERE x.id = v_run;
        DELETE FROM waiting x WHERE x.id = v_run;
        DELETE FROM lane_hold h WHERE h.run = v_run AND h.worker IS NULL;
        IF v_cascade THEN
          v_children := cancel_children(ARRAY[v_run], v_by, v_reason);
        END IF;
        PERFORM wake(conclude(v_run || v_children));
        RETURN 'cancelled';
      END IF;
    END IF;
    SELECT CASE WHEN v_kind = 'closing' THEN 'closing' ELSE r.status END INTO v_status FROM run r WHERE r.id = v_run;
    EXIT WHEN v_status <> 'pending';
  END LOOP;
  IF v_cascade AND v_status <> 'completed' THEN
    PERFORM wake(conclude(cancel_children(ARRAY[v_run], v_by, v_reason)));
  END IF;
  IF v_status NOT IN ('running', 'pending') THEN
    RETURN 'ended';
  END IF;
  -- Running, or in no place: the worker sees the request with its beat, and the sweep applies it to a pending run.
  PERFORM request_cancels(ARRAY[v_run], ARRAY[v_by], ARRAY[v_reason], v_cascade);
  RETURN 'requested';
END $$;

-- Locks the side row of a pending run, waiting for whoever has it, and returns where it stands or what it waits for; NULL
-- when it is in no place.
CREATE OR REPLACE FUNCTION take_side_row(p_run bigint) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
DECLARE
  v_kind text;
BEGIN
  PERFORM FROM ready x WHERE x.id = p_run FOR UPDATE;
  IF FOUND THEN
    RETURN 'ready';
  END IF;
  PERFORM FROM scheduled x WHERE x.id = p_run FOR UPDATE;
  IF FOUND THEN
    RETURN 'scheduled';
  END IF;
  PERFORM FROM blocked x WHERE x.id = p_run FOR UPDATE;
  IF FOUND THEN
    RETURN 'blocked';
  END IF;
  SELECT x.kind INTO v_kind FROM waiting x WHERE x.id = p_run FOR UPDATE;
  RETURN v_kind;
END $$;

-- Cancels the next live runs of a scope, at most max_runs of them in the order of their ids after the one given, with their
-- descendants: the pending ones end, the others get a request. It waits for nobody: a pending run that somebody else has
-- locked gets a request too. next is what to give as after to go on; NULL when that was all. Options:
--   tenant, cascade, after, max_runs (1 to 10000, 1000 when not given)
-- Index run_scope.
CREATE OR REPLACE FUNCTION cancel_scope(
  scope text, requested_by text, reason text, options jsonb DEFAULT '{}', OUT cancelled integer, OUT requested integer, OUT next bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
  v_by constant text := cancel_text(cancel_scope.requested_by);
  v_reason constant text := cancel_text(cancel_scope.reason);
  v_options constant jsonb := coalesce(cancel_scope.options, '{}');
  v_cascade boolean;
  v_runs bigint[];
  v_ended bigint[];
BEGIN
  PERFORM start_known(v_options, '{tenant,cascade,after,max_runs}');
  v_cascade := coalesce(start_flag('cascade', v_options -> 'cascade'), true);
  SELECT s.runs, s.next INTO v_runs, next FROM scope_live(cancel_scope.scope, '{pending,running}', v_options) AS s;
  v_ended := end_quietly(v_runs, 'cancelled', 'cancelled', array_fill(cancel_message(v_by, v_reason), ARRAY[cardinality(v_runs)]));
  cancelled := cardinality(v_ended);
  requested := cardinality(v_runs) - cancelled;
  PERFORM request_cancels(v_runs, array_fill(v_by, ARRAY[cardinality(v_runs)]), array_fill(v_reason, ARRAY[cardinality(v_runs)]), v_cascade);
  IF v_cascade THEN
    v_ended := v_ended || cancel_children(v_runs, v_by, v_reason);
  END IF;
  PERFORM wake(conclude(v_ended));
END $$;

-- The next runs of a scope with one of the statuses; closing ones have ended.
CREATE OR REPLACE FUNCTION scope_live(p_scope text, p_statuses text[], p_options jsonb, OUT runs bigint[], OUT next bigint)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
DECLARE
  v_tenant constant text := start_text('tenant', p_options -> 'tenant');
  v_after constant bigint := coalesce(start_number('after', p_options -> 'after', 0, 9223372036854775807), 0);
  v_max constant bigint := coalesce(start_number('max_runs', p_options -> 'max_runs', 1, 10000), 1000);
BEGIN
  SELECT coalesce(array_agg(x.id ORDER BY x.id), '{}') INTO runs
  FROM (
    SELECT r.id
    FROM run r
    WHERE r.scope = p_scope AND r.id > v_after AND r.tenant IS NOT DISTINCT FROM v_tenant AND r.status = ANY (p_statuses)
      AND NOT EXISTS (SELECT FROM waiting w WHERE w.id = r.id AND w.kind = 'closing' OFFSET 0)
    ORDER BY r.id
    LIMIT v_max
  ) AS x;
  IF cardinality(runs) = v_max THEN
    next := runs[v_max];
  END IF;
END $$;

-- Makes the next pending runs of a scope due in delay_ms, at once when 0; those that wait for their retry too, those that
-- wait for a signal, children or a time of their own choice not. It waits for whoever has locked one of them. next is what
-- to give as after to go on; NULL when that was all. Options:
--   tenant, after, max_runs (1 to 10000, 1000 when not given)
CREATE OR REPLACE FUNCTION reschedule_scope(
  scope text, delay_ms bigint, options jsonb DEFAULT '{}', OUT moved integer, OUT next bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  c_long constant bigint := 366::bigint * 100 * 86400 * 1000;
  v_options constant jsonb := coalesce(reschedule_scope.options, '{}');
  v_now timestamptz;
  v_run_at timestamptz;
  v_left bigint[];
  v_taken bigint[] := '{}';
  v_pools text[];
BEGIN
  PERFORM start_known(v_options, '{tenant,after,max_runs}');
  PERFORM start_number('delay_ms', to_jsonb(reschedule_scope.delay_ms), 0, c_long);
  SELECT s.runs, s.next INTO v_left, next FROM scope_live(reschedule_scope.scope, '{pending}', v_options) AS s;
  FOR i IN 1..10 LOOP
    v_taken := v_taken || ARRAY(
      SELECT id FROM (SELECT id FROM ready WHERE id = ANY (v_left) AND delay_ms > 0 ORDER BY id FOR UPDATE) AS a
      UNION ALL
      SELECT id FROM (SELECT id FROM scheduled WHERE id = ANY (v_left) ORDER BY id FOR UPDATE) AS b
      UNION ALL
      SELECT id FROM (SELECT id FROM blocked WHERE id = ANY (v_left) AND delay_ms > 0 ORDER BY id FOR UPDATE) AS c);
    -- Those that somebody has moved meanwhile are looked for again where they stand now.
    v_left := ARRAY(
      SELECT l.id
      FROM (SELECT unnest(v_left) EXCEPT SELECT unnest(v_taken)) AS l (id)
      WHERE EXISTS (SELECT FROM scheduled x WHERE x.id = l.id OFFSET 0)
        OR delay_ms > 0
          AND (EXISTS (SELECT FROM ready x WHERE x.id = l.id OFFSET 0) OR EXISTS (SELECT FROM blocked x WHERE x.id = l.id OFFSET 0)));
    EXIT WHEN cardinality(v_left) = 0;
  END LOOP;
  v_now := clock_timestamp();
  v_run_at := v_now + coalesce(reschedule_scope.delay_ms, 0) * interval '1 millisecond';
  WITH u AS (
    UPDATE run r
    SET run_at = v_run_at
    WHERE r.id = ANY (v_taken) AND r.status = 'pending'
    RETURNING r.id, r.pool, r.job_type, r.tenant, r.run_at, r.priority, r.lane
  ),
  a AS (DELETE FROM ready WHERE id = ANY (ARRAY(SELECT id FROM u))),
  b AS (DELETE FROM scheduled WHERE id = ANY (ARRAY(SELECT id FROM u)) AND v_run_at <= v_now),
  c AS (DELETE FROM blocked WHERE id = ANY (ARRAY(SELECT id FROM u))),
  sc AS (
    INSERT INTO scheduled (id, pool, job_type, run_at, priority, lane)
    SELECT id, pool, job_type, run_at, priority, lane FROM u WHERE run_at > v_now
    ON CONFLICT (id) DO UPDATE SET run_at = excluded.run_at
  ),
  rd AS (
    INSERT INTO ready (id, pool, job_type, tenant, vstart, lane)
    SELECT u.id, u.pool, u.job_type, (SELECT coalesce(u.tenant, '') FROM pool_gate g WHERE g.pool = u.pool AND g.fair),
           vstart(u.run_at, u.priority), u.lane
    FROM u
    WHERE u.run_at <= v_now
    RETURNING pool
  )
  SELECT count(*), (SELECT array_agg(DISTINCT pool) FROM rd) INTO moved, v_pools FROM u;
  IF v_pools IS NOT NULL THEN
    PERFORM wake(v_pools);
  END IF;
END $$;
