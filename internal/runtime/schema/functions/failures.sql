-- What failed lately.

-- Notes those of the runs that have failed, timed out or were lost for good: a run that is closing has not ended yet.
CREATE OR REPLACE FUNCTION note_failures(p_runs bigint[]) RETURNS void
LANGUAGE sql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
  INSERT INTO failure (run, replay, pool, tenant, finished_at)
  SELECT r.id, r.replays, r.pool, r.tenant, r.finished_at
  FROM run r
  WHERE r.id = ANY (p_runs) AND r.status IN ('failed', 'timed_out', 'lost')
  ON CONFLICT DO NOTHING
$$;
