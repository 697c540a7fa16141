-- Spawn: called by handlers, on any connection or inside their own transactions (S2, S10).

-- Enqueues a child of a running run under its claim's token, and returns it; created is false when this life of the parent
-- has a child with that key already. The child has the tenant of its parent. A replay of the parent that kept what had been
-- completed keeps the completed children of the lives before it. Raises SL001 when the claim does not hold, SL004 when the
-- run is being cancelled: no child is born after that. Options:
--   pool, priority, delay_ms, lane, lane_namespace, lane_limit, collision, scope, max_attempts, deadline_ms, tags,
--   close_policy (terminate, cancel, abandon)
CREATE OR REPLACE FUNCTION spawn(
  run bigint, token bigint, key text, job_type text, input jsonb DEFAULT '{}', options jsonb DEFAULT '{}', OUT child bigint, OUT created boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
DECLARE
  v_parent run;
  v run;
  v_type text;
  v_by text;
BEGIN
  IF coalesce(spawn.key, '') = '' OR octet_length(spawn.key) > 512 THEN
    RAISE EXCEPTION 'key of a child has % bytes, want 1 to 512', octet_length(coalesce(spawn.key, '')) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT * INTO v_parent
  FROM run r
  WHERE r.id = spawn.run AND (r.status, r.claim_token) IS NOT DISTINCT FROM ('running', spawn.token)
  FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'run % is not running under token %', spawn.run, spawn.token
      USING ERRCODE = 'SL001', HINT = 'Roll back: somebody else may already run it, or it has ended.';
  END IF;
  PERFORM bound_idle(v_parent.claimed_by);

  created := false;
  SELECT c.id, c.job_type INTO child, v_type
  FROM run c
  WHERE c.parent = v_parent.id AND c.spawn_key = spawn.key
    AND (c.spawn_replay = v_parent.replays OR (c.spawn_replay >= v_parent.kept_replay AND c.status = 'completed'))
  ORDER BY c.spawn_replay DESC
  LIMIT 1;
  IF FOUND THEN
    IF v_type <> spawn.job_type THEN
      RAISE EXCEPTION 'child "%" of run % is run % of job type "%", not one of "%"', spawn.key, v_parent.id, child, v_type, spawn.job_type
        USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN;
  END IF;
  SELECT q.requested_by INTO v_by FROM cancel_request q WHERE q.run = v_parent.id AND q.replay = v_parent.replays ORDER BY q.created_at LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'run % is being cancelled, as "%" asked for: it starts no child any more', v_parent.id, v_by
      USING ERRCODE = 'SL004';
  END IF;

  v := start_parse(spawn.job_type, spawn.options, true);
  v.input := coalesce(spawn.input, '{}');
  PERFORM check_payload('input', v.input);
  v.id := nextval('run_id_seq');
  v.parent := v_parent.id;
  v.root := v_parent.root;
  v.spawn_key := spawn.key;
  v.spawn_replay := v_parent.replays;
  v.trigger_ref := v_parent.id::text;
  v.tenant := v_parent.tenant;
  IF v.lane_key IS NOT NULL THEN
    v.lane := lane_id(v.tenant, v.lane_namespace, v.lane_key);
  END IF;
  IF v.collision <> 'queue' THEN
    PERFORM start_collide(v);
  END IF;
  created := start_insert(v);
  child := v.id;
END $$;
