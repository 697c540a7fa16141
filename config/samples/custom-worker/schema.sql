-- The table of the sample's own writes; the pool's database role needs INSERT and SELECT on it.
CREATE TABLE public.invoice (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run bigint NOT NULL UNIQUE,
  customer text NOT NULL,
  cents bigint NOT NULL
);
