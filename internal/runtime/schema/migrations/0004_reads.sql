-- What reads need beside the indexes of run.

-- The runs that failed, timed out or were lost, in the order in which they did. No index of run may name a column that a
-- settle changes, so what failed lately stands apart.
CREATE TABLE failure (
  run bigint NOT NULL,
  replay integer NOT NULL,
  pool text NOT NULL,
  tenant text,
  finished_at timestamptz NOT NULL,
  PRIMARY KEY (run, replay)
);
CREATE INDEX failure_recent ON failure (pool, finished_at, run);
