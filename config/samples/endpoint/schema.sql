-- What the endpoint may do in the pool's database: write its own table, start runs, and complete those it was given.
-- Run by the role that owns the schema syncline, after a superuser's CREATE ROLE shop LOGIN PASSWORD 'change-me'.
CREATE TABLE public.paid (
  run bigint PRIMARY KEY,
  cents bigint NOT NULL
);
GRANT INSERT ON public.paid TO shop;
GRANT USAGE ON SCHEMA syncline TO shop;
GRANT EXECUTE ON FUNCTION syncline.start, syncline.complete TO shop;
