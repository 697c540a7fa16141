package schema_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

const cluster = "c1"

// declared is a migrated database with a pool of connections that uses the schema.
func declared(t *testing.T) *pgxpool.Pool {
	t.Helper()
	db := pgtest.NewDB(t)
	conn, err := pgx.Connect(t.Context(), db.URI)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := schema.Migrate(t.Context(), conn, "syncline"); err != nil {
		t.Fatal(err)
	}
	pool, err := schema.Connect(t.Context(), func() (string, error) { return db.URI, nil }, "syncline", 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func inTx(t *testing.T, db *pgxpool.Pool, f func(tx pgx.Tx) error) {
	t.Helper()
	if err := pgx.BeginFunc(t.Context(), db, f); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, v any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func ownerOf(namespace, name, uid string, generation int64) schema.Owner {
	return schema.Owner{Cluster: cluster, Namespace: namespace, Name: name, UID: uid, Generation: generation}
}

func writePools(t *testing.T, db *pgxpool.Pool, rows ...schema.DesiredPool) map[string]schema.Written {
	t.Helper()
	var got map[string]schema.Written
	inTx(t, db, func(tx pgx.Tx) (err error) {
		got, err = schema.WritePools(t.Context(), tx, rows)
		return err
	})
	return got
}

func poolOf(t *testing.T, owner schema.Owner, name string, concurrency int) schema.DesiredPool {
	p := spec.DefaultPool()
	p.Concurrency = concurrency
	return schema.DesiredPool{Owner: owner, Pool: name, Tuning: encode(t, p)}
}

func TestPoolRowsBelongToTheirResource(t *testing.T) {
	t.Parallel()
	db := declared(t)
	mine, other := ownerOf("team-a", "batch", "uid-1", 3), ownerOf("team-b", "batch", "uid-2", 9)

	got := writePools(t, db, poolOf(t, mine, "batch", 5), poolOf(t, ownerOf("team-a", "mail", "uid-3", 1), "mail", 1))
	want := map[string]schema.Written{
		"batch": {Outcome: schema.OutcomeApplied, Generation: 1},
		"mail":  {Outcome: schema.OutcomeApplied, Generation: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("two new pools by one statement (-want +got):\n%s", diff)
	}

	steps := []struct {
		name string
		row  schema.DesiredPool
		want schema.Written
	}{
		{"the same again changes no generation", poolOf(t, mine, "batch", 5), schema.Written{Outcome: schema.OutcomeApplied, Generation: 1}},
		{
			"another tuning grows the generation", poolOf(t, ownerOf("team-a", "batch", "uid-1", 4), "batch", 6),
			schema.Written{Outcome: schema.OutcomeApplied, Generation: 2},
		},
		{"an older generation is refused", poolOf(t, mine, "batch", 7), schema.Written{Outcome: schema.OutcomeStale, Owner: ownerOf("team-a", "batch", "uid-1", 4)}},
		{"another resource is refused", poolOf(t, other, "batch", 7), schema.Written{Outcome: schema.OutcomeTaken, Owner: ownerOf("team-a", "batch", "uid-1", 4)}},
		{
			"a resource created again takes its row over", poolOf(t, ownerOf("team-a", "batch", "uid-9", 1), "batch", 6),
			schema.Written{Outcome: schema.OutcomeApplied, Generation: 2},
		},
	}
	for _, s := range steps {
		if diff := cmp.Diff(s.want, writePools(t, db, s.row)["batch"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

func TestPoolMadeByHandIsAdopted(t *testing.T) {
	t.Parallel()
	db := declared(t)
	if _, err := db.Exec(t.Context(), "INSERT INTO pool (name, tuning) VALUES ('batch', $1)", encode(t, spec.DefaultPool())); err != nil {
		t.Fatal(err)
	}
	got := writePools(t, db, poolOf(t, ownerOf("team-a", "batch", "uid-1", 1), "batch", 3))
	if want := (schema.Written{Outcome: schema.OutcomeApplied, Generation: 2}); got["batch"] != want {
		t.Errorf("a pool that a worker made by hand: got %+v, want it adopted as %+v", got["batch"], want)
	}
}

func TestTuningIsAnnouncedOnlyWhenItChanges(t *testing.T) {
	t.Parallel()
	db := declared(t)
	listener, err := db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Release()
	if _, err := listener.Exec(t.Context(), "LISTEN "+schema.PoolChannel("syncline")); err != nil {
		t.Fatal(err)
	}
	owner := ownerOf("team-a", "batch", "uid-1", 1)
	writePools(t, db, poolOf(t, owner, "batch", 1))
	writePools(t, db, poolOf(t, owner, "batch", 1)) // the same: silent
	writePools(t, db, poolOf(t, owner, "other", 1))
	for _, want := range []string{"batch", "other"} {
		n, err := listener.Conn().WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n.Payload != want {
			t.Errorf("notification for pool %q, want %q: an unchanged tuning was announced", n.Payload, want)
		}
	}
}

var connectionID = spec.ID(cluster, "IntegrationConnection", "team-a", "crm")

func connectionOf(t *testing.T, credential, version string) schema.DesiredConnection {
	return schema.DesiredConnection{
		Owner: ownerOf("team-a", "crm", "uid-1", 1), ID: connectionID, Provider: "crm",
		Spec:       encode(t, spec.Connection{Version: spec.Version, Provider: "crm"}),
		Credential: []byte(credential), CredentialVersion: &version,
	}
}

func writeConnection(t *testing.T, db *pgxpool.Pool, row schema.DesiredConnection) schema.Written {
	t.Helper()
	var got map[uuid.UUID]schema.Written
	inTx(t, db, func(tx pgx.Tx) (err error) {
		got, err = schema.WriteConnections(t.Context(), tx, []schema.DesiredConnection{row})
		return err
	})
	return got[row.ID]
}

func TestCredentialIsReplacedOnlyByAnotherVersion(t *testing.T) {
	t.Parallel()
	db := declared(t)
	for _, step := range []struct{ credential, version, want string }{
		{"sealed-1", "v1", "sealed-1"},
		{"sealed-again", "v1", "sealed-1"},
		{"sealed-2", "v2", "sealed-2"},
	} {
		if got := writeConnection(t, db, connectionOf(t, step.credential, step.version)); got.Outcome != schema.OutcomeApplied {
			t.Fatalf("write connection: %+v", got)
		}
		var got []byte
		if err := db.QueryRow(t.Context(), "SELECT credential FROM connection WHERE id = $1", connectionID).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if string(got) != step.want {
			t.Errorf("after writing %q of version %s the row holds %q, want %q", step.credential, step.version, got, step.want)
		}
	}
}

var subscriptionID = spec.ID(cluster, "IntegrationSubscription", "team-a", "tickets")

func subscriptionOf(t *testing.T, generation int64, entity string) schema.DesiredSubscription {
	return schema.DesiredSubscription{
		Owner: ownerOf("team-a", "tickets", "uid-1", generation), ID: subscriptionID, Connection: connectionID, Pool: "batch",
		Spec: encode(t, spec.Subscription{Version: spec.Version, Entity: entity}), DeletionPolicy: schema.PolicyRetain,
	}
}

func writeSubscription(t *testing.T, db *pgxpool.Pool, row schema.DesiredSubscription) schema.Written {
	t.Helper()
	var got map[uuid.UUID]schema.Written
	inTx(t, db, func(tx pgx.Tx) (err error) {
		got, err = schema.WriteSubscriptions(t.Context(), tx, []schema.DesiredSubscription{row})
		return err
	})
	return got[row.ID]
}

func TestSubscriptionNeedsItsConnection(t *testing.T) {
	t.Parallel()
	db := declared(t)
	if got := writeSubscription(t, db, subscriptionOf(t, 1, "ticket")); got.Outcome != schema.OutcomeConnectionMissing {
		t.Errorf("a subscription without its connection's row is %+v, want it to wait", got)
	}
	writeConnection(t, db, connectionOf(t, "sealed", "v1"))
	if got := writeSubscription(t, db, subscriptionOf(t, 1, "ticket")); got.Outcome != schema.OutcomeApplied || got.Generation != 1 {
		t.Errorf("the same with its connection's row is %+v, want it applied", got)
	}
	if got := writeSubscription(t, db, subscriptionOf(t, 2, "deal")); got.Generation != 2 {
		t.Errorf("a changed spec has generation %d, want 2: chunks of the old one would go on", got.Generation)
	}
}

func TestBrokenSpecStillSuspends(t *testing.T) {
	t.Parallel()
	db := declared(t)
	writeConnection(t, db, connectionOf(t, "sealed", "v1"))
	writeSubscription(t, db, subscriptionOf(t, 1, "ticket"))
	broken := subscriptionOf(t, 2, "")
	broken.Spec, broken.Suspended = nil, true
	if got := writeSubscription(t, db, broken); got.Outcome != schema.OutcomeApplied {
		t.Errorf("a declaration without spec is %+v, want its switches applied", got)
	}
	var (
		suspended  bool
		entity     string
		generation int64
	)
	err := db.QueryRow(t.Context(), "SELECT suspended, spec->>'entity', spec_generation FROM subscription WHERE id = $1", subscriptionID).
		Scan(&suspended, &entity, &generation)
	if err != nil {
		t.Fatal(err)
	}
	if !suspended || entity != "ticket" || generation != 1 {
		t.Errorf("suspended=%v entity=%q generation=%d, want the old spec, suspended", suspended, entity, generation)
	}
}

func TestRemovalsLeaveWhatTheyShould(t *testing.T) {
	t.Parallel()
	db := declared(t)
	ctx := t.Context()
	pool := poolOf(t, ownerOf("team-a", "batch", "uid-pool", 1), "batch", 1)
	writePools(t, db, pool)
	writeConnection(t, db, connectionOf(t, "sealed", "v1"))
	sub := subscriptionOf(t, 1, "ticket")
	writeSubscription(t, db, sub)
	audit := `
INSERT INTO sync_run (subscription_id, run_id, token, attempt, action, generation, full_walk)
VALUES ($1, 1, 1, 1, 'manual', 1, true)`
	if _, err := db.Exec(ctx, audit, subscriptionID); err != nil {
		t.Fatal(err)
	}

	inTx(t, db, func(tx pgx.Tx) error { return schema.RetireSubscription(ctx, tx, sub.Owner) })
	inTx(t, db, func(tx pgx.Tx) error {
		return schema.RemoveConnection(ctx, tx, ownerOf("team-a", "crm", "uid-1", 1))
	})
	snapshot := read(t, db)
	if s := snapshot.Subscriptions[subscriptionID]; !s.Retired {
		t.Errorf("retired subscription: %+v", s)
	}
	if _, ok := snapshot.Connections[connectionID]; ok {
		t.Error("a removed connection still has an owner")
	}
	var left int
	if err := db.QueryRow(ctx, "SELECT count(*) FROM connection WHERE credential IS NULL").Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left != 1 {
		t.Errorf("%d connections without credential, want 1: a retained subscription names it, and its credential must go", left)
	}

	inTx(t, db, func(tx pgx.Tx) error {
		ids, err := schema.DeleteSubscription(ctx, tx, sub.Owner)
		if len(ids) != 1 || ids[0] != subscriptionID {
			t.Errorf("deleted %v, want %v", ids, subscriptionID)
		}
		return err
	})
	for rest := true; rest; {
		var err error
		if rest, err = schema.PurgeSubscription(ctx, db, subscriptionID, 100); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.QueryRow(ctx, "SELECT (SELECT count(*) FROM sync_run) + (SELECT count(*) FROM subscription)").Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left != 0 {
		t.Errorf("%d rows of a deleted subscription are left", left)
	}
	inTx(t, db, func(tx pgx.Tx) error {
		done, err := schema.RemovePool(ctx, tx, pool.Owner)
		if !done {
			t.Error("a pool without workers is not removed")
		}
		return err
	})
}

func TestPoolRowStaysWhileWorkersLive(t *testing.T) {
	t.Parallel()
	db := declared(t)
	ctx := t.Context()
	pool := poolOf(t, ownerOf("team-a", "batch", "uid-pool", 1), "batch", 1)
	writePools(t, db, pool)
	live := `
INSERT INTO worker (pool, types, lease_millis, heartbeat_millis, expires_at, started_at)
VALUES ('batch', '{}', 60000, 20000, clock_timestamp() + interval '1 minute', clock_timestamp())`
	if _, err := db.Exec(ctx, live); err != nil {
		t.Fatal(err)
	}
	inTx(t, db, func(tx pgx.Tx) error {
		done, err := schema.RemovePool(ctx, tx, pool.Owner)
		if done {
			t.Error("a pool was removed under its workers, which read their tuning from it")
		}
		return err
	})
	inTx(t, db, func(tx pgx.Tx) error { return schema.DisownPool(ctx, tx, pool.Owner) })
	if p := read(t, db).Pools["batch"]; p.Owner != (schema.Owner{}) || p.Workers != 1 {
		t.Errorf("disowned pool: %+v", p)
	}
}

func read(t *testing.T, db *pgxpool.Pool) *schema.Snapshot {
	t.Helper()
	s, err := schema.ReadSnapshot(t.Context(), db, cluster)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSnapshotOfAnEmptySchemaIsEmpty(t *testing.T) {
	t.Parallel()
	s := read(t, declared(t))
	if len(s.Pools)+len(s.Connections)+len(s.Subscriptions) != 0 || s.Time.IsZero() {
		t.Errorf("snapshot of an empty schema: %+v", s)
	}
}

func TestSnapshotCountsRunsW71(t *testing.T) {
	t.Parallel()
	db := declared(t)
	ctx := t.Context()
	writePools(t, db, poolOf(t, ownerOf("team-a", "batch", "uid-1", 1), "batch", 1))
	setup := `
WITH w AS (
	INSERT INTO worker (pool, types, lease_millis, heartbeat_millis, expires_at, started_at, tuning_generation)
	VALUES ('batch', '{a}', 60000, 20000, clock_timestamp() + interval '1 minute', clock_timestamp(), 1),
		('batch', '{a}', 60000, 20000, clock_timestamp() - interval '1 second', clock_timestamp(), 0)
	RETURNING id, tuning_generation
), r AS (
	INSERT INTO run (id, job_type, pool, status, root, claim_token, claimed_by, claimed_at)
	SELECT 100 + w.tuning_generation, 'a', 'batch', 'running', 1, 7, w.id, clock_timestamp() FROM w
)
INSERT INTO receipt (worker, pod, ids, tokens)
SELECT id, '', ARRAY[100 + tuning_generation, 999], ARRAY[7, 1] FROM w`
	if _, err := db.Exec(ctx, setup); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{
		`SELECT start('a', '{}', '{"pool": "batch"}')`,
		`SELECT start('a', '{}', '{"pool": "batch"}')`,
		`SELECT start('a', '{}', '{"pool": "batch", "delay_ms": 3600000}')`,
		`SELECT start('b', '{}', '{"pool": "batch", "lane": "l"}')`,
		`SELECT start('c', '{}', '{"pool": "batch"}')`,
		`SELECT start('c', '{}', '{"pool": "batch"}')`,
		`INSERT INTO blocked (id, lane, pool, job_type, vstart) VALUES (900, 1, 'batch', 'a', clock_timestamp())`,
	} {
		if _, err := db.Exec(ctx, call); err != nil {
			t.Fatal(err)
		}
	}
	p := read(t, db).Pools["batch"]
	if want := (schema.Depth{Pending: 5, Scheduled: 1, Blocked: 1, Running: 1, Stale: 1, Unserved: 3}); p.Depth != want {
		t.Errorf("depth is %+v, want %+v", p.Depth, want)
	}
	if p.Workers != 1 || p.WorkersCurrent != 1 || p.OldestBeat == nil || p.OldestPending == nil || p.Late {
		t.Errorf("workers and times: %+v", p)
	}
	if want := []string{"b", "c"}; !slices.Equal(p.UnservedTypes, want) {
		t.Errorf("types that no live worker serves are %v, want %v", p.UnservedTypes, want)
	}
}

func TestIdentityIsTheDatabasesAndTheSchemas(t *testing.T) {
	t.Parallel()
	a, b := declared(t), declared(t)
	first, err := schema.Identity(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := schema.Identity(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 64 || first == second {
		t.Errorf("identities %q and %q, want two of 64 digits that differ", first, second)
	}
}
