-- Bulk start: called by anybody, as start is.

-- Enqueues many runs of one type with one statement for each table and one notification for each pool, and returns them
-- in order. options has one element for each input, or one for all, or none. Runs that dedupe or do not queue are started
-- one after the other, as by start. At most 10 000 in one call.
CREATE OR REPLACE FUNCTION start_many(job_type text, inputs jsonb[], options jsonb[] DEFAULT '{}')
RETURNS TABLE (run bigint, created boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  -- However the arrays are shaped and numbered, their elements count from 1.
  v_inputs constant jsonb[] := ARRAY(SELECT unnest(start_many.inputs));
  v_options constant jsonb[] := CASE WHEN coalesce(cardinality(start_many.options), 0) = 0 THEN '{"{}"}'
                                     ELSE ARRAY(SELECT unnest(start_many.options)) END;
  v_one constant boolean := cardinality(v_options) = 1;
  v_runs bigint[];
  v_created boolean[];
  v_known bigint[];
  v_pools text[];
BEGIN
  IF cardinality(v_inputs) > 10000 THEN
    RAISE EXCEPTION '% inputs, want at most 10000 in one call', cardinality(v_inputs) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF NOT v_one AND cardinality(v_options) <> cardinality(v_inputs) THEN
    RAISE EXCEPTION '% options for % inputs, want one for each, one for all, or none', cardinality(v_options), cardinality(v_inputs)
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF EXISTS (SELECT FROM unnest(v_options) AS o WHERE o ?| '{dedupe_key,dedupe_window_ms,collision}') THEN
    FOR i IN 1..cardinality(v_inputs) LOOP
      RETURN QUERY SELECT s.run, s.created FROM start(start_many.job_type, v_inputs[i], v_options[CASE WHEN v_one THEN 1 ELSE i END]) AS s;
    END LOOP;
    RETURN;
  END IF;
  PERFORM check_payload(format('input %s', t.nth), t.input) FROM unnest(v_inputs) WITH ORDINALITY AS t (input, nth);

  -- Equal options are read once. Rows are written in the order of their keys, so that two calls wait for each other and
  -- do not deadlock.
  WITH o AS MATERIALIZED (
    SELECT d.options AS given, p.*
    FROM (SELECT DISTINCT coalesce(x, '{}') AS options FROM unnest(v_options) AS x) AS d
    CROSS JOIN LATERAL start_parse(start_many.job_type, d.options, false) AS p
  ),
  n AS MATERIALIZED (
    SELECT nextval('run_id_seq') AS new_id, q.*
    FROM (
      SELECT t.nth, coalesce(t.input, '{}') AS new_input, o.*
      FROM unnest(v_inputs) WITH ORDINALITY AS t (input, nth)
      JOIN o ON o.given = coalesce(v_options[CASE WHEN v_one THEN 1 ELSE t.nth END], '{}')
      ORDER BY t.nth
    ) AS q
  ),
  i AS (
    INSERT INTO run (id, root, job_type, pool, tenant, scope, idempotency_key, close_policy, collision, priority, lane, lane_namespace,
                     lane_key, lane_limit, trigger_source, trigger_ref, tags, input, max_attempts, created_at, run_at, deadline_at, deadline_millis)
    SELECT n.new_id, n.new_id, n.job_type, n.pool, n.tenant, n.scope, n.idempotency_key, n.close_policy, n.collision, n.priority, n.lane, n.lane_namespace,
           n.lane_key, n.lane_limit, n.trigger_source, n.trigger_ref, n.tags, n.new_input, n.max_attempts, n.created_at, n.run_at,
           n.deadline_at, n.deadline_millis
    FROM n
    ORDER BY n.tenant, n.idempotency_key, n.nth
    ON CONFLICT (coalesce(tenant, ''), idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, pool, job_type, tenant, created_at, run_at, priority, lane, deadline_at
  ),
  rd AS (
    INSERT INTO ready (id, pool, job_type, tenant, vstart, lane)
    SELECT i.id, i.pool, i.job_type, (SELECT coalesce(i.tenant, '') FROM pool_gate g WHERE g.pool = i.pool AND g.fair),
           vstart(i.run_at, i.priority), i.lane
    FROM i
    WHERE i.run_at <= i.created_at
    RETURNING pool
  ),
  sc AS (
    INSERT INTO scheduled (id, pool, job_type, run_at, priority, lane)
    SELECT id, pool, job_type, run_at, priority, lane FROM i WHERE run_at > created_at
  ),
  dl AS (
    INSERT INTO deadline (run, at) SELECT id, deadline_at FROM i WHERE deadline_at IS NOT NULL
  )
  SELECT array_agg(n.new_id ORDER BY n.nth), array_agg(i.id IS NOT NULL ORDER BY n.nth), (SELECT array_agg(DISTINCT pool) FROM rd)
  INTO v_runs, v_created, v_pools
  FROM n
  LEFT JOIN i ON i.id = n.new_id;
  IF v_pools IS NOT NULL THEN
    PERFORM wake(v_pools);
  END IF;
  IF false = ANY (v_created) THEN
    -- The next statement sees whose keys stood in the way.
    SELECT array_agg(start_known_key(k.p) ORDER BY k.nth) INTO v_known
    FROM (
      SELECT t.nth, start_parse(start_many.job_type, v_options[CASE WHEN v_one THEN 1 ELSE t.nth END], false) AS p
      FROM unnest(v_created) WITH ORDINALITY AS t (created, nth)
      WHERE NOT t.created
    ) AS k;
    SELECT array_agg(CASE WHEN t.created THEN t.run ELSE v_known[t.missing] END ORDER BY t.nth) INTO v_runs
    FROM (
      SELECT u.run, u.created, u.nth, count(*) FILTER (WHERE NOT u.created) OVER (ORDER BY u.nth) AS missing
      FROM unnest(v_runs, v_created) WITH ORDINALITY AS u (run, created, nth)
    ) AS t;
  END IF;
  RETURN QUERY SELECT t.run, t.created FROM unnest(v_runs, v_created) AS t (run, created);
END $$;
