-- $1 cluster, $2 where counting stops. One statement, one snapshot.
--
-- Depths are read from the narrow tables by their indexes on pool (ready_free, ready_laned, scheduled_due); blocked,
-- worker and receipt are as small as the number of lanes and workers. A receipt may name runs that have ended meanwhile,
-- so what runs is checked by the runs' primary key. The newest sync run is found by its primary key, open quarantine
-- rows by quarantine_open.
WITH held AS MATERIALIZED (
	SELECT r.pool,
		count(*) FILTER (WHERE w.expires_at > clock_timestamp()) AS running,
		count(*) FILTER (WHERE w.id IS NULL OR w.expires_at <= clock_timestamp()) AS stale
	FROM receipt AS c
	CROSS JOIN LATERAL unnest(c.ids, c.tokens) AS t (id, token)
	JOIN run AS r ON r.id = t.id AND r.status = 'running' AND r.claimed_by = c.worker AND r.claim_token = t.token
	LEFT JOIN worker AS w ON w.id = c.worker
	GROUP BY r.pool
), working AS MATERIALIZED (
	SELECT w.pool,
		count(*) AS live,
		count(*) FILTER (WHERE w.tuning_generation = p.tuning_generation) AS current,
		count(*) FILTER (WHERE w.draining) AS draining,
		min(w.expires_at - w.lease_millis * interval '1 millisecond') AS oldest_beat,
		bool_or(w.expires_at + (2 * w.heartbeat_millis - w.lease_millis) * interval '1 millisecond' < clock_timestamp()) AS late
	FROM worker AS w
	JOIN pool AS p ON p.name = w.pool
	WHERE w.expires_at > clock_timestamp()
	GROUP BY w.pool
)
SELECT clock_timestamp(),
	(
		SELECT coalesce(jsonb_object_agg(p.name, jsonb_build_object(
			'owner', jsonb_build_object(
				'cluster', coalesce(p.owner_cluster, ''), 'namespace', coalesce(p.owner_namespace, ''),
				'owner', coalesce(p.owner_name, ''), 'uid', coalesce(p.owner_uid, ''),
				'generation', coalesce(p.owner_generation, 0)),
			'tuning_generation', p.tuning_generation, 'sealed', p.secrets IS NOT NULL,
			'heartbeat_millis', coalesce((p.tuning->>'heartbeatMillis')::bigint, 0),
			'workers', coalesce(working.live, 0), 'workers_current', coalesce(working.current, 0),
			'workers_draining', coalesce(working.draining, 0),
			'oldest_beat', working.oldest_beat, 'late', coalesce(working.late, false),
			'depth', jsonb_build_object(
				'pending', least(due.n + over.n, $2), 'scheduled', later.n, 'blocked', laned.n,
				'running', coalesce(held.running, 0), 'stale', coalesce(held.stale, 0), 'unserved', least(unknown.n, $2)),
			'unserved_types', unknown.types,
			'oldest_pending', least((SELECT run_at FROM run WHERE id = due.first), over.oldest),
			'completed', p.completed, 'failed', p.failed,
			'fenced_writes', p.fenced_writes, 'leases_recovered', p.leases_recovered)), '{}')
		FROM pool AS p
		LEFT JOIN held ON held.pool = p.name
		LEFT JOIN working ON working.pool = p.name
		CROSS JOIN LATERAL (
			SELECT count(*) AS n, (array_agg(d.id ORDER BY d.vstart, d.id))[1] AS first
			FROM (SELECT id, vstart FROM ready WHERE ready.pool = p.name LIMIT $2) AS d) AS due
		CROSS JOIN LATERAL (
			SELECT count(*) AS n, min(o.run_at) AS oldest
			FROM (
				SELECT run_at FROM scheduled
				WHERE scheduled.pool = p.name AND scheduled.run_at <= clock_timestamp()
				ORDER BY run_at
				LIMIT $2) AS o) AS over
		CROSS JOIN LATERAL (
			SELECT count(*) AS n
			FROM (
				SELECT FROM scheduled
				WHERE scheduled.pool = p.name AND scheduled.run_at > clock_timestamp()
				LIMIT $2) AS l) AS later
		CROSS JOIN LATERAL (
			SELECT count(*) AS n FROM (SELECT FROM blocked WHERE blocked.pool = p.name LIMIT $2) AS b) AS laned
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(u.runs), 0)::bigint AS n, (array_agg(left(u.job_type, 1024) ORDER BY u.job_type))[:10] AS types
			FROM unserved(p.name, $2) AS u) AS unknown
	),
	(
		SELECT coalesce(jsonb_object_agg(c.id, jsonb_build_object(
			'owner', jsonb_build_object(
				'cluster', c.owner_cluster, 'namespace', c.owner_namespace,
				'owner', c.owner_name, 'uid', c.owner_uid, 'generation', c.owner_generation),
			'sealed', c.credential IS NOT NULL)), '{}')
		FROM connection AS c
		WHERE c.owner_cluster = $1
	),
	(
		SELECT coalesce(jsonb_object_agg(s.id, jsonb_build_object(
			'owner', jsonb_build_object(
				'cluster', s.owner_cluster, 'namespace', s.owner_namespace,
				'owner', s.owner_name, 'uid', s.owner_uid, 'generation', s.owner_generation),
			'connection', s.connection_id, 'pool', s.pool, 'deletion_policy', s.deletion_policy,
			'retired', s.retired_at IS NOT NULL, 'run_handled', coalesce(s.run_handled, ''),
			'next_run', CASE WHEN s.retired_at IS NULL AND NOT s.suspended THEN s.next_run_at END,
			'last_success', s.last_success_at, 'last_change', s.last_change_at,
			'consecutive_failures', s.consecutive_failures, 'cursor', s.cursor, 'quarantined', q.n,
			'last_run', CASE WHEN r.id IS NOT NULL
				THEN to_jsonb(r) - '{cursor_before,cursor_after}'::text[] END)), '{}')
		FROM subscription AS s
		LEFT JOIN sync_run AS r ON r.id = s.last_sync_run
		CROSS JOIN LATERAL (
			SELECT count(*) AS n
			FROM (
				SELECT FROM quarantine
				WHERE quarantine.subscription_id = s.id AND quarantine.resolved_at IS NULL
				LIMIT $2) AS o) AS q
		WHERE s.owner_cluster = $1
	)
