-- What a worker does about its own lease: reconcile what it holds (S6), leave (S9).

-- Gives back what the database says this worker runs and the process does not hold, by run and token, and deletes
-- receipts in which nothing runs any more. The worker's row is locked FOR UPDATE, which waits out a claim in flight. After
-- that nothing is waited for, because the worker's next beat waits here: what is locked is met next time.
CREATE OR REPLACE FUNCTION reconcile(p_worker bigint, p_runs bigint[], p_tokens bigint[], OUT given_back integer)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_ids bigint[];
  v_tokens bigint[];
  v_lanes bigint[];
  v_pools text[];
  v_n integer;
BEGIN
  PERFORM FROM worker w WHERE w.id = p_worker FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'worker % has no lease any more', p_worker USING ERRCODE = 'SL001';
  END IF;
  SELECT coalesce(array_agg(x.id), '{}') INTO v_lanes
  FROM (
    SELECT l.id
    FROM lane l
    WHERE l.id IN (
      SELECT h.lane
      FROM receipt c
      CROSS JOIN LATERAL unnest(c.ids) AS t (id)
      CROSS JOIN LATERAL (SELECT x.lane FROM lane_hold x WHERE x.run = t.id OFFSET 0) AS h
      WHERE c.worker = p_worker)
    ORDER BY l.id
    FOR UPDATE SKIP LOCKED
  ) AS x;
  SELECT array_agg(t.id), array_agg(t.token) INTO v_ids, v_tokens
  FROM receipt c
  CROSS JOIN LATERAL unnest(c.ids, c.tokens) AS t (id, token)
  CROSS JOIN LATERAL (SELECT * FROM run x WHERE x.id = t.id OFFSET 0) AS r
  WHERE c.worker = p_worker
    AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, t.token)
    AND (r.lane IS NULL OR r.lane = ANY (v_lanes))
    AND NOT EXISTS (SELECT FROM unnest(p_runs, p_tokens) AS held (id, token) WHERE held.id = t.id AND held.token = t.token);
  given_back := 0;
  IF v_ids IS NOT NULL THEN
    v_n := cardinality(v_ids);
    SELECT cardinality(o.ids), o.pools INTO given_back, v_pools
    FROM settle_other(p_worker, v_ids, v_tokens, array_fill('given_back'::text, ARRAY[v_n]),
      array_fill('reconciled'::text, ARRAY[v_n]), array_fill('its worker does not know of the claim'::text, ARRAY[v_n]),
      array_fill(0::bigint, ARRAY[v_n]), array_fill(false, ARRAY[v_n])) AS o;
  END IF;
  -- A receipt stays while it names a hold that cannot be freed, because somebody has the lane. Receipts go before holds and
  -- notes: of a run that was busy above and ends from here on the receipt stays, for the next time.
  DELETE FROM receipt c
  WHERE c.worker = p_worker
    AND NOT EXISTS (
      SELECT FROM unnest(c.ids, c.tokens) AS t (id, token)
      CROSS JOIN LATERAL (SELECT * FROM run x WHERE x.id = t.id OFFSET 0) AS r
      WHERE (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', c.worker, t.token))
    AND NOT EXISTS (
      SELECT FROM unnest(c.ids, c.tokens) AS t (id, token)
      CROSS JOIN LATERAL (
        SELECT x.lane FROM lane_hold x WHERE x.run = t.id AND x.token = t.token AND x.worker = c.worker OFFSET 0) AS h
      WHERE h.lane <> ALL (v_lanes));
  -- Of a claim that is not held no handler executes, however its run has ended: a deadline may have done that (overdue).
  IF cardinality(v_lanes) > 0 THEN
    DELETE FROM lane_hold h
    WHERE h.lane = ANY (v_lanes) AND h.worker = p_worker
      AND NOT EXISTS (SELECT FROM unnest(p_runs, p_tokens) AS held (id, token) WHERE held.id = h.run AND held.token = h.token OFFSET 0)
      AND NOT EXISTS (
        SELECT FROM run r
        WHERE r.id = h.run AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, h.token)
        OFFSET 0);
    v_pools := v_pools || lane_wake(v_lanes);
  END IF;
  IF v_pools IS NOT NULL THEN
    PERFORM wake(v_pools);
  END IF;
  DELETE FROM completing c
  WHERE c.worker = p_worker
    AND NOT EXISTS (SELECT FROM unnest(p_runs, p_tokens) AS held (id, token) WHERE held.id = c.run AND held.token = c.token OFFSET 0);
END $$;

-- Removes a drained worker's lease, unless a receipt of it is still there. Lock first, then look: a claim in flight is
-- waited out.
CREATE OR REPLACE FUNCTION leave(p_worker bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
  PERFORM FROM worker w WHERE w.id = p_worker FOR UPDATE;
  IF NOT FOUND THEN
    RETURN true;
  END IF;
  IF EXISTS (SELECT FROM receipt c WHERE c.worker = p_worker) THEN
    RETURN false;
  END IF;
  DELETE FROM worker w WHERE w.id = p_worker;
  RETURN true;
END $$;
