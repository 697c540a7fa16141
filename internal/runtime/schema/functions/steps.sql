-- Memoised steps (S2). Every write locks the run's row under the claim first, so that a claim that has lost its run can
-- write nothing, parallel steps of one run get different numbers, and a transaction in doubt is waited out.

-- Locks the run of a claim and returns its life, the number of replays. Raises SL001 when the claim does not hold.
CREATE OR REPLACE FUNCTION claim_life(p_run bigint, p_worker bigint, p_token bigint) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
DECLARE
  v_life integer;
BEGIN
  SELECT r.replays INTO v_life
  FROM run r
  WHERE r.id = p_run AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, p_token)
  FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'run % is not running under worker % and token %', p_run, p_worker, p_token
      USING ERRCODE = 'SL001', HINT = 'Stop: somebody else may already run it, or it has ended.';
  END IF;
  RETURN v_life;
END $$;

-- What the run's steps have stored in this life, in the order of their numbers. Nothing is locked: a claim that has lost
-- its run meanwhile finds out with its next write. Index: unique (run, replay, seq).
CREATE OR REPLACE FUNCTION step_memos(p_run bigint, p_worker bigint, p_token bigint)
RETURNS TABLE (name text, status text, output jsonb, error_code text, attempts integer, seq integer, build text)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_life integer;
BEGIN
  SELECT r.replays INTO v_life
  FROM run r
  WHERE r.id = p_run AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, p_token);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'run % is not running under worker % and token %', p_run, p_worker, p_token
      USING ERRCODE = 'SL001', HINT = 'Stop: somebody else may already run it, or it has ended.';
  END IF;
  RETURN QUERY
  SELECT s.name, s.status, s.output, s.error_code, s.attempts, s.seq, s.build
  FROM step s
  WHERE s.run = p_run AND s.replay = v_life
  ORDER BY s.seq;
END $$;

-- What one step has stored, looked at under the run's lock: a transaction of this claim that is in doubt has ended by
-- then. No row when nothing is stored.
CREATE OR REPLACE FUNCTION step_find(p_run bigint, p_worker bigint, p_token bigint, p_name text)
RETURNS TABLE (status text, output jsonb, error_code text, attempts integer, seq integer, build text)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_life integer := claim_life(p_run, p_worker, p_token);
BEGIN
  RETURN QUERY
  SELECT s.status, s.output, s.error_code, s.attempts, s.seq, s.build
  FROM step s
  WHERE s.run = p_run AND s.replay = v_life AND s.name = p_name;
END $$;

-- Notes that a step is about to be executed, and returns what is stored. A completed one is left as it is: its output is
-- the step's result. Only steps with a retry policy of their own need this, so that a crash counts as an attempt.
CREATE OR REPLACE FUNCTION step_begin(
  p_run bigint, p_worker bigint, p_token bigint, p_name text, p_build text,
  OUT status text, OUT output jsonb, OUT error_code text, OUT attempts integer, OUT seq integer, OUT build text)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_life integer := claim_life(p_run, p_worker, p_token);
BEGIN
  INSERT INTO step AS s (run, replay, name, seq, status, attempts, token, build, started_at)
  VALUES (p_run, v_life, p_name, step_number(p_run, v_life), 'running', 1, p_token, p_build, clock_timestamp())
  ON CONFLICT (run, replay, name) DO UPDATE
  SET status = 'running', attempts = s.attempts + 1, token = p_token, build = p_build, finished_at = NULL
  WHERE s.status <> 'completed';
  SELECT s.status, s.output, s.error_code, s.attempts, s.seq, s.build
  INTO status, output, error_code, attempts, seq, build
  FROM step s
  WHERE s.run = p_run AND s.replay = v_life AND s.name = p_name;
END $$;

-- Writes how a step ended and returns what is stored then: a completed step is never overwritten. p_attempts is the number
-- of executions so far, so that a write whose reply was lost can be sent again. p_bound: the call stands in a transaction
-- of the handler, which may from now on idle only for a bounded time.
CREATE OR REPLACE FUNCTION step_end(
  p_run bigint, p_worker bigint, p_token bigint, p_name text, p_status text, p_output jsonb, p_code text, p_message text,
  p_build text, p_attempts integer, p_elapsed_ms bigint, p_bound boolean,
  OUT status text, OUT output jsonb, OUT error_code text, OUT attempts integer, OUT seq integer, OUT build text)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_life integer := claim_life(p_run, p_worker, p_token);
  v_now timestamptz := clock_timestamp();
BEGIN
  INSERT INTO step AS s (run, replay, name, seq, status, attempts, token, output, error_code, error, build, started_at, finished_at)
  VALUES (p_run, v_life, p_name, step_number(p_run, v_life), p_status, p_attempts, p_token, p_output, p_code, p_message,
          p_build, v_now - p_elapsed_ms * interval '1 millisecond', v_now)
  ON CONFLICT (run, replay, name) DO UPDATE
  SET status = p_status, attempts = greatest(s.attempts, p_attempts), token = p_token, output = p_output, error_code = p_code,
      error = p_message, build = p_build, finished_at = v_now
  WHERE s.status <> 'completed';
  IF p_bound AND NOT FOUND THEN
    RAISE EXCEPTION 'step "%" of run % is completed already', p_name, p_run
      USING ERRCODE = 'SL007', HINT = 'Roll back: its effects are committed.';
  END IF;
  SELECT s.status, s.output, s.error_code, s.attempts, s.seq, s.build
  INTO status, output, error_code, attempts, seq, build
  FROM step s
  WHERE s.run = p_run AND s.replay = v_life AND s.name = p_name;
  IF p_bound THEN
    PERFORM bound_idle(p_worker);
  END IF;
END $$;

-- The number of a run's next step. The caller holds the run's row. Index: unique (run, replay, seq).
CREATE OR REPLACE FUNCTION step_number(p_run bigint, p_life integer) RETURNS integer
LANGUAGE sql STABLE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$ SELECT coalesce(max(s.seq), 0) + 1 FROM step s WHERE s.run = p_run AND s.replay = p_life $$;
