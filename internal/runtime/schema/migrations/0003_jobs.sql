-- The whole job engine: trees of runs, steps, waiting, dedupe, limits of pools.

-- What the functions folder held when it was last applied.
ALTER TABLE schema_meta ADD COLUMN functions text NOT NULL DEFAULT '';

-- spawn_key names a child within one life of its parent, spawn_replay. close_policy is what becomes of a child when its
-- parent ends without having completed. collision, dedupe_key and deadline_millis are what start was told; a replay obeys
-- them again. kept_replay is the first life of the run whose finished steps and children still count.
ALTER TABLE run
  ADD COLUMN spawn_key text,
  ADD COLUMN spawn_replay integer,
  ADD COLUMN kept_replay integer NOT NULL DEFAULT 0,
  ADD COLUMN dedupe_key text,
  ADD COLUMN deadline_millis bigint,
  ADD COLUMN close_policy text NOT NULL DEFAULT 'terminate' CHECK (close_policy IN ('terminate', 'cancel', 'abandon')),
  ADD COLUMN collision text NOT NULL DEFAULT 'queue' CHECK (collision IN ('queue', 'reject', 'replace'));
CREATE UNIQUE INDEX run_spawn ON run (parent, spawn_replay, spawn_key) WHERE spawn_key IS NOT NULL;
CREATE INDEX run_tags ON run USING gin (tags jsonb_path_ops) WHERE tags IS NOT NULL;

-- Fair claims walk ready by tenant. Only runs of fair pools have it ('' for a run without a tenant) and so are in these
-- indexes; other pools pay nothing for them.
ALTER TABLE ready ADD COLUMN tenant text;
CREATE INDEX ready_tenant ON ready (pool, job_type, tenant, vstart, id) WHERE tenant IS NOT NULL AND lane IS NULL;
CREATE INDEX ready_tenant_laned ON ready (pool, job_type, tenant, vstart, id) WHERE tenant IS NOT NULL AND lane IS NOT NULL;

-- A start that must not meet another run of its lane looks for them here.
CREATE INDEX scheduled_lane ON scheduled (lane) WHERE lane IS NOT NULL;

-- What a waiting run waits for: a signal by name, the end of children (NULL: all of them), or the time in wake_at alone.
-- A closing run waits for its children and then ends as end_status says, without being claimed again.
ALTER TABLE waiting
  ADD COLUMN kind text NOT NULL DEFAULT 'time' CHECK (kind IN ('signal', 'children', 'time', 'closing')),
  ADD COLUMN signal text,
  ADD COLUMN children bigint[],
  ADD COLUMN end_status text,
  ADD COLUMN end_code text,
  ADD COLUMN end_error text,
  ADD CHECK ((kind = 'signal') = (signal IS NOT NULL)),
  ADD CHECK ((kind = 'closing') = (end_status IS NOT NULL));
CREATE INDEX waiting_lane ON waiting (lane) WHERE lane IS NOT NULL;
DROP INDEX waiting_wake;
CREATE INDEX waiting_due ON waiting (pool, wake_at) WHERE wake_at IS NOT NULL;

-- How far the sweep has walked waiting.
ALTER TABLE audit_position ADD COLUMN waiting bigint NOT NULL DEFAULT 0;

-- Both take one argument more now; calls without it still match.
DROP FUNCTION IF EXISTS settle(bigint, bigint[], bigint[], text[], text[], text[], text[], bigint[], boolean[], bigint[], bigint[], boolean);
DROP FUNCTION IF EXISTS settle_other(bigint, bigint[], bigint[], text[], text[], text[], bigint[], boolean[]);

-- The life of the run that an attempt belongs to, and the output of a life that a replay put away.
ALTER TABLE attempt
  ADD COLUMN replay integer NOT NULL DEFAULT 0,
  ADD COLUMN output jsonb;

-- A request about one run alone leaves its children be when the run ends.
ALTER TABLE cancel_request ADD COLUMN cascade boolean NOT NULL DEFAULT true;

-- The run that stands for a dedupe key until the window ends or the run ends without having completed.
CREATE TABLE dedupe (
  tenant text NOT NULL DEFAULT '',
  job_type text NOT NULL,
  key text NOT NULL,
  run bigint NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant, job_type, key)
);
CREATE INDEX dedupe_run ON dedupe (run);
CREATE INDEX dedupe_expires ON dedupe (expires_at);

-- A memoised step of one life of a run. seq is the order of first executions, from 1.
CREATE TABLE step (
  run bigint NOT NULL,
  replay integer NOT NULL,
  name text NOT NULL CHECK (name <> ''),
  seq integer NOT NULL,
  status text NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
  attempts integer NOT NULL DEFAULT 1,
  token bigint NOT NULL,
  output jsonb,
  error_code text,
  error text,
  build text NOT NULL DEFAULT '',
  started_at timestamptz NOT NULL,
  finished_at timestamptz,
  PRIMARY KEY (run, replay, name),
  UNIQUE (run, replay, seq)
) WITH (fillfactor = 70);

-- A signal to a run, in order of arrival; consumed_by is the name of the step that took it.
CREATE TABLE signal (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run bigint NOT NULL,
  replay integer NOT NULL,
  name text NOT NULL CHECK (name <> ''),
  payload jsonb NOT NULL,
  consumed_by text,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX signal_run ON signal (run, name, id);

-- The newest progress that a handler has reported.
CREATE TABLE progress (
  run bigint PRIMARY KEY,
  token bigint NOT NULL,
  value jsonb NOT NULL,
  updated_at timestamptz NOT NULL
) WITH (fillfactor = 70);

-- A claim whose handler has completed its run itself and may still be executing; its worker's settle removes it.
CREATE TABLE completing (
  run bigint PRIMARY KEY,
  token bigint NOT NULL,
  worker bigint NOT NULL
);
CREATE INDEX completing_worker ON completing (worker);

-- What claims of a pool obey together; only pools with such a limit have a row, which a trigger on pool keeps. Zero is no
-- limit. Claims read it and never lock it: whoever edits a pool holds nobody up.
CREATE TABLE pool_gate (
  pool text PRIMARY KEY,
  max_running integer NOT NULL,
  starts_per_second double precision NOT NULL,
  burst integer NOT NULL,
  fair boolean NOT NULL
);

-- What claims of a pool with limits share, locked by one claim at a time: the tokens left, and the tenant served last.
CREATE TABLE pool_turn (
  pool text PRIMARY KEY,
  tokens double precision NOT NULL DEFAULT 0,
  refilled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  tenant text
) WITH (fillfactor = 50);

-- How far the removal of old runs has walked a pool's runs.
CREATE TABLE retention_position (
  pool text PRIMARY KEY,
  run bigint NOT NULL
);

-- Their results or arguments are others from here on.
DROP FUNCTION IF EXISTS claim(bigint, text, text[], integer);
DROP FUNCTION IF EXISTS admit(text, text[], integer);

-- The secrets that sign the requests to a pool's HTTP handlers, sealed, and which versions of them with which key.
ALTER TABLE pool
  ADD COLUMN secrets bytea,
  ADD COLUMN secrets_version text;
