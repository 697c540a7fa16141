-- Waiting without a slot: for a signal, for children, for a time.
--
-- A handler that must wait returns, its run is parked in waiting, and is executed again from its start when what it waits
-- for is there; its steps are memoised. Who parks and who wakes look for each other's row after having written their own,
-- and nobody waits for a lock: the two may still miss each other while neither has committed. Therefore workers look
-- again after their commit, and the sweep moves every waiting run whose condition already holds (S7).

-- Looks whether what the handler waits for is there, under the run's lock, and notes it as a step of that name: when it is,
-- the step is completed with the signal's payload or the children's statuses as output. p_signal and p_children NULL: a
-- time alone. No children: all that this life of the run has. p_millis counts from the first look; NULL is no limit. When it is over,
-- the step is completed, with the code 'timeout' unless the time is what was waited for. remaining_ms is what is left.
CREATE OR REPLACE FUNCTION wait_for(
  p_run bigint, p_worker bigint, p_token bigint, p_name text, p_signal text, p_children bigint[], p_millis bigint, p_build text,
  OUT done boolean, OUT output jsonb, OUT error_code text, OUT remaining_ms bigint)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_life integer := claim_life(p_run, p_worker, p_token);
  v_started timestamptz;
  v_stranger bigint;
BEGIN
  INSERT INTO step AS s (run, replay, name, seq, status, attempts, token, build, started_at)
  VALUES (p_run, v_life, p_name, step_number(p_run, v_life), 'running', 1, p_token, p_build, clock_timestamp())
  ON CONFLICT (run, replay, name) DO NOTHING;
  SELECT s.status = 'completed', s.output, s.error_code, s.started_at
  INTO done, output, error_code, v_started
  FROM step s
  WHERE s.run = p_run AND s.replay = v_life AND s.name = p_name;
  IF done THEN
    RETURN;
  END IF;

  IF p_signal IS NOT NULL THEN
    UPDATE signal g
    SET consumed_by = p_name
    WHERE g.id = (
      SELECT x.id
      FROM signal x
      WHERE x.run = p_run AND x.name = p_signal AND x.replay = v_life AND x.consumed_by IS NULL
      ORDER BY x.id
      LIMIT 1)
    RETURNING g.payload INTO output;
    done := FOUND;
  ELSIF p_children IS NOT NULL THEN
    SELECT k.id INTO v_stranger
    FROM unnest(p_children) AS k (id)
    WHERE NOT EXISTS (SELECT FROM run c WHERE c.id = k.id AND c.parent = p_run)
    LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'run % is no child of run %', v_stranger, p_run USING ERRCODE = 'invalid_parameter_value';
    END IF;
    done := children_ended(p_run, p_children);
    IF done THEN
      SELECT coalesce(jsonb_agg(jsonb_build_object('run', c.id, 'status', c.status) ORDER BY c.id), '[]') INTO output
      FROM run p
      JOIN run c ON c.parent = p.id
      WHERE p.id = p_run
        AND CASE cardinality(p_children)
              WHEN 0 THEN c.spawn_replay = p.replays OR (c.spawn_replay >= p.kept_replay AND c.status = 'completed')
              ELSE c.id = ANY (p_children) END;
    END IF;
  END IF;
  IF NOT done THEN
    remaining_ms := ceil(extract(epoch FROM v_started - clock_timestamp()) * 1000)::bigint + p_millis;
    done := coalesce(remaining_ms <= 0, false);
    IF done AND (p_signal IS NOT NULL OR p_children IS NOT NULL) THEN
      error_code := 'timeout';
    END IF;
  END IF;
  IF done THEN
    UPDATE step s
    SET status = 'completed', output = wait_for.output, error_code = wait_for.error_code, token = p_token, finished_at = clock_timestamp()
    WHERE s.run = p_run AND s.replay = v_life AND s.name = p_name;
  END IF;
END $$;

-- Whether all the named children of a run have ended, or all that its present life has when none is named. The newest is
-- looked at first, because it is the likeliest to be alive. Indexes: run_parent backwards, the key of run.
CREATE OR REPLACE FUNCTION children_ended(p_run bigint, p_children bigint[]) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
  IF coalesce(cardinality(p_children), 0) > 0 THEN
    PERFORM
    FROM (SELECT k.id FROM unnest(p_children) AS k (id) ORDER BY k.id DESC) AS k
    JOIN run c ON c.id = k.id
    WHERE c.status IN ('pending', 'running')
    LIMIT 1;
    RETURN NOT FOUND;
  END IF;
  PERFORM
  FROM run c
  WHERE c.parent = p_run AND c.status IN ('pending', 'running') AND c.spawn_replay = (SELECT p.replays FROM run p WHERE p.id = p_run)
  ORDER BY c.id DESC
  LIMIT 1;
  RETURN NOT FOUND;
