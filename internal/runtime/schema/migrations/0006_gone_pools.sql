-- How long runs are kept whose pool is not declared any more, in milliseconds: what the pool said last. NULL keeps for ever.
CREATE TABLE gone_pool (
  name text PRIMARY KEY,
  completed_millis bigint,
  failed_millis bigint
);
