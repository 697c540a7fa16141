-- Limits of pools: how many runs at once, how many starts a second, and fairness between tenants.

-- Keeps pool_gate as the pool's tuning wants it. Claims never wait for this: they only read pool_gate, and a row of
-- pool_turn that is there already is not touched.
CREATE OR REPLACE FUNCTION pool_gate_follows() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
  v pool_gate;
BEGIN
  IF TG_OP = 'DELETE' THEN
    DELETE FROM pool_gate WHERE pool = OLD.name;
    DELETE FROM pool_turn WHERE pool = OLD.name;
    RETURN NULL;
  END IF;
  v.pool := NEW.name;
  v.max_running := coalesce((NEW.tuning ->> 'maxRunning')::integer, 0);
  v.starts_per_second := coalesce((NEW.tuning #>> '{startRate,perSecond}')::double precision, 0);
  v.burst := greatest(coalesce((NEW.tuning #>> '{startRate,burst}')::integer, 1), 1);
  v.fair := coalesce(NEW.tuning ->> 'fairness', 'None') = 'Tenant';
  IF v.max_running <= 0 AND v.starts_per_second <= 0 AND NOT v.fair THEN
    DELETE FROM pool_gate WHERE pool = NEW.name;
    RETURN NULL;
  END IF;
  INSERT INTO pool_turn (pool, tokens) VALUES (v.pool, v.burst) ON CONFLICT DO NOTHING;
  INSERT INTO pool_gate SELECT v.*
  ON CONFLICT (pool) DO UPDATE
  SET max_running = excluded.max_running, starts_per_second = excluded.starts_per_second, burst = excluded.burst, fair = excluded.fair
  WHERE pool_gate IS DISTINCT FROM excluded;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER pool_gate_follows
AFTER INSERT OR DELETE OR UPDATE OF tuning ON pool
FOR EACH ROW EXECUTE FUNCTION pool_gate_follows();

-- The tokens of a pool's bucket now.
CREATE OR REPLACE FUNCTION gate_tokens(p_tokens double precision, p_refilled_at timestamptz, p_rate double precision, p_burst integer)
RETURNS double precision
LANGUAGE sql VOLATILE
SET search_path FROM CURRENT
AS $$
  SELECT least(p_burst, p_tokens + p_rate * greatest(extract(epoch FROM clock_timestamp() - p_refilled_at), 0))
$$;

-- How many of the slots a claim may fill. The pool's turn is locked until the claim has committed, so that the count of
-- the next claim sees it: never more than max_running, and never more than the tokens. Somebody else's turn is not waited
-- for. retry_ms says that a limit has cut the claim, and when to ask again. Running is what receipts name and still runs
-- under them, of dead workers as well: of each receipt the first run that is still there says the pool.
CREATE OR REPLACE FUNCTION gate_open(p_pool text, p_slots integer, OUT slots integer, OUT retry_ms bigint)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
  v_max integer;
  v_rate double precision;
  v_burst integer;
  v_tokens double precision;
  v_running bigint;
BEGIN
  SELECT g.max_running, g.starts_per_second, g.burst, gate_tokens(t.tokens, t.refilled_at, g.starts_per_second, g.burst)
  INTO v_max, v_rate, v_burst, v_tokens
  FROM pool_turn t
  JOIN pool_gate g ON g.pool = t.pool
  WHERE t.pool = p_pool
  FOR UPDATE OF t SKIP LOCKED;
  IF NOT FOUND THEN
    slots := 0;
    retry_ms := 5;
    RETURN;
  END IF;
  slots := p_slots;
  IF v_max > 0 THEN
    SELECT count(*) INTO v_running
    FROM receipt c
    CROSS JOIN LATERAL unnest(c.ids, c.tokens) AS t (id, token)
    CROSS JOIN LATERAL (SELECT * FROM run x WHERE x.id = t.id OFFSET 0) AS r
    WHERE coalesce((SELECT f.pool FROM run f WHERE f.id = c.ids[1]), p_pool) = p_pool
      AND r.pool = p_pool
      AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', c.worker, t.token);
    IF v_max - v_running < slots THEN
      slots := greatest(v_max - v_running, 0);
      retry_ms := 1000;
    END IF;
  END IF;
  IF v_rate > 0 AND v_tokens < slots THEN
    slots := floor(greatest(v_tokens, 0));
    -- A tenth of a second's worth at once, so that a busy pool is not asked for each token.
    retry_ms := greatest(ceil(1000 * (least(p_slots, greatest(least(v_burst / 2, v_rate / 10), 1)) - v_tokens + slots) / v_rate), 1);
  END IF;
END $$;

-- Takes tokens out of a bucket that gate_open has locked.
CREATE OR REPLACE FUNCTION gate_spend(p_pool text, p_starts integer) RETURNS void
LANGUAGE sql VOLATILE
SET search_path FROM CURRENT
AS $$
  UPDATE pool_turn t
  SET tokens = gate_tokens(t.tokens, t.refilled_at, g.starts_per_second, g.burst) - p_starts, refilled_at = clock_timestamp()
  FROM pool_gate g
  WHERE t.pool = p_pool AND g.pool = p_pool
$$;
