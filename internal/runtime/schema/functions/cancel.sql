-- Cancel: called by anybody, inside their own, possibly endless, transactions (S10).

-- Ends a pending run, or leaves a request about a running one: 'cancelled', 'requested', 'ended' or 'unknown'. The side
-- row is taken first, which makes claims pass the run over, then the run; when the row has moved meanwhile, all four
-- places are looked through again. A running run's row is never locked.
CREATE OR REPLACE FUNCTION cancel(run bigint, requested_by text, reason text) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
  v_run constant bigint := cancel.run;
  v_found boolean;
  v_status text;
  v_replays integer;
BEGIN
  FOR i IN 1..100 LOOP
    PERFORM FROM ready x WHERE x.id = v_run FOR UPDATE;
    v_found := FOUND;
    IF NOT v_found THEN
      PERFORM FROM scheduled x WHERE x.id = v_run FOR UPDATE;
      v_found := FOUND;
    END IF;
    IF NOT v_found THEN
      PERFORM FROM blocked x WHERE x.id = v_run FOR UPDATE;
      v_found := FOUND;
    END IF;
    IF NOT v_found THEN
      PERFORM FROM waiting x WHERE x.id = v_run FOR UPDATE;
      v_found := FOUND;
    END IF;
    IF v_found THEN
      UPDATE run r
      SET status = 'cancelled', finished_at = clock_timestamp(), error_code = 'cancelled', error = cancel.reason
      WHERE r.id = v_run AND r.status = 'pending';
      IF FOUND THEN
        DELETE FROM ready x WHERE x.id = v_run;
        DELETE FROM scheduled x WHERE x.id = v_run;
        DELETE FROM blocked x WHERE x.id = v_run;
        DELETE FROM waiting x WHERE x.id = v_run;
        DELETE FROM lane_hold h WHERE h.run = v_run AND h.worker IS NULL;
        PERFORM wake(closed(ARRAY[v_run]));
        RETURN 'cancelled';
      END IF;
    END IF;
    SELECT r.status, r.replays INTO v_status, v_replays FROM run r WHERE r.id = v_run;
    IF NOT FOUND THEN
      RETURN 'unknown';
    END IF;
    EXIT WHEN v_status = 'running';
    IF v_status <> 'pending' THEN
      RETURN 'ended';
    END IF;
  END LOOP;
  -- Running, or in no place: the worker sees the request with its beat, and the sweep applies it to a pending run.
  INSERT INTO cancel_request (run, replay, requested_by, reason)
  VALUES (v_run, v_replays, coalesce(cancel.requested_by, ''), coalesce(cancel.reason, ''));
  RETURN 'requested';
END $$;
