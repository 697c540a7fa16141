-- Records every committed change of the tables that the checker reads. The order of commits is that of the commit
-- timestamps: a transaction that waited for another, or saw its rows, has the later one.
CREATE TABLE public.change (
  seq bigint GENERATED ALWAYS AS IDENTITY,
  tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  name text NOT NULL,
  old jsonb,
  new jsonb,
  writer text NOT NULL DEFAULT current_setting('application_name')
);

-- What handlers write: with their completion, under a fence, with the memo of a step. Nothing is unique: a second effect
-- must be seen, not refused.
CREATE TABLE public.effect (run bigint, token bigint, worker bigint);
CREATE TABLE public.fenced (run bigint, token bigint, worker bigint);
CREATE TABLE public.step_effect (run bigint, token bigint, name text);

CREATE FUNCTION public.record() RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_catalog
AS $$
BEGIN
  INSERT INTO public.change (name, old, new)
  VALUES (TG_TABLE_NAME,
          CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - 'spare' END,
          CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - 'spare' END);
  RETURN NULL;
END $$;

DO $$
DECLARE
  v_table text;
BEGIN
  FOREACH v_table IN ARRAY '{syncline.run,syncline.ready,syncline.scheduled,syncline.blocked,syncline.waiting,syncline.worker,
    syncline.receipt,syncline.lane,syncline.lane_hold,syncline.cancel_request,syncline.step,syncline.completing,
    syncline.dedupe,public.effect,public.fenced,public.step_effect}'::text[]
  LOOP
    EXECUTE format('CREATE TRIGGER zz_record AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION public.record()', v_table);
  END LOOP;
END $$;
