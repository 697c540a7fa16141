-- What integrations keep: who is synced how and how far (connection, subscription), what each run and each record did
-- (sync_run, sync_item), what could not be applied (quarantine) and what others are told about it (outbox).
--
-- No foreign key joins these tables. Declared rows arrive in any order and may go while the others stay, and the audit
-- must not vanish in one long cascade: the audit retention removes what belongs to a removed subscription in small batches.

-- One account at one provider. Written by the database actor or by hand.
CREATE TABLE connection (
  id                 uuid PRIMARY KEY,
  provider           text NOT NULL,
  spec               jsonb NOT NULL,
  credential         bytea,                        -- sealed; the associated data are this id and the column's name
  credential_version text,                         -- opaque: which secret version and key sealed it
  deletion_policy    text NOT NULL DEFAULT 'Retain' CHECK (deletion_policy IN ('Retain', 'Delete')),
  owner_cluster      text,
  owner_namespace    text,
  owner_name         text,
  owner_uid          text,
  owner_generation   bigint,
  updated_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One entity of one connection, with its position. The first block is written by the database actor, the rest by ticks
-- and runs only. The room on each page keeps the updates of runs (cursor, outcome) heap-only.
CREATE TABLE subscription (
  id                   uuid PRIMARY KEY,
  connection_id        uuid NOT NULL,
  pool                 text NOT NULL,
  spec                 jsonb NOT NULL,
  spec_generation      bigint NOT NULL DEFAULT 1,  -- grows when spec changes; every chunk checks it
  suspended            boolean NOT NULL DEFAULT false,
  retired_at           timestamptz,                -- its declaration is gone: never started again, position and audit stay
  run_requested        text,                       -- token of the last request to run now
  deletion_policy      text NOT NULL DEFAULT 'Retain' CHECK (deletion_policy IN ('Retain', 'Delete')),
  owner_cluster        text,
  owner_namespace      text,
  owner_name           text,
  owner_uid            text,
  owner_generation     bigint,
  updated_at           timestamptz NOT NULL DEFAULT clock_timestamp(),

  run_handled          text,                       -- the request that the last start answered
  next_run_at          timestamptz,                -- NULL: no schedule, or not looked at yet
  schedule_generation  bigint,                     -- the spec_generation that next_run_at was last checked against
  schedule_in_force    jsonb,                      -- the schedule that next_run_at was computed from
  pending_run          bigint,                     -- the run that waits to be claimed, as far as known
  active_run           bigint,                     -- the run that was claimed last and may still be going
  cursor               jsonb,                      -- NULL: the next walk starts from the beginning
  cursor_time          timestamptz,                -- when the cursor was stored
  walk_hash            text,                       -- of the parts of the spec that the cursor depends on
  last_attempt_at      timestamptz,
  last_success_at      timestamptz,
  last_change_at       timestamptz,
  consecutive_failures int NOT NULL DEFAULT 0,
  last_sync_run        bigint
) WITH (fillfactor = 70);

CREATE INDEX subscription_pool ON subscription (pool);
CREATE INDEX subscription_connection ON subscription (connection_id);

-- One attempt of one run. A run that was taken over has several rows, one for each claim.
CREATE TABLE sync_run (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  subscription_id uuid NOT NULL,
  run_id          bigint NOT NULL,
  token           bigint NOT NULL,
  attempt         int NOT NULL,
  action          text NOT NULL CHECK (action IN ('schedule', 'manual')),
  generation      bigint NOT NULL,
  outcome         text NOT NULL DEFAULT 'running'
                  CHECK (outcome IN ('running', 'succeeded', 'noChanges', 'partial', 'failed', 'abandoned')),
  full_walk       boolean NOT NULL,
  chunks          int NOT NULL DEFAULT 0,          -- committed ones; also how a commit of unknown outcome is resolved
  found           bigint NOT NULL DEFAULT 0,
  created         bigint NOT NULL DEFAULT 0,
  updated         bigint NOT NULL DEFAULT 0,
  deleted         bigint NOT NULL DEFAULT 0,
  resurrected     bigint NOT NULL DEFAULT 0,
  unchanged       bigint NOT NULL DEFAULT 0,
  stale           bigint NOT NULL DEFAULT 0,
  filtered        bigint NOT NULL DEFAULT 0,
  quarantined     bigint NOT NULL DEFAULT 0,
  error_code      text,
  error           text,
  cursor_before   jsonb,
  cursor_after    jsonb,
  started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at     timestamptz,
  UNIQUE (run_id, token)
) WITH (fillfactor = 70);

CREATE INDEX sync_run_subscription ON sync_run (subscription_id, started_at);
CREATE INDEX sync_run_running ON sync_run (subscription_id) WHERE outcome = 'running';

-- One change of one row of a sink. Unchanged records are counted, not stored.
CREATE TABLE sync_item (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sync_run_id     bigint NOT NULL,
  subscription_id uuid NOT NULL,
  chunk           int NOT NULL,
  external_id     text NOT NULL,
  local_id        uuid NOT NULL,
  operation       text NOT NULL CHECK (operation IN ('created', 'updated', 'deleted', 'resurrected')),
  version         bigint NOT NULL,
  changed_fields  jsonb NOT NULL,                  -- {field: {from, to}}
  event_id        uuid,                            -- NULL: emitChanges was off
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (local_id, version)
);

CREATE INDEX sync_item_run ON sync_item (sync_run_id);
CREATE INDEX sync_item_subscription ON sync_item (subscription_id, id);

-- A record that could not be applied, until it can.
CREATE TABLE quarantine (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  subscription_id uuid NOT NULL,
  record_key      text NOT NULL,                   -- the external id, or sha256:<hex> of a record that has no usable one
  external_id     text,
  attempts        int NOT NULL,                    -- runs that tried it and failed
  error_code      text NOT NULL,
  error           text NOT NULL,
  record          bytea,                           -- the record as JSON; NULL when it is too large to keep
  last_sync_run   bigint NOT NULL,
  first_seen      timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_seen       timestamptz NOT NULL DEFAULT clock_timestamp(),
  resolved_at     timestamptz,
  UNIQUE (subscription_id, record_key)
);

CREATE INDEX quarantine_open ON quarantine (subscription_id) WHERE resolved_at IS NULL;

-- Change events, written in the transaction of the change.
CREATE TABLE outbox (
  seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id              uuid NOT NULL UNIQUE,            -- UUIDv5 (subscription, local id, row version): a retry is the same event
  type            text NOT NULL,
  entity          text NOT NULL,
  aggregate       uuid NOT NULL,
  version         bigint NOT NULL,
  subscription_id uuid NOT NULL,
  connection_id   uuid NOT NULL,
  payload         jsonb NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
