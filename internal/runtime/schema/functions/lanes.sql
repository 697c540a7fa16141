-- Lanes (S8). The caller of these functions has locked the lanes, in a statement of its own.

-- Moves blocked runs of lanes with room to ready, so that the first runs of each pool and type stand there, and returns
-- the pools in which something became due. Rows that a caller has locked are passed over: they do not stall the lane.
-- A run whose old handler still holds the lane stays. Indexes: blocked_lane, ready_lane.
CREATE OR REPLACE FUNCTION lane_wake(p_lanes bigint[]) RETURNS text[]
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
  v_lane bigint;
  v_room bigint;
  v_pool text;
  v_type text;
  v_moved bigint;
  v_pools text[] := '{}';
BEGIN
  FOR v_lane, v_room IN
    SELECT l.id, l.max_claims - (SELECT count(*) FROM lane_hold h WHERE h.lane = l.id)
    FROM lane l
    WHERE l.id = ANY (p_lanes) AND EXISTS (SELECT FROM blocked b WHERE b.lane = l.id)
  LOOP
    CONTINUE WHEN v_room < 1;
    v_pool := '';
    v_type := '';
    LOOP
      SELECT b.pool, b.job_type INTO v_pool, v_type
      FROM blocked b
      WHERE b.lane = v_lane AND (b.pool, b.job_type) > (v_pool, v_type)
      ORDER BY b.pool, b.job_type
      LIMIT 1;
      EXIT WHEN NOT FOUND;
      WITH r AS MATERIALIZED (
        SELECT r.id, r.vstart
        FROM ready r
        WHERE r.lane = v_lane AND r.pool = v_pool AND r.job_type = v_type
          AND NOT EXISTS (SELECT FROM lane_hold h WHERE h.run = r.id OFFSET 0)
        ORDER BY r.vstart, r.id
        LIMIT v_room
        FOR KEY SHARE OF r SKIP LOCKED
      ),
      b AS MATERIALIZED (
        SELECT b.id, b.vstart
        FROM blocked b
        WHERE b.lane = v_lane AND b.pool = v_pool AND b.job_type = v_type
          AND NOT EXISTS (SELECT FROM lane_hold h WHERE h.run = b.id AND h.worker IS NOT NULL OFFSET 0)
        ORDER BY b.vstart, b.id
        LIMIT v_room
        FOR UPDATE OF b SKIP LOCKED
      ),
      f AS MATERIALIZED (
        SELECT u.id, u.was_blocked
        FROM (SELECT id, vstart, false AS was_blocked FROM r UNION ALL SELECT id, vstart, true FROM b) AS u
        ORDER BY u.vstart, u.id
        LIMIT v_room
      ),
      d AS (
        DELETE FROM blocked
        WHERE id = ANY (ARRAY(SELECT id FROM f WHERE was_blocked))
        RETURNING id, pool, job_type, vstart, lane
      ),
      i AS (
        INSERT INTO ready (id, pool, job_type, vstart, lane, tenant)
        SELECT id, pool, job_type, vstart, lane,
               (SELECT coalesce(r.tenant, '') FROM pool_gate g JOIN run r ON r.id = d.id WHERE g.pool = d.pool AND g.fair)
        FROM d
        ON CONFLICT DO NOTHING
        RETURNING id
      )
      SELECT count(*) INTO v_moved FROM i;
      IF v_moved > 0 THEN
        v_pools := v_pools || v_pool;
      END IF;
    END LOOP;
  END LOOP;
  RETURN v_pools;
END $$;

-- Whether runs with a lane are ready. Index ready_laned.
CREATE OR REPLACE FUNCTION ready_has_lanes(p_pool text, p_types text[]) RETURNS boolean
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
    SELECT FROM unnest(p_types) AS t (name)
    CROSS JOIN LATERAL (
      SELECT FROM ready r WHERE r.pool = p_pool AND r.job_type = t.name AND r.lane IS NOT NULL LIMIT 1) AS x);
END $$;

-- Decides which runs with a lane a claim takes, and returns their ids; their lanes and ready rows are then locked. The
-- lanes among the first rows in claim order are locked as far as nobody else holds them. Of each, the first free rows up
-- to the lane's room may go, and any row whose own hold was kept for it. What does not fit moves to blocked. With
-- p_tenants not NULL claim order is by turns: the first row of each of these tenants, in their order, then the second, and
-- so on; a tenant that is NULL stands for the rows without one.
CREATE OR REPLACE FUNCTION admit(p_pool text, p_types text[], p_slots integer, p_tenants text[]) RETURNS bigint[]
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
  v_lanes bigint[];
  v_ids bigint[];
  v_pools text[];
  v_vstarts timestamptz[];
  v_owners text[];
  v_quota integer := greatest(p_slots / greatest(cardinality(p_tenants), 1), 1);
