-- Functions are one theme a file. They hold no data and are written anew whenever their text has changed, after the
-- migrations, with the search path set to the schema. A function whose arguments or result change is dropped by a migration.
--
-- Order of locks that are waited for, so that nothing deadlocks: worker, lane (by key), side row, run (by id), receipt, row
-- of completing. Everything else is passed over when somebody has it, and so is what callers may hold (side rows, pending
-- runs, pool rows) by what workers call. The model of it is test/model/lockorder.pml.
--
-- READ COMMITTED is assumed: in a volatile function each statement sees what was committed before that statement.
--
-- Plans are pinned: their statements are written for walks along an index, and a plan made while a table was small would
-- be kept when it has grown; for what only looks up keys, enable_seqscan = off is enough. Without jit = off the penalty of a
-- plan type that is off would have every call compiled. A join may still begin with the table that is small now: OFFSET 0 in
-- what is looked up row by row, or a lock there, or = ANY (ARRAY[...]) for the key in an UPDATE or DELETE, leaves one order
-- only. An instant that bounds an index stands in a variable: of a volatile call the planner makes a filter.

-- Small parts that other functions use.

-- Order and ageing in one key: a run of priority p stands as if it had been due p minutes earlier. Inlined, so no SET.
CREATE OR REPLACE FUNCTION vstart(p_run_at timestamptz, p_priority integer) RETURNS timestamptz
LANGUAGE sql STABLE
AS $$ SELECT p_run_at - p_priority * interval '1 minute' $$;

CREATE OR REPLACE FUNCTION lane_id(p_tenant text, p_namespace text, p_key text) RETURNS bigint
LANGUAGE sql IMMUTABLE
SET search_path FROM CURRENT
AS $$
  SELECT ('x' || encode(substr(sha256(convert_to(jsonb_build_array(p_tenant, p_namespace, p_key)::text, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint
$$;

-- One notification a transaction and pool: PostgreSQL folds equal ones. None for a pool that polls: nobody listens, and
-- transactions that notify commit one after the other.
CREATE OR REPLACE FUNCTION wake(p_pools text[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
  PERFORM pg_notify(current_schema() || '_wake', d.p)
  FROM (SELECT DISTINCT p FROM unnest(p_pools) AS p) AS d
  WHERE NOT EXISTS (SELECT FROM pool x WHERE x.name = d.p AND x.tuning ->> 'wakeMode' = 'Poll');
END $$;

-- Bounds how long the caller's transaction may idle while it holds a run's row: a third of the lease, at most a minute,
-- and never longer than it was.
CREATE OR REPLACE FUNCTION bound_idle(p_worker bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_now bigint := extract(epoch FROM current_setting('idle_in_transaction_session_timeout')::interval) * 1000;
  v_bound bigint;
BEGIN
  SELECT greatest(least(w.lease_millis / 3, 60000), 1) INTO v_bound FROM worker w WHERE w.id = p_worker;
  v_bound := coalesce(v_bound, 20000);
  IF v_now = 0 OR v_now > v_bound THEN
    PERFORM set_config('idle_in_transaction_session_timeout', v_bound::text, true);
  END IF;
END $$;
