-- Fairness between the tenants of a pool. ready.tenant is filled for runs of fair pools only, '' for a run without a
-- tenant. Runs that stood in ready before their pool became fair have none: they are one group more, in order, as far as
-- they stand among the first rows.

-- Up to p_limit tenants that have something ready, in order, after p_after; NULL is before the first. Indexes ready_tenant
-- and ready_tenant_laned, one step a tenant and type, however many runs each has.
CREATE OR REPLACE FUNCTION fair_tenants(p_pool text, p_types text[], p_after text, p_limit integer) RETURNS text[]
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
  v_tenants text[] := '{}';
BEGIN
  IF p_after IS NULL AND EXISTS (
    SELECT FROM unnest(p_types) AS n (name)
    CROSS JOIN LATERAL (
      (SELECT FROM ready r WHERE r.pool = p_pool AND r.job_type = n.name AND r.tenant = '' AND r.lane IS NULL LIMIT 1)
      UNION ALL
      (SELECT FROM ready r WHERE r.pool = p_pool AND r.job_type = n.name AND r.tenant = '' AND r.lane IS NOT NULL LIMIT 1)
    ) AS x)
  THEN
    v_tenants := '{""}';
  END IF;
  RETURN v_tenants || (
    WITH RECURSIVE t (tenant, n) AS (
      SELECT coalesce(p_after, ''), cardinality(v_tenants)
      UNION ALL
      SELECT (
        SELECT min(x.tenant)
        FROM unnest(p_types) AS y (name)
        CROSS JOIN LATERAL (
          (SELECT r.tenant FROM ready r
           WHERE r.pool = p_pool AND r.job_type = y.name AND r.tenant > t.tenant AND r.lane IS NULL
           ORDER BY r.tenant LIMIT 1)
          UNION ALL
          (SELECT r.tenant FROM ready r
           WHERE r.pool = p_pool AND r.job_type = y.name AND r.tenant > t.tenant AND r.lane IS NOT NULL
           ORDER BY r.tenant LIMIT 1)
        ) AS x), t.n + 1
      FROM t
      WHERE t.tenant IS NOT NULL AND t.n < p_limit
    )
    SELECT coalesce(array_agg(t.tenant ORDER BY t.n), '{}') FROM t WHERE t.n > cardinality(v_tenants) AND t.tenant IS NOT NULL);
END $$;

-- The next p_limit tenants whose turn it is: those after the one served last, and from the first again up to that one.
CREATE OR REPLACE FUNCTION fair_turn(p_pool text, p_types text[], p_last text, p_limit integer) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_tenants text[] := fair_tenants(p_pool, p_types, p_last, p_limit);
BEGIN
  IF p_last IS NULL OR cardinality(v_tenants) >= p_limit THEN
    RETURN v_tenants;
  END IF;
  RETURN v_tenants || ARRAY(
    SELECT x.tenant
    FROM unnest(fair_tenants(p_pool, p_types, NULL, p_limit - cardinality(v_tenants))) WITH ORDINALITY AS x (tenant, n)
    WHERE x.tenant <= p_last
    ORDER BY x.n);
END $$;

-- Takes up to p_quota runs without a lane of each of the tenants out of ready, in order. Index ready_tenant, one ordered
-- scan a tenant and type.
CREATE OR REPLACE FUNCTION fair_pick(p_pool text, p_types text[], p_tenants text[], p_quota integer, OUT ids bigint[], OUT tenants text[])
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
  WITH c AS MATERIALIZED (
    SELECT x.tid
    FROM unnest(p_tenants) AS t (tenant)
    CROSS JOIN LATERAL (
      SELECT y.tid
      FROM unnest(p_types) AS n (name)
      CROSS JOIN LATERAL (
        SELECT r.ctid AS tid, r.vstart, r.id
        FROM ready r
        WHERE r.pool = p_pool AND r.job_type = n.name AND r.tenant = t.tenant AND r.lane IS NULL
        ORDER BY r.vstart, r.id
        LIMIT p_quota
        FOR UPDATE SKIP LOCKED
      ) AS y
      ORDER BY y.vstart, y.id
      LIMIT p_quota
    ) AS x
  ),
  d AS (
    DELETE FROM ready WHERE ctid = ANY (ARRAY(SELECT tid FROM c)) RETURNING id, tenant
  )
  SELECT coalesce(array_agg(d.id), '{}'), coalesce(array_agg(d.tenant), '{}') INTO ids, tenants FROM d;
END $$;

