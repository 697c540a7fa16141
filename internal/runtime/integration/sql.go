package integration

// All statements of runs but those on sink tables. They are unqualified: connections have the engine's schema first in
// their search path. READ COMMITTED is assumed.
const (
	// loadSQL reads what a run is about and locks the subscription, so that a tick, a controller or another run waits for
	// the begin.
	loadSQL = `
SELECT s.connection_id::text, s.spec, s.spec_generation, s.retired_at IS NOT NULL, s.cursor, COALESCE(s.walk_hash, ''),
       c.id IS NOT NULL, COALESCE(c.provider, ''), c.spec, c.credential,
       EXISTS (SELECT FROM quarantine q WHERE q.subscription_id = s.id AND q.resolved_at IS NULL), clock_timestamp(),
       COALESCE(s.active_run, 0)
FROM subscription s
LEFT JOIN connection c ON c.id = s.connection_id
WHERE s.id = $1::text::uuid
FOR NO KEY UPDATE OF s`

	// goingSQL looks at the run that began last, in a statement of its own: it must see what was committed before loadSQL
	// had the lock.
	goingSQL = `SELECT EXISTS (SELECT FROM run WHERE id = $1 AND status = 'running')`

	// abandonSQL closes attempts whose process was killed: only one run of a subscription can be going, and it is this one.
	// It relies on the partial index sync_run_running.
	abandonSQL = `
UPDATE sync_run
SET outcome = 'abandoned', finished_at = clock_timestamp()
WHERE subscription_id = $1::text::uuid AND outcome = 'running' AND (run_id, token) <> ($2, $3)`

	// beginSQL opens the attempt and takes the subscription's columns along in the same statement.
	beginSQL = `
WITH opened AS (
  INSERT INTO sync_run (subscription_id, run_id, token, attempt, action, generation, full_walk, cursor_before, cursor_after)
  VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7::jsonb IS NULL, $7::jsonb, $7::jsonb)
  RETURNING id)
UPDATE subscription s
SET last_attempt_at = clock_timestamp(), last_sync_run = opened.id, active_run = $2,
    pending_run = NULLIF(s.pending_run, $2),
    cursor = $7::jsonb, cursor_time = CASE WHEN $7::jsonb IS NULL THEN NULL ELSE s.cursor_time END, walk_hash = $8
FROM opened
WHERE s.id = $1::text::uuid
RETURNING opened.id`

	itemsSQL = `
INSERT INTO sync_item (sync_run_id, subscription_id, chunk, external_id, local_id, operation, version, changed_fields, event_id)
SELECT $1, $2::text::uuid, $3, u.external_id, u.local_id::uuid, u.operation, u.version, u.changed_fields::jsonb, u.event_id::uuid
FROM unnest($4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[])
  AS u (external_id, local_id, operation, version, changed_fields, event_id)`

	// outboxSQL numbers events after the rows were locked: the order of one row's events is that of its versions.
	outboxSQL = `
INSERT INTO outbox (id, type, entity, aggregate, version, subscription_id, connection_id, payload)
SELECT u.id::uuid, u.type, $1, u.aggregate::uuid, u.version, $2::text::uuid, $3::text::uuid, u.payload::jsonb
FROM unnest($4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[]) AS u (id, type, aggregate, version, payload)`

	// quarantineSQL counts runs that tried a record, not the times that one run met it.
	quarantineSQL = `
INSERT INTO quarantine AS q (subscription_id, record_key, external_id, attempts, error_code, error, record, last_sync_run)
SELECT $1::text::uuid, u.record_key, u.external_id, 1, u.error_code, u.error, u.record, $2
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[]) AS u (record_key, external_id, error_code, error, record)
ON CONFLICT (subscription_id, record_key) DO UPDATE
SET attempts = CASE WHEN q.resolved_at IS NOT NULL THEN 1
                    WHEN q.last_sync_run = excluded.last_sync_run THEN q.attempts
                    ELSE q.attempts + 1 END,
    first_seen = CASE WHEN q.resolved_at IS NOT NULL THEN clock_timestamp() ELSE q.first_seen END,
    external_id = excluded.external_id, error_code = excluded.error_code, error = excluded.error, record = excluded.record,
    last_sync_run = excluded.last_sync_run, last_seen = clock_timestamp(), resolved_at = NULL
RETURNING q.attempts`

	resolveSQL = `
UPDATE quarantine
SET resolved_at = clock_timestamp()
WHERE subscription_id = $1::text::uuid AND record_key = ANY ($2::text[]) AND resolved_at IS NULL`

	// countSQL adds a chunk to its attempt. The number of chunks also answers whether an uncertain commit took place.
	countSQL = `
UPDATE sync_run
SET chunks = chunks + 1, found = found + $2, created = created + $3, updated = updated + $4, deleted = deleted + $5,
    resurrected = resurrected + $6, unchanged = unchanged + $7, stale = stale + $8, filtered = filtered + $9,
    quarantined = quarantined + $10, cursor_after = COALESCE($11::jsonb, cursor_after)
WHERE id = $1 AND chunks = $12`

	// advanceSQL comes last in a chunk, so that the subscription is locked for a moment only. It finds no row when the
	// subscription is gone, retired or of another generation: then the chunk must not stand.
	advanceSQL = `
UPDATE subscription
SET cursor = COALESCE($3::jsonb, cursor),
    cursor_time = CASE WHEN $3::jsonb IS NULL THEN cursor_time ELSE clock_timestamp() END,
    last_change_at = CASE WHEN $4 THEN clock_timestamp() ELSE last_change_at END
WHERE id = $1::text::uuid AND spec_generation = $2 AND retired_at IS NULL`

	// concludeSQL closes the attempt.
	concludeSQL = `
UPDATE sync_run
SET outcome = $2, error_code = $3, error = $4, finished_at = clock_timestamp(), cursor_after = CASE WHEN $5 THEN NULL ELSE cursor_after END
WHERE id = $1`

	// stillbornSQL writes an attempt that ended before it was opened.
	stillbornSQL = `
INSERT INTO sync_run (subscription_id, run_id, token, attempt, action, generation, full_walk, outcome, error_code, error, finished_at)
VALUES ($1::text::uuid, $2, $3, $4, $5, $6, false, $7, $8, $9, clock_timestamp())
RETURNING id`

	// rememberSQL keeps the outcome on the subscription. $3: failed; $4: drained, that is everything was read; $5: the
	// cursor is void; $6: seconds until the next run, NULL to leave the schedule alone; $7: the run is over.
	rememberSQL = `
UPDATE subscription
SET last_sync_run = $2,
    last_attempt_at = COALESCE(last_attempt_at, clock_timestamp()),
    last_success_at = CASE WHEN $4 THEN clock_timestamp() ELSE last_success_at END,
    consecutive_failures = CASE WHEN $3 THEN consecutive_failures + 1 WHEN $4 THEN 0 ELSE consecutive_failures END,
    cursor = CASE WHEN $5 THEN NULL ELSE cursor END,
    cursor_time = CASE WHEN $5 THEN NULL ELSE cursor_time END,
    next_run_at = CASE WHEN $6::float8 IS NULL THEN next_run_at ELSE clock_timestamp() + make_interval(secs => $6::float8) END,
    pending_run = NULLIF(pending_run, $8),
    active_run = CASE WHEN $7 THEN NULLIF(active_run, $8) ELSE active_run END
WHERE id = $1::text::uuid`

	chunksSQL = `SELECT chunks FROM sync_run WHERE id = $1`
)
