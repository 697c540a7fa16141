-- Start: called by anybody, inside their own, possibly endless, transactions (S10).

-- A whole number among the options of start; NULL when it is not given.
CREATE OR REPLACE FUNCTION start_number(p_options jsonb, p_name text, p_low bigint, p_high bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v jsonb := p_options -> p_name;
  v_number numeric;
BEGIN
  IF v IS NULL OR v = 'null' THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(v) = 'number' THEN
    v_number := v::numeric;
    IF v_number = trunc(v_number) AND v_number BETWEEN p_low AND p_high THEN
      RETURN v_number::bigint;
    END IF;
  END IF;
  RAISE EXCEPTION 'option "%" is %, want a whole number from % to %', p_name, v, p_low, p_high
    USING ERRCODE = 'invalid_parameter_value';
END $$;

-- A text among the options of start; NULL when it is not given.
CREATE OR REPLACE FUNCTION start_text(p_options jsonb, p_name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v jsonb := p_options -> p_name;
BEGIN
  IF v IS NULL OR v = 'null' THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(v) <> 'string' OR v = '""' THEN
    RAISE EXCEPTION 'option "%" is %, want a text that is not empty', p_name, v USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN p_options ->> p_name;
END $$;

-- The pool of a new run: the one asked for, else the one whose worker registered the type first. Raises SL002 with what
-- to do when there is none.
CREATE OR REPLACE FUNCTION start_pool(p_job_type text, p_pool text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_pool text := coalesce(p_pool, (SELECT t.pool FROM job_type t WHERE t.name = p_job_type));
  v_known text;
BEGIN
  IF v_pool IS NULL THEN
    RAISE EXCEPTION 'no pool for job type "%": no worker has registered the type yet; name one with the option "pool"', p_job_type
      USING ERRCODE = 'SL002';
  END IF;
  IF NOT EXISTS (SELECT FROM pool p WHERE p.name = v_pool) THEN
    SELECT string_agg(quote_ident(x.name), ', ') INTO v_known FROM (SELECT p.name FROM pool p ORDER BY p.name LIMIT 20) AS x;
    RAISE EXCEPTION 'pool "%" does not exist in schema "%"; create a JobPool with that poolName, start a worker with --pool, or use one of: %',
      v_pool, current_schema(), coalesce(v_known, '(there is none yet)')
      USING ERRCODE = 'SL002';
  END IF;
  RETURN v_pool;
END $$;

-- Enqueues one run and returns it; created is false when a run with the same tenant and idempotency key was there.
-- Durations are in milliseconds. Options:
--   pool, priority (-100 to 100), delay_ms, lane, lane_namespace, lane_limit, tenant, scope, parent, idempotency_key,
--   max_attempts, deadline_ms, trigger_source (manual, schedule, event, parent), trigger_ref, tags (an object of texts)
CREATE OR REPLACE FUNCTION start(job_type text, input jsonb DEFAULT '{}', options jsonb DEFAULT '{}', OUT run bigint, OUT created boolean)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
  c_known constant text[] := '{pool,priority,delay_ms,lane,lane_namespace,lane_limit,tenant,scope,parent,idempotency_key,max_attempts,deadline_ms,trigger_source,trigger_ref,tags}';
  c_long constant bigint := 366::bigint * 100 * 86400 * 1000;
  v_type constant text := start.job_type;
  v_options constant jsonb := coalesce(start.options, '{}');
  v_unknown text;
  v_pool text;
  v_tenant text;
  v_key text;
  v_lane_key text;
  v_lane_namespace text;
  v_source text;
  v_parent bigint;
  v_parent_tenant text;
  v_root bigint;
  v_priority integer;
  v_deadline bigint;
  v_now timestamptz := clock_timestamp();
  v_run_at timestamptz;
  v_other text;
BEGIN
  IF coalesce(v_type, '') = '' THEN
    RAISE EXCEPTION 'job_type is empty' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF jsonb_typeof(v_options) <> 'object' THEN
    RAISE EXCEPTION 'options are of type %, want a JSON object', jsonb_typeof(v_options) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT string_agg('"' || k || '"', ', ') INTO v_unknown FROM jsonb_object_keys(v_options) AS k WHERE k <> ALL (c_known);
  IF v_unknown IS NOT NULL THEN
    RAISE EXCEPTION 'unknown option %; known are: %', v_unknown, array_to_string(c_known, ', ')
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF v_options ? 'tags' AND (jsonb_typeof(v_options -> 'tags') <> 'object'
      OR EXISTS (SELECT FROM jsonb_each(CASE jsonb_typeof(v_options -> 'tags') WHEN 'object' THEN v_options -> 'tags' ELSE '{}' END) AS e
                 WHERE jsonb_typeof(e.value) <> 'string')) THEN
    RAISE EXCEPTION 'option "tags" is %, want an object whose values are texts', v_options -> 'tags'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  v_source := coalesce(start_text(v_options, 'trigger_source'), 'manual');
  IF v_source NOT IN ('manual', 'schedule', 'event', 'parent') THEN
    RAISE EXCEPTION 'option "trigger_source" is "%", want manual, schedule, event or parent', v_source
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  v_lane_key := start_text(v_options, 'lane');
  v_lane_namespace := start_text(v_options, 'lane_namespace');
  IF v_lane_key IS NULL AND (v_lane_namespace IS NOT NULL OR v_options ? 'lane_limit') THEN
    RAISE EXCEPTION 'options "lane_namespace" and "lane_limit" need the option "lane"' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  v_pool := start_pool(v_type, start_text(v_options, 'pool'));
  v_tenant := start_text(v_options, 'tenant');
  v_key := start_text(v_options, 'idempotency_key');
  v_priority := coalesce(start_number(v_options, 'priority', -100, 100), 0);
  v_run_at := v_now + coalesce(start_number(v_options, 'delay_ms', 0, c_long), 0) * interval '1 millisecond';
  v_deadline := start_number(v_options, 'deadline_ms', 1, c_long);

  run := nextval('run_id_seq');
  v_root := run;
  v_parent := start_number(v_options, 'parent', 1, 9223372036854775807);
  IF v_parent IS NOT NULL THEN
    SELECT r.root, r.tenant INTO v_root, v_parent_tenant FROM run r WHERE r.id = v_parent;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'option "parent": there is no run %', v_parent USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v_tenant IS DISTINCT FROM v_parent_tenant AND v_tenant IS NOT NULL THEN
      RAISE EXCEPTION 'option "tenant": run % belongs to another tenant; a child has the tenant of its parent', v_parent
        USING ERRCODE = 'invalid_parameter_value';
    END IF;
    v_tenant := v_parent_tenant;
  END IF;

  INSERT INTO run (id, job_type, pool, tenant, scope, idempotency_key, parent, root, priority, lane, lane_namespace, lane_key,
                   lane_limit, trigger_source, trigger_ref, tags, input, max_attempts, created_at, run_at, deadline_at)
  VALUES (run, v_type, v_pool, v_tenant, start_text(v_options, 'scope'), v_key, v_parent, v_root, v_priority,
          CASE WHEN v_lane_key IS NOT NULL THEN lane_id(v_tenant, coalesce(v_lane_namespace, v_type), v_lane_key) END,
          CASE WHEN v_lane_key IS NOT NULL THEN coalesce(v_lane_namespace, v_type) END, v_lane_key,
          CASE WHEN v_lane_key IS NOT NULL THEN coalesce(start_number(v_options, 'lane_limit', 1, 10000), 1) END,
          v_source, start_text(v_options, 'trigger_ref'), v_options -> 'tags', coalesce(start.input, '{}'),
          start_number(v_options, 'max_attempts', 1, 1000000), v_now, v_run_at, v_now + v_deadline * interval '1 millisecond')
  ON CONFLICT (coalesce(tenant, ''), idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING;
  created := FOUND;
  IF NOT created THEN
    SELECT r.id, r.job_type INTO run, v_other
    FROM run r
    WHERE coalesce(r.tenant, '') = coalesce(v_tenant, '') AND r.idempotency_key = v_key;
    IF v_other IS DISTINCT FROM v_type THEN
      RAISE EXCEPTION 'idempotency key "%" belongs to run % of job type "%", not to one of "%"', v_key, run, v_other, v_type
        USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN;
  END IF;

  IF v_run_at > v_now THEN
    INSERT INTO scheduled (id, pool, job_type, run_at, priority, lane)
    SELECT r.id, r.pool, r.job_type, r.run_at, r.priority, r.lane FROM run r WHERE r.id = start.run;
  ELSE
    INSERT INTO ready (id, pool, job_type, vstart, lane)
    SELECT r.id, r.pool, r.job_type, vstart(r.run_at, r.priority), r.lane FROM run r WHERE r.id = start.run;
    PERFORM wake(ARRAY[v_pool]);
  END IF;
  IF v_deadline IS NOT NULL THEN
    INSERT INTO deadline (run, at) VALUES (start.run, v_now + v_deadline * interval '1 millisecond');
  END IF;
END $$;
