-- Progress: what a handler reports about its run while it executes.

-- Keeps the newest report of a claim, at most 64 KiB of it. Fenced: whoever lost the claim changes nothing and gets SL001.
CREATE OR REPLACE FUNCTION progress(run bigint, worker bigint, token bigint, value jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
  IF octet_length(progress.value::text) > 65536 THEN
    RAISE EXCEPTION 'progress of run % has % bytes, want at most 65536', progress.run, octet_length(progress.value::text)
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Report a summary, and keep the rest in a table of your own.';
  END IF;
  PERFORM fence(progress.run, progress.worker, progress.token);
  INSERT INTO progress AS p (run, token, value, updated_at)
  VALUES (progress.run, progress.token, progress.value, clock_timestamp())
  ON CONFLICT (run) DO UPDATE
  SET token = excluded.token, value = excluded.value, updated_at = excluded.updated_at;
END $$;
