-- What nobody can claim.

-- The due runs of a pool whose job type no live worker of the pool serves, by type: at most 100 types, each count exact up
-- to p_limit. Indexes ready_free and ready_laned, one step a type.
CREATE OR REPLACE FUNCTION unserved(p_pool text, p_limit bigint) RETURNS TABLE (job_type text, runs bigint)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH RECURSIVE t (name, n) AS (
    SELECT ''::text, 0
    UNION ALL
    SELECT (
      SELECT min(x.job_type)
      FROM (
        (SELECT r.job_type FROM ready r
         WHERE r.pool = p_pool AND r.job_type > t.name AND r.lane IS NULL ORDER BY r.job_type LIMIT 1)
        UNION ALL
        (SELECT r.job_type FROM ready r
         WHERE r.pool = p_pool AND r.job_type > t.name AND r.lane IS NOT NULL ORDER BY r.job_type LIMIT 1)
      ) AS x), t.n + 1
    FROM t
    WHERE t.name IS NOT NULL AND t.n < 1000
  )
  SELECT t.name, c.n
  FROM t
  CROSS JOIN LATERAL (
    SELECT count(*) AS n
    FROM (
      (SELECT FROM ready r WHERE r.pool = p_pool AND r.job_type = t.name AND r.lane IS NULL LIMIT p_limit)
      UNION ALL
      (SELECT FROM ready r WHERE r.pool = p_pool AND r.job_type = t.name AND r.lane IS NOT NULL LIMIT p_limit)
      LIMIT p_limit) AS d) AS c
  WHERE t.n > 0 AND t.name IS NOT NULL AND NOT EXISTS (
    SELECT FROM worker w WHERE w.pool = p_pool AND w.expires_at > clock_timestamp() AND t.name = ANY (w.types))
  ORDER BY t.name
  LIMIT 100;
END $$;
