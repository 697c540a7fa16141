-- Fence and complete (S2, S10): called by handlers, inside their own transactions.

CREATE OR REPLACE FUNCTION fence(run bigint, worker bigint, token bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
  PERFORM FROM run r
  WHERE r.id = fence.run
    AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', fence.worker, fence.token)
  FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'run % is not running under worker % and token %', fence.run, fence.worker, fence.token
      USING ERRCODE = 'SL001', HINT = 'Roll back: somebody else may already run it.';
  END IF;
  PERFORM bound_idle(fence.worker);
END $$;

-- Ends the run inside the caller's transaction. The token names the claim: it grows with every claim of the run. The
-- lane stays held until the handler has stopped, and so long the run cannot be replayed: its worker takes the row of
-- completing away, or the sweep when the worker is dead.
CREATE OR REPLACE FUNCTION complete(run bigint, token bigint, output jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_worker bigint;
BEGIN
  PERFORM check_payload('output', complete.output);
  UPDATE run r
  SET status = 'completed', finished_at = clock_timestamp(), attempts = r.attempts + 1, output = complete.output,
      error = NULL, error_code = NULL, settled_token = r.claim_token
  WHERE r.id = complete.run AND (r.status, r.claim_token) IS NOT DISTINCT FROM ('running', complete.token)
  RETURNING r.claimed_by INTO v_worker;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'run % is not running under token %', complete.run, complete.token
      USING ERRCODE = 'SL001', HINT = 'Roll back: somebody else may already run it, or it has ended.';
  END IF;
  INSERT INTO completing (run, token, worker)
  VALUES (complete.run, complete.token, v_worker)
  ON CONFLICT (run) DO UPDATE SET token = excluded.token, worker = excluded.worker;
  PERFORM bound_idle(v_worker);
END $$;
