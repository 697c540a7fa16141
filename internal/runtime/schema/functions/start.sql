-- Start: called by anybody, inside their own, possibly endless, transactions (S10). A start waits for callers only: for
-- one that holds the same idempotency or dedupe key, or, when it does not queue, the same lane.

-- Writes a new run, its side row and its deadline. False, and nothing written, when a unique key of it is taken.
CREATE OR REPLACE FUNCTION start_insert(p run) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  v_fair boolean;
  v_wakes boolean;
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
    SELECT coalesce(g.fair, false), coalesce(x.tuning ->> 'wakeMode', '') <> 'Poll' INTO v_fair, v_wakes
    FROM pool x
    LEFT JOIN pool_gate g ON g.pool = x.name
    WHERE x.name = p.pool;
    INSERT INTO ready (id, pool, job_type, tenant, vstart, lane)
    VALUES (p.id, p.pool, p.job_type, CASE WHEN v_fair THEN coalesce(p.tenant, '') END, vstart(p.run_at, p.priority), p.lane);
    IF v_wakes THEN
      PERFORM pg_notify(current_schema() || '_wake', p.pool);
    END IF;
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
SET enable_seqscan = off
AS $$
DECLARE
  v_now constant timestamptz := clock_timestamp();
  v_run bigint;
  v_expires timestamptz;
  v_free boolean;
BEGIN
  FOR i IN 1..100 LOOP
    SELECT d.run, d.expires_at,
           d.expires_at <= v_now
             OR coalesce((SELECT r.status IN ('failed', 'cancelled', 'timed_out', 'lost') FROM run r WHERE r.id = d.run), true)
    INTO v_run, v_expires, v_free
    FROM dedupe d
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
  CROSS JOIN LATERAL (
    SELECT x.id
    FROM run x
    WHERE x.id = l.id AND x.status IN ('pending', 'running') AND x.id <> p.id
      -- Two keys may have one hash.
      AND (x.tenant, x.lane_namespace, x.lane_key) IS NOT DISTINCT FROM (p.tenant, p.lane_namespace, p.lane_key)
    OFFSET 0 -- never joined the other way round
  ) AS r
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
SET enable_seqscan = off
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
SET plan_cache_mode = force_generic_plan
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
      run := start_dedupe(v, (start.options ->> 'dedupe_window_ms')::numeric::bigint);
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
