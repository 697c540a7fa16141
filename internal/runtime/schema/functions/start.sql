-- Start: called by anybody, inside their own, possibly endless, transactions (S10). A start waits for callers only: for
-- one that holds the same idempotency or dedupe key, or, when it does not queue, the same lane.

-- A whole number among options; NULL when it is not given.
CREATE OR REPLACE FUNCTION start_number(p_name text, p_value jsonb, p_low bigint, p_high bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_number numeric;
BEGIN
  IF p_value IS NULL OR p_value = 'null' THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(p_value) = 'number' THEN
    v_number := p_value::numeric;
    IF v_number = trunc(v_number) AND v_number BETWEEN p_low AND p_high THEN
      RETURN v_number::bigint;
    END IF;
  END IF;
  RAISE EXCEPTION 'option "%" is %, want a whole number from % to %', p_name, left(p_value::text, 100), p_low, p_high
    USING ERRCODE = 'invalid_parameter_value';
END $$;

-- A text among options, at most 512 bytes, so that it fits into an index; NULL when it is not given.
CREATE OR REPLACE FUNCTION start_text(p_name text, p_value jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
BEGIN
  IF p_value IS NULL OR p_value = 'null' THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(p_value) <> 'string' OR p_value = '""' THEN
    RAISE EXCEPTION 'option "%" is %, want a text that is not empty', p_name, left(p_value::text, 100)
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF octet_length(p_value #>> '{}') > 512 THEN
    RAISE EXCEPTION 'option "%" has % bytes, want at most 512', p_name, octet_length(p_value #>> '{}')
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN p_value #>> '{}';
END $$;

-- One of a few words among options; NULL when it is not given.
CREATE OR REPLACE FUNCTION start_word(p_name text, p_value jsonb, p_words text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_word text := start_text(p_name, p_value);
BEGIN
  IF v_word <> ALL (p_words) THEN
    RAISE EXCEPTION 'option "%" is "%", want one of: %', p_name, v_word, array_to_string(p_words, ', ')
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN v_word;
END $$;

-- Tags: at most 32, keys of at most 128 and values of at most 512 bytes.
CREATE OR REPLACE FUNCTION start_tags(p_value jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
BEGIN
  IF p_value IS NULL OR p_value = 'null' THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(p_value) <> 'object'
      OR EXISTS (SELECT FROM jsonb_each(CASE jsonb_typeof(p_value) WHEN 'object' THEN p_value ELSE '{}' END) AS e
                 WHERE jsonb_typeof(e.value) <> 'string') THEN
    RAISE EXCEPTION 'option "tags" is %, want an object whose values are texts', left(p_value::text, 100)
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF (SELECT count(*) > 32 OR max(octet_length(e.key)) > 128 OR max(octet_length(e.value)) > 512 FROM jsonb_each_text(p_value) AS e) THEN
    RAISE EXCEPTION 'option "tags" is too large: want at most 32 tags, keys of at most 128 bytes, values of at most 512'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN p_value;
END $$;

-- Refuses options that are no object, or have a name that is not known.
CREATE OR REPLACE FUNCTION start_known(p_options jsonb, p_known text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_unknown text;
BEGIN
  IF jsonb_typeof(p_options) <> 'object' THEN
    RAISE EXCEPTION 'options are of type %, want a JSON object', jsonb_typeof(p_options) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT string_agg('"' || k || '"', ', ') INTO v_unknown FROM jsonb_object_keys(p_options) AS k WHERE k <> ALL (p_known);
  IF v_unknown IS NOT NULL THEN
    RAISE EXCEPTION 'unknown option %; known are: %', left(v_unknown, 500), array_to_string(p_known, ', ')
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
END $$;

-- Refuses an input or output of more than 1 MiB as JSON text.
CREATE OR REPLACE FUNCTION check_payload(p_what text, p_value jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
BEGIN
  IF octet_length(p_value::text) > 1048576 THEN
    RAISE EXCEPTION '% has % bytes, want at most 1048576; keep it in a table of your own and pass its key', p_what, octet_length(p_value::text)
      USING ERRCODE = 'program_limit_exceeded';
  END IF;
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

-- The run that the options describe, without an id, a tree and an input. A child takes fewer options: it has the tenant of
-- its parent, and its key within its parent is what makes it unique.
CREATE OR REPLACE FUNCTION start_parse(p_job_type text, p_options jsonb, p_child boolean) RETURNS run
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
  c_child constant text[] := '{pool,priority,delay_ms,lane,lane_namespace,lane_limit,collision,scope,max_attempts,deadline_ms,tags,close_policy}';
  c_start constant text[] := '{pool,priority,delay_ms,lane,lane_namespace,lane_limit,collision,scope,max_attempts,deadline_ms,tags,tenant,idempotency_key,dedupe_key,dedupe_window_ms,trigger_source,trigger_ref}';
  c_long constant bigint := 366::bigint * 100 * 86400 * 1000;
  v_options constant jsonb := coalesce(p_options, '{}');
  v run;
BEGIN
  IF coalesce(p_job_type, '') = '' THEN
    RAISE EXCEPTION 'job_type is empty' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  v.job_type := p_job_type;
  v.created_at := clock_timestamp();
  IF v_options <> '{}' THEN
    PERFORM start_known(v_options, CASE WHEN p_child THEN c_child ELSE c_start END);
    v.pool := start_text('pool', v_options -> 'pool');
    v.priority := start_number('priority', v_options -> 'priority', -100, 100);
    v.run_at := v.created_at + start_number('delay_ms', v_options -> 'delay_ms', 0, c_long) * interval '1 millisecond';
    v.lane_key := start_text('lane', v_options -> 'lane');
    v.lane_namespace := start_text('lane_namespace', v_options -> 'lane_namespace');
    v.lane_limit := start_number('lane_limit', v_options -> 'lane_limit', 1, 10000);
    v.collision := start_word('collision', v_options -> 'collision', '{queue,reject,replace}');
    v.tenant := start_text('tenant', v_options -> 'tenant');
    v.scope := start_text('scope', v_options -> 'scope');
    v.idempotency_key := start_text('idempotency_key', v_options -> 'idempotency_key');
    v.dedupe_key := start_text('dedupe_key', v_options -> 'dedupe_key');
    v.max_attempts := start_number('max_attempts', v_options -> 'max_attempts', 1, 1000000);
    v.deadline_millis := start_number('deadline_ms', v_options -> 'deadline_ms', 1, c_long);
    v.trigger_source := start_word('trigger_source', v_options -> 'trigger_source', '{manual,schedule,event,parent}');
    v.trigger_ref := start_text('trigger_ref', v_options -> 'trigger_ref');
    v.tags := start_tags(v_options -> 'tags');
    v.close_policy := start_word('close_policy', v_options -> 'close_policy', '{terminate,cancel,abandon}');
    IF v.lane_key IS NULL AND num_nonnulls(v.lane_namespace, v.lane_limit, v.collision) > 0 THEN
      RAISE EXCEPTION 'options "lane_namespace", "lane_limit" and "collision" need the option "lane"' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (v.dedupe_key IS NULL) <> (start_number('dedupe_window_ms', v_options -> 'dedupe_window_ms', 1, c_long) IS NULL) THEN
      RAISE EXCEPTION 'options "dedupe_key" and "dedupe_window_ms" need each other' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v.lane_key IS NOT NULL THEN
      v.lane_namespace := coalesce(v.lane_namespace, p_job_type);
      v.lane_limit := coalesce(v.lane_limit, 1);
      v.lane := lane_id(v.tenant, v.lane_namespace, v.lane_key);
    END IF;
  END IF;
  v.pool := start_pool(p_job_type, v.pool);
  v.priority := coalesce(v.priority, 0);
  v.run_at := coalesce(v.run_at, v.created_at);
  v.deadline_at := v.created_at + v.deadline_millis * interval '1 millisecond';
  v.collision := coalesce(v.collision, 'queue');
  v.close_policy := coalesce(v.close_policy, 'terminate');
  v.trigger_source := coalesce(v.trigger_source, CASE WHEN p_child THEN 'parent' ELSE 'manual' END);
  RETURN v;
END $$;

-- Writes a new run, its side row and its deadline. False, and nothing written, when a unique key of it is taken.
CREATE OR REPLACE FUNCTION start_insert(p run) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
  INSERT INTO run (id, job_type, pool, tenant, scope, idempotency_key, dedupe_key, parent, root, spawn_key, spawn_replay,
                   close_policy, collision, priority, lane, lane_namespace, lane_key, lane_limit, trigger_source, trigger_ref,
                   tags, input, max_attempts, created_at, run_at, deadline_at, deadline_millis)
  VALUES (p.id, p.job_type, p.pool, p.tenant, p.scope, p.idempotency_key, p.dedupe_key, p.parent, p.root, p.spawn_key, p.spawn_replay,
          p.close_policy, p.collision, p.priority, p.lane, p.lane_namespace, p.lane_key, p.lane_limit, p.trigger_source, p.trigger_ref,
          p.tags, p.input, p.max_attempts, p.created_at, p.run_at, p.deadline_at, p.deadline_millis)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF p.run_at > p.created_at THEN
    INSERT INTO scheduled (id, pool, job_type, run_at, priority, lane)
    VALUES (p.id, p.pool, p.job_type, p.run_at, p.priority, p.lane);
  ELSE
    INSERT INTO ready (id, pool, job_type, tenant, vstart, lane)
    VALUES (p.id, p.pool, p.job_type, (SELECT coalesce(p.tenant, '') FROM pool_gate g WHERE g.pool = p.pool AND g.fair),
            vstart(p.run_at, p.priority), p.lane);
    PERFORM wake(ARRAY[p.pool]);
  END IF;
  IF p.deadline_at IS NOT NULL THEN
    INSERT INTO deadline (run, at) VALUES (p.id, p.deadline_at);
  END IF;
  RETURN true;
END $$;

-- Takes a dedupe key for a run that is about to be written, and returns NULL, or the run that has it: one in its window
-- that has not ended without having completed. Hits take no lock, so that no caller waits for a hit of another.
CREATE OR REPLACE FUNCTION start_dedupe(p run, p_window_ms bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_now constant timestamptz := clock_timestamp();
  v_run bigint;
  v_expires timestamptz;
  v_free boolean;
BEGIN
  FOR i IN 1..100 LOOP
    SELECT d.run, d.expires_at, d.expires_at <= v_now OR coalesce(r.status IN ('failed', 'cancelled', 'timed_out', 'lost'), true)
    INTO v_run, v_expires, v_free
    FROM dedupe d
    LEFT JOIN run r ON r.id = d.run
    WHERE d.tenant = coalesce(p.tenant, '') AND d.job_type = p.job_type AND d.key = p.dedupe_key;
    IF FOUND AND NOT v_free THEN
      RETURN v_run;
    END IF;
    -- Somebody else may take it in between, or a replay revive the run that has it: then the row is not what was read.
    INSERT INTO dedupe AS d (tenant, job_type, key, run, expires_at)
    VALUES (coalesce(p.tenant, ''), p.job_type, p.dedupe_key, p.id, v_now + p_window_ms * interval '1 millisecond')
    ON CONFLICT (tenant, job_type, key) DO UPDATE
    SET run = excluded.run, expires_at = excluded.expires_at
    WHERE d.run = v_run AND d.expires_at = v_expires;
    IF FOUND THEN
      RETURN NULL;
    END IF;
  END LOOP;
  RAISE EXCEPTION 'dedupe key "%" of job type "%" changes hands all the time', p.dedupe_key, p.job_type
    USING ERRCODE = 'serialization_failure';
END $$;

-- The live runs of a lane, at most p_limit from each place. Indexes ready_lane, scheduled_lane, blocked_lane,
-- waiting_lane, lane_hold_lane; one statement, so that a run that moves is seen once.
CREATE OR REPLACE FUNCTION lane_live(p run, p_limit integer) RETURNS bigint[]
LANGUAGE sql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
  SELECT coalesce(array_agg(DISTINCT r.id), '{}')
  FROM (
    (SELECT x.id FROM ready x WHERE x.lane = p.lane LIMIT p_limit)
    UNION ALL
    (SELECT x.id FROM scheduled x WHERE x.lane = p.lane LIMIT p_limit)
    UNION ALL
    (SELECT x.id FROM blocked x WHERE x.lane = p.lane LIMIT p_limit)
    UNION ALL
    (SELECT x.id FROM waiting x WHERE x.lane = p.lane AND x.kind <> 'closing' LIMIT p_limit)
    UNION ALL
    (SELECT h.run FROM lane_hold h WHERE h.lane = p.lane)
  ) AS l
  JOIN run r ON r.id = l.id
  WHERE r.status IN ('pending', 'running') AND r.id <> p.id
    -- Two keys may have one hash.
    AND (r.tenant, r.lane_namespace, r.lane_key) IS NOT DISTINCT FROM (p.tenant, p.lane_namespace, p.lane_key)
$$;

-- Makes room in its lane for a run that does not queue: reject raises SL003 with the oldest live run of a full lane,
-- replace cancels all of them; whoever runs keeps the lane until its handler has stopped. Runs that do not queue are
-- admitted one after the other. That the lane is free until then is not promised about runs that queue.
CREATE OR REPLACE FUNCTION start_collide(p run) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_live bigint[];
  v_id bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(current_schema() || '/start/' || p.lane, 0));
  v_live := lane_live(p, CASE p.collision WHEN 'reject' THEN p.lane_limit END);
  IF p.collision = 'reject' AND cardinality(v_live) >= p.lane_limit THEN
    RAISE EXCEPTION 'lane "%" of namespace "%" is taken by run %', p.lane_key, p.lane_namespace, v_live[1]
      USING ERRCODE = 'SL003', DETAIL = v_live[1]::text;
  END IF;
  IF p.collision = 'replace' THEN
    FOREACH v_id IN ARRAY v_live LOOP
      PERFORM cancel(v_id, 'replace', format('replaced by run %s', p.id), jsonb_build_object('tenant', p.tenant));
    END LOOP;
  END IF;
END $$;

-- The run with an idempotency key; NULL when there is none. Raises when it is of another type.
CREATE OR REPLACE FUNCTION start_known_key(p run) RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_run bigint;
  v_other text;
BEGIN
  SELECT r.id, r.job_type INTO v_run, v_other
  FROM run r
  WHERE coalesce(r.tenant, '') = coalesce(p.tenant, '') AND r.idempotency_key = p.idempotency_key;
  IF v_other <> p.job_type THEN
    RAISE EXCEPTION 'idempotency key "%" belongs to run % of job type "%", not to one of "%"', p.idempotency_key, v_run, v_other, p.job_type
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN v_run;
END $$;

-- Enqueues one run and returns it; created is false when another run stands for it: one with the same tenant and
-- idempotency key, or one with the same tenant, type and dedupe key in its window. Durations are in milliseconds. Options:
--   pool, priority (-100 to 100), delay_ms, tenant, scope, idempotency_key, dedupe_key, dedupe_window_ms, max_attempts,
--   deadline_ms, trigger_source (manual, schedule, event, parent), trigger_ref, tags (an object of texts),
--   lane, lane_namespace, lane_limit, collision (queue, reject, replace)
CREATE OR REPLACE FUNCTION start(job_type text, input jsonb DEFAULT '{}', options jsonb DEFAULT '{}', OUT run bigint, OUT created boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  v run := start_parse(start.job_type, start.options, false);
BEGIN
  v.input := coalesce(start.input, '{}');
  PERFORM check_payload('input', v.input);
  v.id := nextval('run_id_seq');
  v.root := v.id;
  created := false;
  IF v.dedupe_key IS NOT NULL OR v.collision <> 'queue' THEN
    IF v.idempotency_key IS NOT NULL THEN
      run := start_known_key(v);
      IF run IS NOT NULL THEN
        RETURN;
      END IF;
    END IF;
    IF v.dedupe_key IS NOT NULL THEN
      run := start_dedupe(v, (start.options ->> 'dedupe_window_ms')::bigint);
      IF run IS NOT NULL THEN
        RETURN;
      END IF;
    END IF;
    IF v.collision <> 'queue' THEN
      PERFORM start_collide(v);
    END IF;
  END IF;
  created := start_insert(v);
  run := v.id;
  IF NOT created THEN
    IF v.dedupe_key IS NOT NULL OR v.collision <> 'queue' THEN
      -- What was taken and cancelled for this run must not stay so: the whole call is undone.
      RAISE EXCEPTION 'idempotency key "%" was taken by another start at the same time; try again', v.idempotency_key
        USING ERRCODE = 'serialization_failure';
    END IF;
    run := start_known_key(v);
  END IF;
END $$;

-- Enqueues many runs of one type with one statement for each table and one notification for each pool, and returns them
-- in order. options has one element for each input, or one for all, or none. Runs that dedupe or do not queue are started
-- one after the other, as by start. At most 10 000 in one call.
CREATE OR REPLACE FUNCTION start_many(job_type text, inputs jsonb[], options jsonb[] DEFAULT '{}')
RETURNS TABLE (run bigint, created boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
  v_inputs constant jsonb[] := coalesce(start_many.inputs, '{}');
  v_options constant jsonb[] := CASE WHEN coalesce(cardinality(start_many.options), 0) = 0 THEN '{"{}"}' ELSE start_many.options END;
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
           n.lane_key, n.lane_limit, n.trigger_source, n.trigger_ref, n.tags, n.new_input, n.max_attempts, n.created_at, n.run_at, n.deadline_at, n.deadline_millis
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
