-- Retention: what ended long ago goes, in small batches.

-- Keeps what a pool says last of its retention when its row goes, until it is declared again.
CREATE OR REPLACE FUNCTION pool_retention_follows() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    DELETE FROM gone_pool WHERE name = NEW.name;
    RETURN NULL;
  END IF;
  INSERT INTO gone_pool (name, completed_millis, failed_millis)
  VALUES (OLD.name, nullif((OLD.tuning #>> '{retention,completedMillis}')::bigint, 0),
          nullif((OLD.tuning #>> '{retention,failedMillis}')::bigint, 0))
  ON CONFLICT (name) DO UPDATE SET completed_millis = excluded.completed_millis, failed_millis = excluded.failed_millis;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER pool_retention_follows
AFTER INSERT OR DELETE ON pool
FOR EACH ROW EXECUTE FUNCTION pool_retention_follows();

-- Whether a run may go, as far as it alone is concerned. NULL of a retention keeps for ever. Inlined, so no SET.
CREATE OR REPLACE FUNCTION outlived(p_status text, p_finished_at timestamptz, p_completed bigint, p_failed bigint) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
  SELECT coalesce(p_status IN ('completed', 'failed', 'cancelled', 'timed_out', 'lost')
    AND p_finished_at < clock_timestamp()
      - CASE p_status WHEN 'completed' THEN p_completed ELSE p_failed END * interval '1 millisecond', false)
$$;

-- Removes runs, which the caller has locked, with all that hangs on them. What a caller may hold is passed over: a dedupe
-- key of a run that is gone is free, and its row goes when it expires.
CREATE OR REPLACE FUNCTION retire_runs(p_runs bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  DELETE FROM attempt x WHERE x.run = ANY (p_runs);
  DELETE FROM step x WHERE x.run = ANY (p_runs);
  DELETE FROM signal x WHERE x.run = ANY (p_runs);
  DELETE FROM progress x WHERE x.run = ANY (p_runs);
  DELETE FROM failure x WHERE x.run = ANY (p_runs);
  DELETE FROM deadline x WHERE x.run = ANY (p_runs);
  DELETE FROM cancel_request x WHERE x.run = ANY (p_runs);
  DELETE FROM dedupe x
  USING (SELECT d.tenant, d.job_type, d.key FROM dedupe d WHERE d.run = ANY (p_runs) FOR UPDATE SKIP LOCKED) AS d
  WHERE x.tenant = d.tenant AND x.job_type = d.job_type AND x.key = d.key;
  DELETE FROM run x WHERE x.id = ANY (p_runs);
  RETURN cardinality(p_runs);
END $$;

-- Locks those of the runs that may go and that nobody holds: not one that a handler still executes after completing it,
-- not one that stands for a dedupe key in its window, not one that waits for its children to end.
CREATE OR REPLACE FUNCTION retire_lock(p_runs bigint[], p_completed bigint, p_failed bigint) RETURNS bigint[]
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
  RETURN ARRAY(
    SELECT r.id
    FROM run r
    WHERE r.id = ANY (p_runs) AND outlived(r.status, r.finished_at, p_completed, p_failed)
      AND NOT EXISTS (SELECT FROM completing c WHERE c.run = r.id)
      AND NOT EXISTS (SELECT FROM waiting w WHERE w.id = r.id)
      AND NOT (r.status = 'completed' AND EXISTS (SELECT FROM dedupe d WHERE d.run = r.id AND d.expires_at > clock_timestamp()))
    ORDER BY r.id
    FOR UPDATE OF r SKIP LOCKED);
END $$;

-- Removes a tree of runs that have all outlived their pools' retention, up to p_limit of them at once, children before
-- their parents, so that every parent and root that a run names can be read. done is false when some are left to remove.
-- Index run_root.
CREATE OR REPLACE FUNCTION retire_tree(p_root bigint, p_limit integer, OUT removed integer, OUT done boolean)
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
  v_last bigint[];
  v_locked bigint[];
BEGIN
  removed := 0;
  done := true;
  IF EXISTS (
    SELECT FROM run r
    LEFT JOIN pool p ON p.name = r.pool
    LEFT JOIN gone_pool g ON g.name = r.pool
    WHERE r.root = p_root
      AND NOT outlived(r.status, r.finished_at,
                       coalesce(nullif((p.tuning #>> '{retention,completedMillis}')::bigint, 0), g.completed_millis),
                       coalesce(nullif((p.tuning #>> '{retention,failedMillis}')::bigint, 0), g.failed_millis)))
  THEN
    RETURN;
  END IF;
  v_last := ARRAY(SELECT r.id FROM run r WHERE r.root = p_root ORDER BY r.id DESC LIMIT p_limit);
  v_locked := retire_lock(v_last, 0, 0);
  IF cardinality(v_locked) < cardinality(v_last) THEN
    RETURN;
  END IF;
  removed := retire_runs(v_locked);
  done := removed < p_limit;
END $$;

-- Walks the next stretch of a pool's runs, oldest first, and removes what has outlived the pool's retention. A run alone
-- goes by itself, a tree with its root. The walk begins anew where it meets runs that are too young for any of them to go.
-- more says that it has not come there. Whoever walks the pool already is not waited for. Index run_pool.
CREATE OR REPLACE FUNCTION retire_pool(p_pool text, p_completed bigint, p_failed bigint, p_limit integer, OUT removed integer, OUT more boolean)
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
  v_young constant timestamptz := clock_timestamp() - least(p_completed, p_failed) * interval '1 millisecond';
  v_from bigint;
  v_to bigint;
  v_roots bigint[];
  v_alone bigint[];
  v_root bigint;
  v_n integer;
  v_done boolean;
BEGIN
  removed := 0;
  more := false;
  IF NOT EXISTS (SELECT FROM retention_position p WHERE p.pool = p_pool) THEN
    INSERT INTO retention_position (pool, run) VALUES (p_pool, 0) ON CONFLICT DO NOTHING;
  END IF;
  SELECT p.run INTO v_from FROM retention_position p WHERE p.pool = p_pool FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT array_agg(DISTINCT x.root) FILTER (WHERE x.id = x.root OR NOT EXISTS (SELECT FROM run q WHERE q.id = x.root)),
         max(x.id), count(*) = p_limit AND NOT bool_or(x.created_at >= v_young)
  INTO v_roots, v_to, more
  FROM (SELECT r.id, r.root, r.created_at FROM run r WHERE r.pool = p_pool AND r.id > v_from ORDER BY r.id LIMIT p_limit) AS x;

  v_alone := ARRAY(
    SELECT t.id FROM unnest(v_roots) AS t (id) WHERE NOT EXISTS (SELECT FROM run x WHERE x.root = t.id AND x.id <> t.id));
  removed := retire_runs(retire_lock(v_alone, p_completed, p_failed));
  FOR v_root IN
    SELECT t.id
    FROM unnest(v_roots) AS t (id)
    LEFT JOIN run r ON r.id = t.id
    WHERE t.id <> ALL (v_alone) AND (r.id IS NULL OR outlived(r.status, r.finished_at, p_completed, p_failed))
    ORDER BY t.id
  LOOP
    SELECT t.removed, t.done INTO v_n, v_done FROM retire_tree(v_root, p_limit) AS t;
    removed := removed + v_n;
    IF NOT v_done OR removed >= 2 * p_limit THEN
      v_to := v_root - CASE WHEN v_done THEN 0 ELSE 1 END;
      more := true;
      EXIT;
    END IF;
  END LOOP;
  UPDATE retention_position SET run = CASE WHEN more THEN v_to ELSE 0 END WHERE pool = p_pool AND run <> CASE WHEN more THEN v_to ELSE 0 END;
END $$;

-- Removes runs of all pools that have outlived their pool's retention, and dedupe keys that have run out: a stretch of
-- p_limit runs of each pool. more says that it is worth calling again at once. Anybody may call it, several at once. For a
-- pool that is not declared any more counts what it said last.
CREATE OR REPLACE FUNCTION retire(p_limit integer, OUT removed integer, OUT more boolean)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  v_now constant timestamptz := clock_timestamp();
BEGIN
  WITH p AS MATERIALIZED (
    SELECT p.name, nullif((p.tuning #>> '{retention,completedMillis}')::bigint, 0) AS completed,
           nullif((p.tuning #>> '{retention,failedMillis}')::bigint, 0) AS failed
    FROM pool p
    WHERE p.tuning ? 'retention'
    UNION ALL
    SELECT g.name, g.completed_millis, g.failed_millis
    FROM gone_pool g
    ORDER BY 1
  )
  SELECT coalesce(sum(r.removed), 0), coalesce(bool_or(r.more), false) INTO removed, more
  FROM (SELECT * FROM p WHERE coalesce(p.completed, p.failed) IS NOT NULL) AS p
  CROSS JOIN LATERAL retire_pool(p.name, p.completed, p.failed, p_limit) AS r;
  DELETE FROM dedupe x
  USING (
    SELECT d.tenant, d.job_type, d.key FROM dedupe d
    WHERE d.expires_at < v_now ORDER BY d.expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED) AS d
  WHERE x.tenant = d.tenant AND x.job_type = d.job_type AND x.key = d.key;
END $$;
