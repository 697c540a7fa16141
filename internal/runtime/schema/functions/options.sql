-- Options of start, spawn and the other calls: read, checked, and refused with what to give instead.

-- A whole number among options; NULL when it is not given.
CREATE OR REPLACE FUNCTION start_number(p_name text, p_value jsonb, p_low bigint, p_high bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_number numeric;
BEGIN
  IF p_value IS NULL OR p_value = 'null' THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(p_value) = 'number' THEN
    v_number := p_value::numeric;
    IF v_number = trunc(v_number) AND v_number BETWEEN p_low AND p_high THEN
      RETURN v_number::bigint;
    END IF;
  END IF;
  RAISE EXCEPTION 'option "%" is %, want a whole number from % to %', p_name, left(p_value::text, 100), p_low, p_high
    USING ERRCODE = 'invalid_parameter_value';
END $$;

-- A text among options, at most 512 bytes, so that it fits into an index; NULL when it is not given.
CREATE OR REPLACE FUNCTION start_text(p_name text, p_value jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
BEGIN
  IF p_value IS NULL OR p_value = 'null' THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(p_value) <> 'string' OR p_value = '""' THEN
    RAISE EXCEPTION 'option "%" is %, want a text that is not empty', p_name, left(p_value::text, 100)
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF octet_length(p_value #>> '{}') > 512 THEN
    RAISE EXCEPTION 'option "%" has % bytes, want at most 512', p_name, octet_length(p_value #>> '{}')
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN p_value #>> '{}';
END $$;

-- Yes or no among options; NULL when it is not given.
CREATE OR REPLACE FUNCTION start_flag(p_name text, p_value jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
BEGIN
  IF p_value IS NULL OR p_value = 'null' THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(p_value) <> 'boolean' THEN
    RAISE EXCEPTION 'option "%" is %, want true or false', p_name, left(p_value::text, 100) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN p_value::boolean;
END $$;

-- One of a few words among options; NULL when it is not given.
CREATE OR REPLACE FUNCTION start_word(p_name text, p_value jsonb, p_words text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_word text := start_text(p_name, p_value);
BEGIN
  IF v_word <> ALL (p_words) THEN
    RAISE EXCEPTION 'option "%" is "%", want one of: %', p_name, v_word, array_to_string(p_words, ', ')
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN v_word;
END $$;

-- Tags: at most 32, keys of at most 128 and values of at most 512 bytes.
CREATE OR REPLACE FUNCTION start_tags(p_value jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
BEGIN
  IF p_value IS NULL OR p_value = 'null' THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(p_value) <> 'object'
      OR EXISTS (SELECT FROM jsonb_each(CASE jsonb_typeof(p_value) WHEN 'object' THEN p_value ELSE '{}' END) AS e
                 WHERE jsonb_typeof(e.value) <> 'string') THEN
    RAISE EXCEPTION 'option "tags" is %, want an object whose values are texts', left(p_value::text, 100)
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF (SELECT count(*) > 32 OR max(octet_length(e.key)) > 128 OR max(octet_length(e.value)) > 512 FROM jsonb_each_text(p_value) AS e) THEN
    RAISE EXCEPTION 'option "tags" is too large: want at most 32 tags, keys of at most 128 bytes, values of at most 512'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN p_value;
END $$;

-- Refuses options that are no object, or have a name that is not known.
CREATE OR REPLACE FUNCTION start_known(p_options jsonb, p_known text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_unknown text;
BEGIN
  IF jsonb_typeof(p_options) <> 'object' THEN
    RAISE EXCEPTION 'options are of type %, want a JSON object', jsonb_typeof(p_options) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT string_agg('"' || k || '"', ', ') INTO v_unknown FROM jsonb_object_keys(p_options) AS k WHERE k <> ALL (p_known);
  IF v_unknown IS NOT NULL THEN
    RAISE EXCEPTION 'unknown option %; known are: %', left(v_unknown, 500), array_to_string(p_known, ', ')
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
END $$;

-- Refuses an input, output or payload of more than 1 MiB as JSON text.
CREATE OR REPLACE FUNCTION check_payload(p_what text, p_value jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $$
BEGIN
  IF octet_length(p_value::text) > 1048576 THEN
    RAISE EXCEPTION '% has % bytes, want at most 1048576; keep it in a table of your own and pass its key', p_what, octet_length(p_value::text)
      USING ERRCODE = 'program_limit_exceeded';
  END IF;
END $$;

-- The pool of a new run: the one asked for, else the one whose worker registered the type first. Raises SL002 with what
-- to do when there is none.
CREATE OR REPLACE FUNCTION start_pool(p_job_type text, p_pool text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
  v_pool text := coalesce(p_pool, (SELECT t.pool FROM job_type t WHERE t.name = p_job_type));
  v_known text;
BEGIN
  IF v_pool IS NULL THEN
    RAISE EXCEPTION 'no pool for job type "%": no worker has registered the type yet; name one with the option "pool"', p_job_type
      USING ERRCODE = 'SL002';
  END IF;
  IF NOT EXISTS (SELECT FROM pool p WHERE p.name = v_pool) THEN
    SELECT string_agg(quote_ident(x.name), ', ') INTO v_known FROM (SELECT p.name FROM pool p ORDER BY p.name LIMIT 20) AS x;
    RAISE EXCEPTION 'pool "%" does not exist in schema "%"; create a JobPool with that poolName, start a worker with --pool, or use one of: %',
      v_pool, current_schema(), coalesce(v_known, '(there is none yet)')
      USING ERRCODE = 'SL002';
  END IF;
  RETURN v_pool;
END $$;

-- The run that the options describe, without an id, a tree and an input. A child takes fewer options: it has the tenant of
-- its parent, and its key within its parent is what makes it unique.
CREATE OR REPLACE FUNCTION start_parse(p_job_type text, p_options jsonb, p_child boolean) RETURNS run
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  c_child constant text[] := '{pool,priority,delay_ms,lane,lane_namespace,lane_limit,collision,scope,max_attempts,deadline_ms,tags,close_policy}';
  c_start constant text[] := '{pool,priority,delay_ms,lane,lane_namespace,lane_limit,collision,scope,max_attempts,deadline_ms,tags}'::text[]
    || '{tenant,idempotency_key,dedupe_key,dedupe_window_ms,trigger_source,trigger_ref}'::text[];
  c_long constant bigint := 366::bigint * 100 * 86400 * 1000;
  v_options constant jsonb := coalesce(p_options, '{}');
  v_allowed constant text[] := CASE WHEN p_child THEN c_child ELSE c_start END;
  v_name text;
  v_value jsonb;
  v_window bigint;
  v_pool text;
  v run;
BEGIN
  IF coalesce(p_job_type, '') = '' THEN
    RAISE EXCEPTION 'job_type is empty' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF octet_length(p_job_type) > 512 THEN
    RAISE EXCEPTION 'job_type has % bytes, want at most 512', octet_length(p_job_type) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  v.job_type := p_job_type;
  v.created_at := clock_timestamp();
  IF v_options <> '{}' THEN
    IF jsonb_typeof(v_options) <> 'object' THEN
      PERFORM start_known(v_options, v_allowed);
    END IF;
    -- Only what is there is read: most calls give one or two.
    FOR v_name, v_value IN SELECT e.key, e.value FROM jsonb_each(v_options) AS e LOOP
      IF v_name <> ALL (v_allowed) THEN
        PERFORM start_known(v_options, v_allowed);
      END IF;
      CASE v_name
        WHEN 'pool' THEN v.pool := start_text(v_name, v_value);
        WHEN 'priority' THEN v.priority := start_number(v_name, v_value, -100, 100);
        WHEN 'delay_ms' THEN v.run_at := v.created_at + start_number(v_name, v_value, 0, c_long) * interval '1 millisecond';
        WHEN 'lane' THEN v.lane_key := start_text(v_name, v_value);
        WHEN 'lane_namespace' THEN v.lane_namespace := start_text(v_name, v_value);
        WHEN 'lane_limit' THEN v.lane_limit := start_number(v_name, v_value, 1, 10000);
        WHEN 'collision' THEN v.collision := start_word(v_name, v_value, '{queue,reject,replace}');
        WHEN 'tenant' THEN v.tenant := start_text(v_name, v_value);
        WHEN 'scope' THEN v.scope := start_text(v_name, v_value);
        WHEN 'idempotency_key' THEN v.idempotency_key := start_text(v_name, v_value);
        WHEN 'dedupe_key' THEN v.dedupe_key := start_text(v_name, v_value);
        WHEN 'dedupe_window_ms' THEN v_window := start_number(v_name, v_value, 1, c_long);
        WHEN 'max_attempts' THEN v.max_attempts := start_number(v_name, v_value, 1, 1000000);
        WHEN 'deadline_ms' THEN v.deadline_millis := start_number(v_name, v_value, 1, c_long);
        WHEN 'trigger_source' THEN v.trigger_source := start_word(v_name, v_value, '{manual,schedule,event,parent}');
        WHEN 'trigger_ref' THEN v.trigger_ref := start_text(v_name, v_value);
        WHEN 'tags' THEN v.tags := start_tags(v_value);
        WHEN 'close_policy' THEN v.close_policy := start_word(v_name, v_value, '{terminate,cancel,abandon}');
      END CASE;
    END LOOP;
    IF v.lane_key IS NULL AND num_nonnulls(v.lane_namespace, v.lane_limit, v.collision) > 0 THEN
      RAISE EXCEPTION 'options "lane_namespace", "lane_limit" and "collision" need the option "lane"' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (v.dedupe_key IS NULL) <> (v_window IS NULL) THEN
      RAISE EXCEPTION 'options "dedupe_key" and "dedupe_window_ms" need each other' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v.lane_key IS NOT NULL THEN
      v.lane_namespace := coalesce(v.lane_namespace, p_job_type);
      v.lane_limit := coalesce(v.lane_limit, 1);
      v.lane := lane_id(v.tenant, v.lane_namespace, v.lane_key);
    END IF;
  END IF;
  SELECT x.name INTO v_pool FROM pool x WHERE x.name = coalesce(v.pool, (SELECT t.pool FROM job_type t WHERE t.name = p_job_type));
  v.pool := coalesce(v_pool, start_pool(p_job_type, v.pool));
  v.priority := coalesce(v.priority, 0);
  v.run_at := coalesce(v.run_at, v.created_at);
  v.deadline_at := v.created_at + v.deadline_millis * interval '1 millisecond';
  v.collision := coalesce(v.collision, 'queue');
  v.close_policy := coalesce(v.close_policy, 'terminate');
  v.trigger_source := coalesce(v.trigger_source, CASE WHEN p_child THEN 'parent' ELSE 'manual' END);
  RETURN v;
END $$;