BEGIN
  -- A few rows more than the slots, so that lanes which somebody else holds do not hide those behind them.
  IF p_tenants IS NULL THEN
    SELECT array_agg(DISTINCT c.lane ORDER BY c.lane) INTO v_lanes
    FROM (
      SELECT x.lane
      FROM unnest(p_types) AS t (name)
      CROSS JOIN LATERAL (
        (SELECT r.vstart, r.id, r.lane FROM ready r
         WHERE r.pool = p_pool AND r.job_type = t.name AND r.lane IS NULL
         ORDER BY r.vstart, r.id LIMIT p_slots)
        UNION ALL
        (SELECT r.vstart, r.id, r.lane FROM ready r
         WHERE r.pool = p_pool AND r.job_type = t.name AND r.lane IS NOT NULL
         ORDER BY r.vstart, r.id LIMIT p_slots + 64)
      ) AS x
      ORDER BY x.vstart, x.id
      LIMIT p_slots + 64
    ) AS c
    WHERE c.lane IS NOT NULL;
  ELSE
    SELECT array_agg(DISTINCT c.lane ORDER BY c.lane) INTO v_lanes
    FROM (
      SELECT x.lane
      FROM unnest(p_types) AS t (name)
      CROSS JOIN unnest(p_tenants) AS n (tenant)
      CROSS JOIN LATERAL (
        SELECT r.lane FROM ready r
        WHERE r.pool = p_pool AND r.job_type = t.name AND r.tenant = n.tenant AND r.lane IS NOT NULL
        ORDER BY r.vstart, r.id LIMIT v_quota + 8
      ) AS x
      UNION ALL
      SELECT x.lane
      FROM unnest(p_types) AS t (name)
      CROSS JOIN LATERAL (
        SELECT r.lane, r.tenant FROM ready r
        WHERE r.pool = p_pool AND r.job_type = t.name AND r.lane IS NOT NULL
        ORDER BY r.vstart, r.id LIMIT v_quota + 64
      ) AS x
      WHERE x.tenant IS NULL AND array_position(p_tenants, NULL) IS NOT NULL
    ) AS c;
  END IF;
  IF v_lanes IS NULL THEN
    RETURN '{}';
  END IF;

  -- Missing lanes are created under an advisory lock: an insert of a key that another claim has just inserted would wait.
  -- Not more than 200 at once, because such locks share the server's lock table.
  WITH m AS MATERIALIZED (
    SELECT m.id FROM unnest(v_lanes) AS m (id) WHERE NOT EXISTS (SELECT FROM lane l WHERE l.id = m.id) LIMIT 200
  ),
  k AS MATERIALIZED (
    SELECT m.id FROM m WHERE pg_try_advisory_xact_lock(hashtextextended(current_schema() || '/lane/' || m.id, 0))
  )
  INSERT INTO lane (id, tenant, namespace, key, max_claims)
  SELECT x.lane, x.tenant, x.lane_namespace, x.lane_key, x.lane_limit
  FROM k
  CROSS JOIN LATERAL (
    SELECT r.lane, q.tenant, q.lane_namespace, q.lane_key, q.lane_limit
    FROM ready r
    CROSS JOIN LATERAL (SELECT * FROM run x WHERE x.id = r.id OFFSET 0) AS q
    WHERE r.lane = k.id
    LIMIT 1
  ) AS x
  ON CONFLICT DO NOTHING;

  SELECT array_agg(x.id) INTO v_lanes
  FROM (SELECT l.id FROM lane l WHERE l.id = ANY (v_lanes) ORDER BY l.id FOR UPDATE SKIP LOCKED) AS x;
  IF v_lanes IS NULL THEN
    RETURN '{}';
  END IF;

  -- The limit is that of the lane's newest run that stands here.
  UPDATE lane l
  SET max_claims = n.lane_limit
  FROM (
    SELECT m.id, x.lane_limit
    FROM unnest(v_lanes) AS m (id)
    CROSS JOIN LATERAL (
      SELECT q.lane_limit
      FROM ready r
      CROSS JOIN LATERAL (SELECT x.lane_limit FROM run x WHERE x.id = r.id OFFSET 0) AS q
      WHERE r.lane = m.id
      ORDER BY r.pool DESC, r.job_type DESC, r.vstart DESC, r.id DESC
      LIMIT 1
    ) AS x
  ) AS n
  WHERE l.id = n.id AND l.max_claims <> n.lane_limit;

  v_pools := lane_wake(v_lanes);

  WITH room AS MATERIALIZED (
    SELECT l.id, greatest(l.max_claims - (SELECT count(*) FROM lane_hold h WHERE h.lane = l.id), 0) AS n
    FROM lane l
    WHERE l.id = ANY (v_lanes)
  ),
  kept AS MATERIALIZED (
    SELECT x.id, x.vstart, x.tenant
    FROM lane_hold h
    CROSS JOIN LATERAL (
      SELECT r.id, r.vstart, r.tenant
      FROM ready r
      WHERE r.id = h.run AND r.pool = p_pool AND r.job_type = ANY (p_types)
      FOR UPDATE SKIP LOCKED
    ) AS x
    WHERE h.lane = ANY (v_lanes) AND h.worker IS NULL
  ),
  free AS MATERIALIZED (
    SELECT f.id, f.vstart, f.tenant
    FROM room
    CROSS JOIN LATERAL (
      SELECT y.id, y.vstart, y.tenant
      FROM unnest(p_types) AS t (name)
      CROSS JOIN LATERAL (
        SELECT r.id, r.vstart, r.tenant
        FROM ready r
        WHERE r.lane = room.id AND r.pool = p_pool AND r.job_type = t.name
          AND NOT EXISTS (SELECT FROM lane_hold h WHERE h.run = r.id OFFSET 0)
        ORDER BY r.vstart, r.id
        LIMIT room.n
        FOR UPDATE OF r SKIP LOCKED
      ) AS y
      ORDER BY y.vstart, y.id
      LIMIT room.n
    ) AS f
  ),
  laned AS MATERIALIZED (
    SELECT id, vstart, tenant FROM kept UNION ALL SELECT id, vstart, tenant FROM free
  )
  SELECT coalesce(array_agg(id), '{}'), array_agg(vstart), array_agg(tenant) INTO v_ids, v_vstarts, v_owners FROM laned;
  IF p_tenants IS NULL THEN
    WITH unlaned AS MATERIALIZED (
      SELECT x.id, x.vstart
      FROM unnest(p_types) AS t (name)
      CROSS JOIN LATERAL (
        SELECT r.id, r.vstart
        FROM ready r
        WHERE r.pool = p_pool AND r.job_type = t.name AND r.lane IS NULL
        ORDER BY r.vstart, r.id
        LIMIT p_slots
      ) AS x
    )
    SELECT coalesce(array_agg(m.id) FILTER (WHERE m.laned), '{}') INTO v_ids
    FROM (
      SELECT id, laned
      FROM (SELECT id, vstart, true AS laned FROM unnest(v_ids, v_vstarts) AS l (id, vstart)
            UNION ALL SELECT id, vstart, false FROM unlaned) AS u
      ORDER BY vstart, id
      LIMIT p_slots
    ) AS m;
  ELSE
    WITH unlaned AS MATERIALIZED (
      SELECT x.id, x.vstart, n.tenant
      FROM unnest(p_types) AS t (name)
      CROSS JOIN unnest(p_tenants) AS n (tenant)
      CROSS JOIN LATERAL (
        SELECT r.id, r.vstart
        FROM ready r
        WHERE r.pool = p_pool AND r.job_type = t.name AND r.tenant = n.tenant AND r.lane IS NULL
        ORDER BY r.vstart, r.id
        LIMIT v_quota
      ) AS x
    )
    SELECT coalesce(array_agg(m.id) FILTER (WHERE m.laned), '{}') INTO v_ids
    FROM (
      SELECT id, laned
      FROM (
        SELECT id, laned, vstart, array_position(p_tenants, tenant) AS n,
               row_number() OVER (PARTITION BY tenant ORDER BY vstart, id) AS turn
        FROM (SELECT id, vstart, tenant, true AS laned FROM unnest(v_ids, v_vstarts, v_owners) AS l (id, vstart, tenant)
              UNION ALL SELECT id, vstart, tenant, false FROM unlaned) AS u
      ) AS o
      ORDER BY turn, n, vstart, id
      LIMIT p_slots
    ) AS m;
  END IF;

  -- Full lanes: their other rows wait elsewhere, where they cost a claim nothing.
  WITH room AS MATERIALIZED (
    SELECT l.id,
           l.max_claims - (SELECT count(*) FROM lane_hold h WHERE h.lane = l.id)
             - (SELECT count(*) FROM unnest(v_ids) AS v (id) JOIN ready r ON r.id = v.id
                WHERE r.lane = l.id AND NOT EXISTS (SELECT FROM lane_hold h WHERE h.run = r.id OFFSET 0)) AS n
    FROM lane l
    WHERE l.id = ANY (v_lanes)
  ),
  s AS MATERIALIZED (
    SELECT x.id
    FROM room
    CROSS JOIN LATERAL (
      SELECT r.id
      FROM ready r
      WHERE r.lane = room.id AND r.id <> ALL (v_ids)
        AND CASE WHEN room.n <= 0
              THEN NOT EXISTS (SELECT FROM lane_hold h WHERE h.run = r.id AND h.worker IS NULL OFFSET 0)
              ELSE EXISTS (SELECT FROM lane_hold h WHERE h.run = r.id AND h.worker IS NOT NULL OFFSET 0) END
      LIMIT 1000
      FOR UPDATE OF r SKIP LOCKED
    ) AS x
  ),
  d AS (
    DELETE FROM ready
    WHERE id = ANY (ARRAY(SELECT id FROM s))
    RETURNING id, lane, pool, job_type, vstart
  )
  INSERT INTO blocked (id, lane, pool, job_type, vstart)
  SELECT id, lane, pool, job_type, vstart FROM d
  ON CONFLICT DO NOTHING;

  PERFORM wake(array_remove(v_pools, p_pool));
  RETURN v_ids;
END $$;