END $$;

-- Moves those of the given waiting runs to ready whose condition holds, and ends the closing ones whose children have
-- ended. Rows that somebody holds are passed over. Returns the pools in which something became due. OFFSET 0: the conditions
-- are looked up run by run, also in a plan that was made for small tables.
CREATE OR REPLACE FUNCTION wake_waiting(p_runs bigint[]) RETURNS text[]
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
  v_ready bigint[];
  v_closing bigint[];
  v_ended bigint[];
  v_pools text[] := '{}';
BEGIN
  SELECT array_agg(x.id) FILTER (WHERE x.kind <> 'closing'), array_agg(x.id) FILTER (WHERE x.kind = 'closing')
  INTO v_ready, v_closing
  FROM (
    SELECT w.id, w.kind
    FROM waiting w
    WHERE w.id = ANY (p_runs)
      AND (coalesce(w.wake_at <= clock_timestamp(), false)
        OR CASE w.kind
             WHEN 'signal' THEN EXISTS (
               SELECT
               FROM signal g
               JOIN run r ON r.id = g.run AND r.replays = g.replay
               WHERE g.run = w.id AND g.name = w.signal AND g.consumed_by IS NULL
               OFFSET 0)
             WHEN 'children' THEN children_ended(w.id, w.children)
             WHEN 'closing' THEN NOT EXISTS (
               SELECT
               FROM run c
               WHERE c.parent = w.id AND c.close_policy = 'cancel' AND c.status IN ('pending', 'running')
               OFFSET 0)
             ELSE false END)
    ORDER BY w.id
    FOR UPDATE SKIP LOCKED
  ) AS x;
  IF v_ready IS NOT NULL THEN
    WITH d AS (
      DELETE FROM waiting WHERE id = ANY (v_ready) RETURNING id, pool, job_type, vstart, lane
    ),
    i AS (
      INSERT INTO ready (id, pool, job_type, vstart, lane, tenant)
      SELECT d.id, d.pool, d.job_type, d.vstart, d.lane,
             (SELECT coalesce(r.tenant, '') FROM pool_gate g JOIN run r ON r.id = d.id WHERE g.pool = d.pool AND g.fair)
      FROM d
      ON CONFLICT DO NOTHING
      RETURNING pool
    )
    SELECT coalesce(array_agg(DISTINCT pool), '{}') INTO v_pools FROM i;
  END IF;
  IF v_closing IS NOT NULL THEN
    WITH l AS MATERIALIZED (
      SELECT r.id, w.end_status, w.end_code, w.end_error
      FROM waiting w
      JOIN run r ON r.id = w.id
      WHERE w.id = ANY (v_closing) AND r.status = 'pending'
      ORDER BY r.id
      FOR NO KEY UPDATE OF r SKIP LOCKED
    ),
    u AS (
      UPDATE run r
      SET status = l.end_status, finished_at = clock_timestamp(), error_code = l.end_code, error = l.end_error
      FROM l
      WHERE r.id = l.id
      RETURNING r.id
    ),
    d AS (
      DELETE FROM waiting w USING u WHERE w.id = u.id
    )
    SELECT array_agg(id) INTO v_ended FROM u;
    IF v_ended IS NOT NULL THEN
      -- Their children got theirs when they began to close, or were to be left alone.
      v_pools := v_pools || conclude(v_ended);
    END IF;
  END IF;
  RETURN v_pools;
END $$;

