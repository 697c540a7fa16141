-- $1 cluster, $2 where counting stops. One statement, one snapshot. Depths are read from the narrow tables by their
-- primary keys (pool first), the newest run by its primary key, open quarantine rows by their partial index.
SELECT clock_timestamp(),
	(SELECT coalesce(jsonb_object_agg(p.name, jsonb_build_object(
			'owner', jsonb_build_object('cluster', coalesce(p.owner_cluster, ''), 'namespace', coalesce(p.owner_namespace, ''),
				'owner', coalesce(p.owner_name, ''), 'uid', coalesce(p.owner_uid, ''), 'generation', coalesce(p.owner_generation, 0)),
			'tuning_generation', p.tuning_generation,
			'heartbeat_millis', coalesce((p.tuning->>'heartbeatMillis')::bigint, 0),
			'workers', w.live, 'workers_current', w.current, 'workers_draining', w.draining,
			'oldest_beat', w.oldest_beat, 'late', coalesce(w.late, false),
			'depth', jsonb_build_object(
				'pending', least(ready.n + due.n, $2),
				'scheduled', later.n,
				'blocked', blocked.n,
				'running', held.running, 'stale', held.stale),
			'oldest_pending', least(ready.oldest, due.oldest),
			'completed', p.completed, 'failed', p.failed,
			'fenced_writes', p.fenced_writes, 'leases_recovered', p.leases_recovered)), '{}')
		FROM pool AS p
		CROSS JOIN LATERAL (
			SELECT count(*) FILTER (WHERE expires_at > clock_timestamp()) AS live,
				count(*) FILTER (WHERE expires_at > clock_timestamp() AND tuning_generation = p.tuning_generation) AS current,
				count(*) FILTER (WHERE expires_at > clock_timestamp() AND draining) AS draining,
				min(expires_at - make_interval(secs => lease_millis / 1000.0)) AS oldest_beat,
				bool_or(expires_at - make_interval(secs => lease_millis / 2000.0) < clock_timestamp()) AS late
			FROM worker WHERE worker.pool = p.name) AS w
		CROSS JOIN LATERAL (
			SELECT count(*) AS n, min(since) AS oldest
			FROM (SELECT run_at AS since FROM ready WHERE ready.pool = p.name LIMIT $2) AS r) AS ready
		CROSS JOIN LATERAL (
			SELECT count(*) AS n, min(run_at) AS oldest
			FROM (SELECT run_at FROM scheduled WHERE scheduled.pool = p.name AND run_at <= clock_timestamp()
				ORDER BY run_at LIMIT $2) AS s) AS due
		CROSS JOIN LATERAL (
			SELECT count(*) AS n
			FROM (SELECT FROM scheduled WHERE scheduled.pool = p.name AND run_at > clock_timestamp() LIMIT $2) AS s) AS later
		CROSS JOIN LATERAL (
			SELECT count(*) AS n FROM (SELECT FROM blocked WHERE blocked.pool = p.name LIMIT $2) AS b) AS blocked
		CROSS JOIN LATERAL (SELECT 0 AS running, 0 AS stale) AS held),
	(SELECT coalesce(jsonb_object_agg(id, jsonb_build_object(
			'owner', jsonb_build_object('cluster', owner_cluster, 'namespace', owner_namespace,
				'owner', owner_name, 'uid', owner_uid, 'generation', owner_generation),
			'sealed', credential IS NOT NULL)), '{}')
		FROM connection
		WHERE owner_cluster = $1),
	(SELECT coalesce(jsonb_object_agg(s.id, jsonb_build_object(
			'owner', jsonb_build_object('cluster', s.owner_cluster, 'namespace', s.owner_namespace,
				'owner', s.owner_name, 'uid', s.owner_uid, 'generation', s.owner_generation),
			'connection', s.connection_id, 'pool', s.pool, 'deletion_policy', s.deletion_policy,
			'retired', s.retired_at IS NOT NULL, 'run_handled', coalesce(s.run_handled, ''),
			'next_run', CASE WHEN s.retired_at IS NULL AND NOT s.suspended THEN s.next_run_at END,
			'last_success', s.last_success_at, 'last_change', s.last_change_at,
			'consecutive_failures', s.consecutive_failures, 'cursor', s.cursor, 'quarantined', q.n,
			'last_run', CASE WHEN r.id IS NULL THEN NULL ELSE to_jsonb(r) - '{cursor_before,cursor_after}'::text[] END)), '{}')
		FROM subscription AS s
		LEFT JOIN sync_run AS r ON r.id = s.last_sync_run
		CROSS JOIN LATERAL (
			SELECT count(*) AS n
			FROM (SELECT FROM quarantine WHERE quarantine.subscription_id = s.id AND resolved_at IS NULL LIMIT $2) AS o) AS q
		WHERE s.owner_cluster = $1)
