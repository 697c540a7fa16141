-- Writes down every change of the rows that the claim protocol reads, with the transaction that made it. Row locks
-- order the changes of a row, and whoever has seen a transaction's rows writes later than it: so transactions in the
-- order of their last change are in an order in which they could have run one after the other.

CREATE TABLE history (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tx bigint NOT NULL,
  relation text NOT NULL,
  old jsonb,
  new jsonb,
  writer text NOT NULL
);

-- Runs with the rights of the schema's owner: callers may have none on the history.
CREATE FUNCTION history_note() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
  INSERT INTO history (tx, relation, old, new, writer)
  VALUES (
    pg_current_xact_id()::text::bigint,
    TG_TABLE_NAME,
    CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - '{input,output,payload,spare}'::text[] END,
    CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - '{input,output,payload,spare}'::text[] END,
    coalesce(current_setting('application_name', true), ''));
  RETURN NULL;
END $$;

-- Beats of workers are not part of the history: only their birth and their end.
CREATE TRIGGER history AFTER INSERT OR DELETE ON worker FOR EACH ROW EXECUTE FUNCTION history_note();

DO $$
DECLARE
  v_table text;
BEGIN
  FOREACH v_table IN ARRAY '{run,ready,scheduled,blocked,waiting,receipt,lane,lane_hold,cancel_request,step,completing}'::text[] LOOP
    EXECUTE format('CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION history_note()', v_table);
  END LOOP;
END $$;