-- Wakes the waiting parents of runs that have ended, and returns the pools in which something became due.
CREATE OR REPLACE FUNCTION wake_parents(p_runs bigint[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  v_parents bigint[];
BEGIN
  -- By the key of run: a condition on parent would invite to read all of run_parent.
  SELECT array_agg(DISTINCT r.parent) FILTER (WHERE r.parent IS NOT NULL) INTO v_parents
  FROM run r
  WHERE r.id = ANY (p_runs);
  IF v_parents IS NULL THEN
    RETURN '{}';
  END IF;
  RETURN wake_waiting(v_parents);
END $$;

-- What a worker calls after it has committed that runs were parked or that children ended: two that missed each other
-- see each other now.
CREATE OR REPLACE FUNCTION look_again(p_runs bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
  PERFORM wake(wake_waiting(p_runs));
END $$;

-- Moves runs of a pool whose waiting time is over to ready, and says in how many milliseconds the next one's is: 0 when
-- more are over already, NULL when none waits for a time. Index waiting_due.
CREATE OR REPLACE FUNCTION promote_waiting(p_pool text, OUT moved integer, OUT next_ms bigint)
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
BEGIN
  WITH s AS MATERIALIZED (
    SELECT w.id
    FROM waiting w
    WHERE w.pool = p_pool AND w.wake_at <= v_now
    ORDER BY w.wake_at
    LIMIT 5000
    FOR UPDATE SKIP LOCKED
  ),
  d AS (
    DELETE FROM waiting WHERE id = ANY (ARRAY(SELECT id FROM s)) RETURNING id, pool, job_type, vstart, lane
  ),
  i AS (
    INSERT INTO ready (id, pool, job_type, vstart, lane, tenant)
    SELECT d.id, d.pool, d.job_type, d.vstart, d.lane,
           (SELECT coalesce(r.tenant, '') FROM pool_gate g JOIN run r ON r.id = d.id WHERE g.pool = d.pool AND g.fair)
    FROM d
    ON CONFLICT DO NOTHING
    RETURNING id
  )
  SELECT count(*) INTO moved FROM i;
  SELECT greatest((extract(epoch FROM w.wake_at - clock_timestamp()) * 1000)::bigint, 1) INTO next_ms
  FROM waiting w
  WHERE w.pool = p_pool AND w.wake_at > v_now
  ORDER BY w.wake_at
  LIMIT 1;
  IF moved = 5000 THEN
    next_ms := 0;
  END IF;
END $$;

-- Moves every waiting run of the next stretch whose condition already holds (S7). Of sweeps at once only one does this.
CREATE OR REPLACE FUNCTION sweep_waiting(OUT moved integer, OUT pools text[])
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
  v_runs bigint[];
BEGIN
  moved := 0;
  pools := '{}';
  SELECT p.waiting INTO v_from FROM audit_position p FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT array_agg(x.id) INTO v_runs FROM (SELECT w.id FROM waiting w WHERE w.id > v_from ORDER BY w.id LIMIT 5000) AS x;
  IF v_runs IS NULL AND v_from = 0 THEN
    RETURN;
  END IF;
  -- The next sweep goes on, or begins anew after the last row.
  UPDATE audit_position SET waiting = CASE WHEN cardinality(v_runs) = 5000 THEN v_runs[5000] ELSE 0 END;
  pools := wake_waiting(v_runs);
  SELECT coalesce(cardinality(v_runs), 0) - count(*) INTO moved FROM waiting w WHERE w.id = ANY (v_runs);
END $$;

-- Leaves a signal for a run and returns 'accepted', 'ended' when the run takes none any more, or 'unknown'. It is kept
-- until the run waits for it, each satisfies one wait, in order of arrival, and it belongs to the run's present life. Called
-- by anybody, inside their own, possibly endless, transactions (S10): a running run's row is never locked, a waiting one is
-- moved by its side row alone, and nothing is waited for. Only a run of the given tenant is known; NULL is of none.
CREATE OR REPLACE FUNCTION signal(run bigint, name text, payload jsonb DEFAULT 'null', tenant text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_run constant bigint := signal.run;
  v_status text;
  v_life integer;
BEGIN
  IF coalesce(signal.name, '') = '' OR octet_length(signal.name) > 200 THEN
    RAISE EXCEPTION 'name of the signal has % bytes, want 1 to 200', coalesce(octet_length(signal.name), 0)
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM check_payload('payload', signal.payload);
  SELECT r.status, r.replays INTO v_status, v_life
  FROM run r
  WHERE r.id = v_run AND r.tenant IS NOT DISTINCT FROM signal.tenant;
  IF NOT FOUND THEN
    RETURN 'unknown';
  END IF;
  IF v_status NOT IN ('pending', 'running') OR EXISTS (SELECT FROM waiting w WHERE w.id = v_run AND w.kind = 'closing') THEN
    RETURN 'ended';
  END IF;
  INSERT INTO signal (run, replay, name, payload) VALUES (v_run, v_life, signal.name, coalesce(signal.payload, 'null'));
  PERFORM wake(wake_waiting(ARRAY[v_run]));
  RETURN 'accepted';
END $$;
