-- Replay: called by anybody, inside their own, possibly endless, transactions (S10).

-- Gives an ended run another life, and returns its number. mode 'scratch' forgets the steps and children of the lives
-- before, 'last_step' keeps the completed ones. Attempts, lease losses and the deadline begin anew; how the life before ended
-- stands in attempt. Raises SL006 when there is no such run, SL005 when it has not ended, or its handler, which completed it
-- in a transaction of its own, may still execute, and SL003 when the run's lane or dedupe key is taken, as start would.
-- Options:
--   tenant
CREATE OR REPLACE FUNCTION replay(run bigint, mode text DEFAULT 'scratch', options jsonb DEFAULT '{}') RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
DECLARE
  v_tenant text;
  v run;
BEGIN
  PERFORM start_known(coalesce(replay.options, '{}'), '{tenant}');
  v_tenant := start_text('tenant', replay.options -> 'tenant');
  IF coalesce(replay.mode, '') NOT IN ('scratch', 'last_step') THEN
    RAISE EXCEPTION 'mode is "%", want scratch or last_step', replay.mode USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT * INTO v FROM run r WHERE r.id = replay.run AND r.tenant IS NOT DISTINCT FROM v_tenant;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no run %', replay.run USING ERRCODE = 'SL006';
  END IF;
  IF v.status IN ('pending', 'running') THEN
    RAISE EXCEPTION 'run % is %, and can be replayed only when it has ended', v.id, v.status USING ERRCODE = 'SL005';
  END IF;
  PERFORM replay_admit(v);
  PERFORM replay_keep(v, replay.mode);
  v.run_at := clock_timestamp();
  -- The guard decides between two replays, and looks at the handler after whoever held the row.
  UPDATE run r
  SET status = 'pending', replays = r.replays + 1, kept_replay = CASE replay.mode WHEN 'scratch' THEN r.replays + 1 ELSE r.kept_replay END,
      attempts = 0, lease_losses = 0, claimed_by = NULL, claimed_at = NULL, finished_at = NULL, output = NULL, error_code = NULL,
      error = NULL, run_at = v.run_at, deadline_at = v.run_at + r.deadline_millis * interval '1 millisecond'
  WHERE r.id = v.id AND r.status = v.status AND r.replays = v.replays
    AND NOT EXISTS (SELECT FROM completing c WHERE c.run = r.id)
  RETURNING * INTO v;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'run % is being replayed by somebody else, or its handler may still execute; try again', replay.run
      USING ERRCODE = 'SL005';
  END IF;
  INSERT INTO ready (id, pool, job_type, tenant, vstart, lane)
  VALUES (v.id, v.pool, v.job_type, (SELECT coalesce(v.tenant, '') FROM pool_gate g WHERE g.pool = v.pool AND g.fair),
          vstart(v.run_at, v.priority), v.lane);
  DELETE FROM deadline d WHERE d.run = v.id;
  IF v.deadline_at IS NOT NULL THEN
    INSERT INTO deadline (run, at) VALUES (v.id, v.deadline_at);
  END IF;
  DELETE FROM progress p WHERE p.run = v.id;
  PERFORM wake(ARRAY[v.pool]);
  RETURN v.replays;
END $$;

-- The checks of start once more, for a run that has its place already.
CREATE OR REPLACE FUNCTION replay_admit(p run) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
  IF p.dedupe_key IS NOT NULL THEN
    PERFORM replay_dedupe(p);
  END IF;
  IF p.collision <> 'queue' THEN
    PERFORM start_collide(p);
  END IF;
END $$;

-- Takes the run's dedupe key again, as long as its window lasts, also from a later run that has ended without having
-- completed. The row is always moved, if by nothing that counts: a start which has found the key free looks again.
CREATE OR REPLACE FUNCTION replay_dedupe(p run) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
DECLARE
  v_run bigint;
  v_expires timestamptz;
  v_live boolean;
BEGIN
  FOR i IN 1..100 LOOP
    SELECT d.run, d.expires_at,
           d.run <> p.id AND coalesce((SELECT r.status IN ('pending', 'running', 'completed') FROM run r WHERE r.id = d.run), false)
    INTO v_run, v_expires, v_live
    FROM dedupe d
    WHERE d.tenant = coalesce(p.tenant, '') AND d.job_type = p.job_type AND d.key = p.dedupe_key AND d.expires_at > clock_timestamp();
    IF NOT FOUND THEN
      RETURN;
    END IF;
    IF v_live THEN
      RAISE EXCEPTION 'dedupe key "%" of job type "%" is taken by run %', p.dedupe_key, p.job_type, v_run
        USING ERRCODE = 'SL003', DETAIL = v_run::text;
    END IF;
    UPDATE dedupe d
    SET run = p.id, expires_at = v_expires + interval '1 microsecond'
    WHERE d.tenant = coalesce(p.tenant, '') AND d.job_type = p.job_type AND d.key = p.dedupe_key
      AND d.run = v_run AND d.expires_at = v_expires;
    IF FOUND THEN
      RETURN;
    END IF;
  END LOOP;
  RAISE EXCEPTION 'dedupe key "%" of job type "%" changes hands all the time', p.dedupe_key, p.job_type
    USING ERRCODE = 'serialization_failure';
END $$;

-- Puts the life that has ended away: how it ended, unless an attempt says so already, and the steps that the next one
-- keeps. A life that ended without a claim has the number of no claim, below zero.
CREATE OR REPLACE FUNCTION replay_keep(p run, p_mode text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
DECLARE
  v_claimed constant boolean := p.settled_token = p.claim_token AND p.claimed_by IS NOT NULL;
BEGIN
  INSERT INTO attempt (run, number, replay, worker, pod, outcome, output, error_code, error, started_at, finished_at)
  SELECT p.id, CASE WHEN v_claimed THEN p.claim_token ELSE -1 - p.replays END, p.replays, coalesce(p.claimed_by, 0),
         coalesce((SELECT w.pod FROM worker w WHERE w.id = p.claimed_by), ''), p.status, p.output, p.error_code, p.error,
         coalesce(p.claimed_at, p.finished_at), p.finished_at
  WHERE NOT EXISTS (SELECT FROM attempt a WHERE a.run = p.id AND a.number = p.claim_token AND a.outcome = p.status)
  ON CONFLICT DO NOTHING;
  IF p_mode = 'last_step' THEN
    INSERT INTO step (run, replay, name, seq, status, attempts, token, output, error_code, build, started_at, finished_at)
    SELECT s.run, p.replays + 1, s.name, s.seq, s.status, s.attempts, s.token, s.output, s.error_code, s.build, s.started_at, s.finished_at
    FROM step s
    WHERE s.run = p.id AND s.replay = p.replays AND s.status = 'completed'
    ON CONFLICT DO NOTHING;
  END IF;
END $$;
