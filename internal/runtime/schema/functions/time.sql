-- Time: promotion of due runs.

-- Moves runs of a pool that have become due, or have waited long enough, to ready, and says in how many milliseconds the
-- next one is due: 0 when more are due already, NULL when there is none. Index scheduled_due.
CREATE OR REPLACE FUNCTION promote(p_pool text, OUT moved integer, OUT next_ms bigint)
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
  v_waited integer;
  v_next bigint;
BEGIN
  WITH s AS MATERIALIZED (
    SELECT s.id
    FROM scheduled s
    WHERE s.pool = p_pool AND s.run_at <= v_now
    ORDER BY s.run_at, s.id
    LIMIT 5000
    FOR UPDATE SKIP LOCKED
  ),
  d AS (
    DELETE FROM scheduled
    WHERE id = ANY (ARRAY(SELECT id FROM s))
    RETURNING id, pool, job_type, run_at, priority, lane
  ),
  i AS (
    INSERT INTO ready (id, pool, job_type, vstart, lane, tenant)
    SELECT id, pool, job_type, vstart(run_at, priority), lane,
           (SELECT coalesce(r.tenant, '') FROM pool_gate g JOIN run r ON r.id = d.id WHERE g.pool = d.pool AND g.fair)
    FROM d
    ON CONFLICT DO NOTHING
    RETURNING id
  )
  SELECT count(*) INTO moved FROM i;
  SELECT w.moved, w.next_ms INTO v_waited, v_next FROM promote_waiting(p_pool) AS w;
  IF moved + v_waited > 0 THEN
    PERFORM wake(ARRAY[p_pool]);
  END IF;
  -- One that a caller has locked stays due: it must not make the timer spin. One that has become due since is for the next look.
  SELECT greatest((extract(epoch FROM s.run_at - clock_timestamp()) * 1000)::bigint, 1) INTO next_ms
  FROM scheduled s
  WHERE s.pool = p_pool AND s.run_at > v_now
  ORDER BY s.run_at
  LIMIT 1;
  IF moved = 5000 THEN
    next_ms := 0;
  END IF;
  moved := moved + v_waited;
  next_ms := least(next_ms, v_next);
END $$;
