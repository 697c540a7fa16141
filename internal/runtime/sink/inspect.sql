-- The table as the catalog shows it to the current role; one row, whether the table exists or not.
SELECT
  EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1),
  pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
  COALESCE(pg_catalog.current_schema() = $1, false),
  COALESCE((SELECT pg_catalog.has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace WHERE nspname = $1), false),
  COALESCE((SELECT pg_catalog.has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = $1), false),
  COALESCE(c.oid::bigint, 0),
  COALESCE(c.relkind::text, ''),
  COALESCE(pg_catalog.pg_has_role(c.relowner, 'USAGE'), false),
  COALESCE((
    SELECT pg_catalog.array_agg(p.name ORDER BY p.name)
    FROM (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS p (name)
    WHERE pg_catalog.has_table_privilege(c.oid, p.name)), '{}'),
  COALESCE((
    SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
      'name', a.attname,
      'number', a.attnum,
      'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
      'notNull', a.attnotnull,
      'hasDefault', a.atthasdef OR a.attidentity <> '',
      'generated', a.attgenerated <> '' OR a.attidentity = 'a') ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
  COALESCE((
    SELECT pg_catalog.jsonb_agg((
      SELECT pg_catalog.jsonb_agg(a.attname ORDER BY a.attname)
      FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey::smallint[])))
    FROM pg_catalog.pg_index i
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = i.indnatts), '[]')
FROM (SELECT) AS one
LEFT JOIN pg_catalog.pg_class c
  ON c.relname = $2
  AND c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1);