-- Whether runs that came before their pool was fair stand among the first rows. Indexes ready_free, ready_laned.
CREATE OR REPLACE FUNCTION fair_has_old(p_pool text, p_types text[], p_slots integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
  RETURN EXISTS (
    SELECT FROM unnest(p_types) AS n (name)
    CROSS JOIN LATERAL (
      (SELECT r.tenant FROM ready r
       WHERE r.pool = p_pool AND r.job_type = n.name AND r.lane IS NULL
       ORDER BY r.vstart, r.id LIMIT p_slots)
      UNION ALL
      (SELECT r.tenant FROM ready r
       WHERE r.pool = p_pool AND r.job_type = n.name AND r.lane IS NOT NULL
       ORDER BY r.vstart, r.id LIMIT p_slots)
    ) AS x
    WHERE x.tenant IS NULL);
END $$;

-- The same as fair_pick for runs that came before their pool was fair, as far as they stand among the first rows. Index ready_free.
CREATE OR REPLACE FUNCTION fair_pick_old(p_pool text, p_types text[], p_quota integer) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  v_ids bigint[];
BEGIN
  WITH c AS MATERIALIZED (
    SELECT r.id
    FROM (
      SELECT x.id
      FROM unnest(p_types) AS n (name)
      CROSS JOIN LATERAL (
        SELECT r.id, r.vstart, r.tenant
        FROM ready r
        WHERE r.pool = p_pool AND r.job_type = n.name AND r.lane IS NULL
        ORDER BY r.vstart, r.id
        LIMIT p_quota + 64
      ) AS x
      WHERE x.tenant IS NULL
      ORDER BY x.vstart, x.id
    ) AS f
    JOIN ready r ON r.id = f.id
    LIMIT p_quota
    FOR UPDATE OF r SKIP LOCKED
  ),
  d AS (
    DELETE FROM ready WHERE id = ANY (ARRAY(SELECT id FROM c)) RETURNING id
  )
  SELECT coalesce(array_agg(id), '{}') INTO v_ids FROM d;
  RETURN v_ids;
END $$;

-- Takes up to p_slots runs by turns, from the tenant after the one served last, an equal share each as far as they have
-- runs: a tenant waits for one turn of each other tenant, however many runs those have. ids are taken out of ready, laned
-- are locked with their lanes. more says that slots are left though there may be something for them. The turn is moved on
-- only when no other claim has moved it meanwhile, and nobody is waited for.
CREATE OR REPLACE FUNCTION fair_take(p_pool text, p_types text[], p_slots integer, OUT ids bigint[], OUT laned bigint[], OUT more boolean)
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
  v_last text := (SELECT t.tenant FROM pool_turn t WHERE t.pool = p_pool);
  v_turn text[] := fair_turn(p_pool, p_types, v_last, p_slots);
  v_full boolean := cardinality(v_turn) = p_slots;
  v_lanes boolean := ready_has_lanes(p_pool, p_types);
  v_left integer := p_slots;
  v_rest text[];
  v_quota integer;
  v_ids bigint[];
  v_tenants text[];
BEGIN
  -- Runs from before the pool was fair have their turn, as tenant NULL, whenever the tenants' turns begin anew.
  IF (NOT v_full OR v_last >= ANY (v_turn)) AND fair_has_old(p_pool, p_types, p_slots) THEN
    v_turn := NULL::text || v_turn[:p_slots - 1];
  END IF;
  laned := '{}';
  ids := '{}';
  IF v_lanes THEN
    laned := admit(p_pool, p_types, p_slots, v_turn);
    v_left := p_slots - cardinality(laned);
  END IF;
  IF v_left > 0 AND v_turn[1] IS NULL AND cardinality(v_turn) > 0 THEN
    ids := fair_pick_old(p_pool, p_types, CASE WHEN cardinality(v_turn) = 1 THEN v_left ELSE 1 END);
    v_left := v_left - cardinality(ids);
  END IF;
  v_rest := ARRAY(
    SELECT x.tenant
    FROM unnest(v_turn) WITH ORDINALITY AS x (tenant, n)
    WHERE x.tenant IS NOT NULL
      AND (NOT v_lanes OR NOT EXISTS (SELECT FROM ready r WHERE r.id = ANY (laned) AND r.tenant = x.tenant))
    ORDER BY x.n);
  WHILE v_left > 0 AND cardinality(v_rest) > 0 LOOP
    v_rest := v_rest[:v_left];
    v_quota := v_left / cardinality(v_rest);
    SELECT p.ids, p.tenants INTO v_ids, v_tenants FROM fair_pick(p_pool, p_types, v_rest, v_quota) AS p;
    ids := ids || v_ids;
    v_left := v_left - cardinality(v_ids);
    v_rest := ARRAY(
      SELECT x.tenant
      FROM unnest(v_rest) WITH ORDINALITY AS x (tenant, n)
      WHERE v_quota = (SELECT count(*) FROM unnest(v_tenants) AS t WHERE t = x.tenant)
      ORDER BY x.n);
  END LOOP;
  more := v_left > 0 AND (v_full OR v_lanes);
  UPDATE pool_turn
  SET tenant = v_turn[cardinality(v_turn)]
  WHERE v_turn[cardinality(v_turn)] IS DISTINCT FROM v_last
    AND pool = (SELECT t.pool FROM pool_turn t WHERE t.pool = p_pool AND t.tenant IS NOT DISTINCT FROM v_last FOR NO KEY UPDATE SKIP LOCKED);
END $$;
