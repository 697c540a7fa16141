-- Trees of runs: what becomes of children when their parent ends.

-- Called for runs that have ended without having completed, by whatever ended them. Returns the pools in which something
-- became due.
CREATE OR REPLACE FUNCTION closed(p_runs bigint[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
  RETURN wake_parents(p_runs);
END $$;
