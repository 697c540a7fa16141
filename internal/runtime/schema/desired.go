package schema

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Owner names the custom resource that declares a row. Generation is the resource's own: a row is written only by a
// generation that is not older than the one in it.
type Owner struct {
	Cluster    string `json:"cluster"`
	Namespace  string `json:"namespace"`
	Name       string `json:"owner"`
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`
}

// Same says whether both name the same resource, whatever its generation or incarnation: a resource that is deleted and
// created again takes its row over.
func (o Owner) Same(other Owner) bool {
	return o.Cluster == other.Cluster && o.Namespace == other.Namespace && o.Name == other.Name
}

// DesiredPool is a pool's row as its JobPool wants it.
type DesiredPool struct {
	Owner
	// Pool is the pool's name, the key of its row.
	Pool string `json:"name"`
	// Tuning is a spec.Pool document.
	Tuning json.RawMessage `json:"tuning"`
	// Secrets is a sealed spec.SigningSecrets, nil when no handler needs one.
	Secrets []byte `json:"secrets,omitempty"`
	// SecretsVersion says which versions of the secrets were sealed with which key. A row that has it keeps its secrets;
	// nil keeps them whatever they are: they could not be sealed now.
	SecretsVersion *string `json:"secrets_version,omitempty"`
}

// DesiredConnection is a connection's row as its IntegrationConnection wants it.
type DesiredConnection struct {
	Owner
	ID       uuid.UUID `json:"id"`
	Provider string    `json:"provider"`
	// Spec is a spec.Connection document.
	Spec json.RawMessage `json:"spec"`
	// Credential is a sealed spec.Credential; nil when requests carry none.
	Credential []byte `json:"credential,omitempty"`
	// CredentialVersion says which version of the secret was sealed with which key. A row that has it keeps its credential.
	CredentialVersion *string `json:"credential_version,omitempty"`
}

// DesiredSubscription is a subscription's row as its IntegrationSubscription wants it.
type DesiredSubscription struct {
	Owner
	ID         uuid.UUID `json:"id"`
	Connection uuid.UUID `json:"connection"`
	Pool       string    `json:"pool"`
	// Spec is a spec.Subscription document. Nil keeps the document in the row and writes only the switches below: a
	// spec that cannot run does not stop its owner from suspending the one that does.
	Spec json.RawMessage `json:"spec,omitempty"`
	// Suspended stops scheduled runs.
	Suspended bool `json:"suspended"`
	// RunRequested is the newest token of the run-now annotation, empty when there was none.
	RunRequested string `json:"run_requested,omitempty"`
	// DeletionPolicy is Retain or Delete: what happens to cursor and audit when the resource is found deleted.
	DeletionPolicy string `json:"deletion_policy"`
}

// Outcome is what became of a desired row.
type Outcome string

const (
	// OutcomeApplied is a row that is as desired.
	OutcomeApplied Outcome = "Applied"
	// OutcomeStale is a row that holds a newer generation already; it was left alone.
	OutcomeStale Outcome = "Stale"
	// OutcomeTaken is a row that another resource owns; it was left alone.
	OutcomeTaken Outcome = "Taken"
	// OutcomeConnectionMissing is a subscription whose connection has no row yet.
	OutcomeConnectionMissing Outcome = "ConnectionMissing"
	// OutcomeRejected is a row that the database refused; Written.Message says why.
	OutcomeRejected Outcome = "Rejected"
)

// Written is what became of one desired row.
type Written struct {
	Outcome Outcome
	// Owner is who owns the row now, when that is somebody else.
	Owner Owner
	// Generation is the tuning's or the spec's generation in the row, 0 when there is no row.
	Generation int64
	Message    string
}

// The statements below write any number of rows at once. They rely on the primary keys (pool.name, connection.id,
// subscription.id) and on READ COMMITTED. "old" is read from the statement's snapshot, before the write: it says whether
// something changed and, where nothing was written, why not.
const (
	writePools = `
WITH d AS (
	SELECT * FROM jsonb_to_recordset($1::jsonb) AS d (
		name text, tuning jsonb, secrets text, secrets_version text, cluster text, namespace text, owner text, uid text, generation bigint)
), w AS (
	INSERT INTO pool AS p (name, tuning, tuning_generation, secrets, secrets_version,
		owner_cluster, owner_namespace, owner_name, owner_uid, owner_generation, updated_at)
	SELECT name, tuning, 1, decode(secrets, 'base64'), secrets_version, cluster, namespace, owner, uid, generation, clock_timestamp()
	FROM d
	ORDER BY name
	ON CONFLICT (name) DO UPDATE SET
		tuning = excluded.tuning,
		tuning_generation = p.tuning_generation + (p.tuning IS DISTINCT FROM excluded.tuning
			OR coalesce(p.secrets_version, '') <> coalesce(excluded.secrets_version, p.secrets_version, ''))::int,
		secrets = CASE WHEN coalesce(excluded.secrets_version, p.secrets_version) IS NOT DISTINCT FROM p.secrets_version
			THEN p.secrets ELSE excluded.secrets END,
		secrets_version = coalesce(excluded.secrets_version, p.secrets_version),
		owner_cluster = excluded.owner_cluster, owner_namespace = excluded.owner_namespace,
		owner_name = excluded.owner_name, owner_uid = excluded.owner_uid,
		owner_generation = excluded.owner_generation, updated_at = clock_timestamp()
	WHERE p.owner_name IS NULL
		OR (p.owner_cluster, p.owner_namespace, p.owner_name)
			= (excluded.owner_cluster, excluded.owner_namespace, excluded.owner_name)
		AND (p.owner_uid <> excluded.owner_uid OR p.owner_generation <= excluded.owner_generation)
	RETURNING p.name, p.tuning_generation
), served AS (
	-- A run of a declared type can be started before a worker has registered it.
	INSERT INTO job_type (name, pool, last_seen)
	SELECT h->>'type', w.name, clock_timestamp()
	FROM w
	JOIN d USING (name)
	CROSS JOIN LATERAL jsonb_array_elements(coalesce(d.tuning->'handlers', '[]')) AS h
	ORDER BY 1, 2
	ON CONFLICT (name) DO NOTHING
), told AS (
	SELECT pg_notify(current_schema() || '_pool', w.name)
	FROM w
	LEFT JOIN pool AS old USING (name)
	WHERE w.tuning_generation IS DISTINCT FROM old.tuning_generation
)
SELECT d.name, w.tuning_generation, old.owner_cluster, old.owner_namespace, old.owner_name, old.owner_uid,
	old.owner_generation, (SELECT count(*) FROM told)
FROM d
LEFT JOIN w USING (name)
LEFT JOIN pool AS old USING (name)`

	writeConnections = `
WITH d AS (
	SELECT * FROM jsonb_to_recordset($1::jsonb) AS d (
		id uuid, provider text, spec jsonb, credential text, credential_version text,
		cluster text, namespace text, owner text, uid text, generation bigint)
), w AS (
	INSERT INTO connection AS c (id, provider, spec, credential, credential_version,
		owner_cluster, owner_namespace, owner_name, owner_uid, owner_generation, updated_at)
	SELECT id, provider, spec, decode(credential, 'base64'), credential_version,
		cluster, namespace, owner, uid, generation, clock_timestamp()
	FROM d
	ORDER BY id
	ON CONFLICT (id) DO UPDATE SET
		provider = excluded.provider, spec = excluded.spec,
		credential = CASE WHEN c.credential_version = excluded.credential_version
			THEN c.credential ELSE excluded.credential END,
		credential_version = excluded.credential_version,
		owner_cluster = excluded.owner_cluster, owner_namespace = excluded.owner_namespace,
		owner_name = excluded.owner_name, owner_uid = excluded.owner_uid,
		owner_generation = excluded.owner_generation, updated_at = clock_timestamp()
	WHERE c.owner_name IS NULL
		OR (c.owner_cluster, c.owner_namespace, c.owner_name)
			= (excluded.owner_cluster, excluded.owner_namespace, excluded.owner_name)
		AND (c.owner_uid <> excluded.owner_uid OR c.owner_generation <= excluded.owner_generation)
	RETURNING c.id
)
SELECT d.id, CASE WHEN w.id IS NULL THEN NULL ELSE 1 END, old.owner_cluster, old.owner_namespace, old.owner_name,
	old.owner_uid, old.owner_generation, 0
FROM d
LEFT JOIN w USING (id)
LEFT JOIN connection AS old USING (id)`

	// A subscription is written only beside its connection: a run without one could do nothing but fail. The tick
	// notices a changed schedule by itself.
	writeSubscriptions = `
WITH d AS (
	SELECT * FROM jsonb_to_recordset($1::jsonb) AS d (
		id uuid, connection uuid, pool text, spec jsonb, suspended bool, run_requested text, deletion_policy text,
		cluster text, namespace text, owner text, uid text, generation bigint)
), w AS (
	INSERT INTO subscription AS s (id, connection_id, pool, spec, spec_generation, suspended, run_requested,
		deletion_policy, owner_cluster, owner_namespace, owner_name, owner_uid, owner_generation, updated_at)
	SELECT d.id, d.connection, d.pool, d.spec, 1, d.suspended, d.run_requested, d.deletion_policy,
		d.cluster, d.namespace, d.owner, d.uid, d.generation, clock_timestamp()
	FROM d
	JOIN connection ON connection.id = d.connection
	WHERE d.spec IS NOT NULL
	ORDER BY d.id
	ON CONFLICT (id) DO UPDATE SET
		connection_id = excluded.connection_id, pool = excluded.pool, spec = excluded.spec,
		spec_generation = s.spec_generation + (s.spec IS DISTINCT FROM excluded.spec)::int,
		suspended = excluded.suspended,
		run_requested = COALESCE(excluded.run_requested, s.run_requested),
		deletion_policy = excluded.deletion_policy,
		retired_at = NULL,
		owner_cluster = excluded.owner_cluster, owner_namespace = excluded.owner_namespace,
		owner_name = excluded.owner_name, owner_uid = excluded.owner_uid,
		owner_generation = excluded.owner_generation, updated_at = clock_timestamp()
	WHERE s.owner_name IS NULL
		OR (s.owner_cluster, s.owner_namespace, s.owner_name)
			= (excluded.owner_cluster, excluded.owner_namespace, excluded.owner_name)
		AND (s.owner_uid <> excluded.owner_uid OR s.owner_generation <= excluded.owner_generation)
	RETURNING s.id, s.spec_generation
), switched AS (
	UPDATE subscription AS s SET
		suspended = d.suspended, deletion_policy = d.deletion_policy, owner_generation = d.generation,
		updated_at = clock_timestamp()
	FROM d
	WHERE s.id = d.id AND d.spec IS NULL AND s.owner_uid = d.uid AND s.owner_generation <= d.generation
		AND (s.suspended, s.deletion_policy, s.owner_generation) IS DISTINCT FROM
			(d.suspended, d.deletion_policy, d.generation)
	RETURNING s.id
)
SELECT d.id, w.spec_generation, old.owner_cluster, old.owner_namespace, old.owner_name, old.owner_uid,
	old.owner_generation, (SELECT count(*) FROM switched)
FROM d
LEFT JOIN w USING (id)
LEFT JOIN subscription AS old USING (id)`
)

// WritePools writes any number of pools by one statement and notifies the workers of those whose tuning changed. Names
// are distinct. The answer has one entry a name.
func WritePools(ctx context.Context, tx pgx.Tx, rows []DesiredPool) (map[string]Written, error) {
	owners := make(map[string]Owner, len(rows))
	for _, r := range rows {
		owners[r.Pool] = r.Owner
	}
	written, err := write(ctx, tx, writePools, rows, owners)
	if err != nil {
		return nil, fmt.Errorf("write %d pools: %w", len(rows), err)
	}
	return written, nil
}

// WriteConnections writes any number of connections by one statement. Ids are distinct. The answer has one entry an id.
func WriteConnections(ctx context.Context, tx pgx.Tx, rows []DesiredConnection) (map[uuid.UUID]Written, error) {
	owners := make(map[uuid.UUID]Owner, len(rows))
	for _, r := range rows {
		owners[r.ID] = r.Owner
	}
	written, err := write(ctx, tx, writeConnections, rows, owners)
	if err != nil {
		return nil, fmt.Errorf("write %d connections: %w", len(rows), err)
	}
	return written, nil
}

// WriteSubscriptions writes any number of subscriptions by one statement. Ids are distinct. The answer has one entry an
// id.
func WriteSubscriptions(ctx context.Context, tx pgx.Tx, rows []DesiredSubscription) (map[uuid.UUID]Written, error) {
	owners := make(map[uuid.UUID]Owner, len(rows))
	keep := make(map[uuid.UUID]bool, len(rows))
	for _, r := range rows {
		owners[r.ID] = r.Owner
		keep[r.ID] = r.Spec == nil
	}
	written, err := write(ctx, tx, writeSubscriptions, rows, owners)
	if err != nil {
		return nil, fmt.Errorf("write %d subscriptions: %w", len(rows), err)
	}
	for id, w := range written {
		switch {
		case w.Outcome != "":
		case keep[id]:
			w.Outcome = OutcomeApplied
		default:
			w.Outcome = OutcomeConnectionMissing
		}
		written[id] = w
	}
	return written, nil
}

// write runs one of the statements above. A row that was neither written nor refused keeps an empty outcome.
func write[K comparable, R any](ctx context.Context, tx pgx.Tx, query string, rows []R, owners map[K]Owner) (map[K]Written, error) {
	document, err := json.Marshal(rows)
	if err != nil {
		return nil, fmt.Errorf("encode rows: %w", err)
	}
	found, err := tx.Query(ctx, query, document)
	if err != nil {
		return nil, err
	}
	written := make(map[K]Written, len(rows))
	var (
		key                           K
		generation                    *int64
		cluster, namespace, name, uid *string
		before                        *int64
		told                          int64
	)
	_, err = pgx.ForEachRow(found, []any{&key, &generation, &cluster, &namespace, &name, &uid, &before, &told}, func() error {
		written[key] = judge(owners[key], generation, owner(cluster, namespace, name, uid, before))
		return nil
	})
	return written, err
}

// judge decides what became of a row from what was written and who owned it before.
func judge(mine Owner, generation *int64, before *Owner) Written {
	switch {
	case generation != nil:
		return Written{Outcome: OutcomeApplied, Generation: *generation}
	case before == nil:
		return Written{}
	case !before.Same(mine):
		return Written{Outcome: OutcomeTaken, Owner: *before}
	case before.UID == mine.UID && before.Generation > mine.Generation:
		return Written{Outcome: OutcomeStale, Owner: *before}
	}
	return Written{}
}

// owner reads the owner's columns; nil when there is no row or nobody owns it.
func owner(cluster, namespace, name, uid *string, generation *int64) *Owner {
	if cluster == nil || namespace == nil || name == nil || uid == nil || generation == nil {
		return nil
	}
	return &Owner{Cluster: *cluster, Namespace: *namespace, Name: *name, UID: *uid, Generation: *generation}
}
