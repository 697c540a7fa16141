package database_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"k8s.io/apimachinery/pkg/types"

	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/test/kill/proxy"
)

const cluster = "c1"

// eventually is how long a state may take to come on a busy machine.
const eventually = 30 * time.Second

// start runs a registry until the test ends. Resources in gone no longer exist.
func start(t *testing.T, gone ...types.NamespacedName) *database.Registry {
	t.Helper()
	missing := make(map[types.NamespacedName]bool, len(gone))
	for _, name := range gone {
		missing[name] = true
	}
	r := database.New(database.Config{
		Cluster: cluster, Poll: 50 * time.Millisecond, Housekeeping: 200 * time.Millisecond, Rest: time.Millisecond,
		Log: testr.NewWithInterface(quiet{}, testr.Options{}),
		Exists: func(_ context.Context, _ database.Kind, name types.NamespacedName, _ string) (bool, error) {
			return !missing[name], nil
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { _ = r.Start(ctx) })
	t.Cleanup(func() { cancel(); wait.Wait() })
	return r
}

// quiet drops logs: what matters is asserted.
type quiet struct{}

func (quiet) Helper()             {}
func (quiet) Log(...any)          {}
func (quiet) Logf(string, ...any) {}

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "team", Name: name}
}

func poolOf(name string, generation int64, concurrency int) schema.DesiredPool {
	tuning := spec.DefaultPool()
	tuning.Concurrency = concurrency
	text, err := json.Marshal(tuning)
	if err != nil {
		panic(err)
	}
	return schema.DesiredPool{Owner: owner(name, generation), Pool: name, Tuning: text}
}

func owner(name string, generation int64) schema.Owner {
	return schema.Owner{Cluster: cluster, Namespace: "team", Name: name, UID: "uid-" + name, Generation: generation}
}

func target(uri string) database.Target { return database.Target{URI: uri, Schema: "syncline"} }

// await polls until done says so.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(eventually)
	defer limit.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("%s did not happen", what)
		}
	}
}

func applied(w *schema.Written) bool { return w != nil && w.Outcome == schema.OutcomeApplied }

func awaitPool(t *testing.T, r *database.Registry) database.PoolView {
	t.Helper()
	var view database.PoolView
	await(t, "the pool applied and read back", func() bool {
		view, _ = r.Pool(named("batch"))
		return applied(view.Row) && view.State != nil && view.State.TuningGeneration == view.Row.Generation
	})
	return view
}

func TestDeclaredPoolIsMigratedWrittenAndReadBack(t *testing.T) {
	t.Parallel()
	db, r := pgtest.NewDB(t), start(t)
	first := r.SetPool(named("batch"), target(db.URI), poolOf("batch", 1, 5))
	if first.Database.Known || first.Row != nil {
		t.Errorf("right after the declaration something is known: %+v; a reconcile must not have waited", first)
	}
	view := awaitPool(t, r)
	if !view.Database.Ready() || len(view.Database.Identity) != 64 || view.Row.Generation != 1 {
		t.Errorf("view %+v", view)
	}
	r.SetPool(named("batch"), target(db.URI), poolOf("batch", 2, 6))
	await(t, "a changed tuning", func() bool {
		view, _ := r.Pool(named("batch"))
		return applied(view.Row) && view.Row.Generation == 2
	})
}

// A database whose packets are swallowed is given up after one round's ten seconds; its connections are closed meanwhile,
// which takes fifteen more.
func TestASilentDatabaseIsGivenUpAfterOneRound(t *testing.T) {
	t.Parallel()
	const round, spare = 10 * time.Second, 4 * time.Second
	db, r := pgtest.NewDB(t), start(t)
	u, err := url.Parse(db.URI)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.Listen(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port()))
	r.SetPool(named("batch"), target(u.String()), poolOf("batch", 1, 5))
	awaitPool(t, r)
	p.Silence()
	began := time.Now()
	await(t, "an unreachable database", func() bool { return !r.Database(target(u.String()).Key()).Reachable })
	if took := time.Since(began); took > round+spare {
		t.Errorf("the database is given up after %s, want about %s", took, round)
	}
	p.Resume()
	await(t, "the database that is back", func() bool { return r.Database(target(u.String()).Key()).Ready() })
}

func TestRowsChangedByHandAreWrittenAgain(t *testing.T) {
	t.Parallel()
	db, r := pgtest.NewDB(t), start(t)
	r.SetPool(named("batch"), target(db.URI), poolOf("batch", 1, 5))
	awaitPool(t, r)
	for _, meddle := range []string{
		"DELETE FROM syncline.pool",
		"UPDATE syncline.pool SET tuning = tuning || '{\"concurrency\": 999}', tuning_generation = tuning_generation + 1",
	} {
		if _, err := db.Pool.Exec(t.Context(), meddle); err != nil {
			t.Fatal(err)
		}
		await(t, "the row written again after "+meddle, func() bool {
			var n int
			err := db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM syncline.pool WHERE owner_uid = 'uid-batch' AND (tuning->>'concurrency')::int = 5").Scan(&n)
			return err == nil && n == 1
		})
	}
}

func TestUnreachableDatabaseStarvesNobody(t *testing.T) {
	t.Parallel()
	// A listener that never answers: connects hang until their timeout.
	deaf, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = deaf.Close() })
	db, r := pgtest.NewDB(t), start(t)
	for i := range 5 {
		name := fmt.Sprintf("lost-%d", i)
		r.SetPool(named(name), target(fmt.Sprintf("postgres://app@%s/db%d", deaf.Addr(), i)), poolOf(name, 1, 1))
	}
	r.SetPool(named("batch"), target(db.URI), poolOf("batch", 1, 5))
	awaitPool(t, r)
	await(t, "the silence named", func() bool {
		view, _ := r.Pool(named("lost-0"))
		return view.Database.Known && !view.Database.Reachable && view.Database.Message != ""
	})
}

func TestDatabaseThatComesBackIsUsedAgain(t *testing.T) {
	t.Parallel()
	server, err := pgtest.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	db, r := server.NewDB(t), start(t)
	r.SetPool(named("batch"), target(db.URI), poolOf("batch", 1, 5))
	awaitPool(t, r)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "the loss noticed", func() bool {
		view, _ := r.Pool(named("batch"))
		return !view.Database.Reachable
	})
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.SetPool(named("batch"), target(db.URI), poolOf("batch", 2, 7))
	await(t, "the database used again", func() bool {
		view, _ := r.Pool(named("batch"))
		return view.Database.Ready() && applied(view.Row) && view.Row.Generation == 2
	})
}

func TestBadRowKeepsNoOtherOut(t *testing.T) {
	t.Parallel()
	db, r := pgtest.NewDB(t), start(t)
	bad := poolOf("bad", 1, 1)
	bad.Tuning = json.RawMessage(`{"note": "a NUL: \u0000"}`)
	r.SetPool(named("bad"), target(db.URI), bad)
	r.SetPool(named("batch"), target(db.URI), poolOf("batch", 1, 5))
	awaitPool(t, r)
	await(t, "the bad row refused", func() bool {
		view, _ := r.Pool(named("bad"))
		return view.Row != nil && view.Row.Outcome == schema.OutcomeRejected && view.Row.Message != ""
	})
}

func TestOneNameInOneDatabaseIsOnesOnly(t *testing.T) {
	t.Parallel()
	db, r := pgtest.NewDB(t), start(t)
	a, b := poolOf("a", 1, 1), poolOf("b", 1, 1)
	a.Pool, b.Pool = "batch", "batch"
	r.SetPool(named("a"), target(db.URI), a)
	r.SetPool(named("b"), target(db.URI), b)
	await(t, "one owner", func() bool {
		va, _ := r.Pool(named("a"))
		vb, _ := r.Pool(named("b"))
		return applied(va.Row) && vb.Row != nil && vb.Row.Outcome == schema.OutcomeTaken && vb.Row.Owner.Name == "a"
	})
	r.ForgetPool(named("a"))
	await(t, "the name free for the other", func() bool {
		vb, _ := r.Pool(named("b"))
		return applied(vb.Row)
	})
}

// otherURI reaches the same database by another text, as after a rotated password.
func otherURI(t *testing.T, uri string) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("application_name", "rotated")
	u.RawQuery = q.Encode()
	return u.String()
}

func TestRotatedURIKeepsTheRow(t *testing.T) {
	t.Parallel()
	db, r := pgtest.NewDB(t), start(t)
	r.SetPool(named("batch"), target(db.URI), poolOf("batch", 1, 5))
	before := awaitPool(t, r)
	if _, err := db.Pool.Exec(t.Context(), "UPDATE syncline.pool SET completed = 42"); err != nil {
		t.Fatal(err)
	}
	rotated := otherURI(t, db.URI)
	r.SetPool(named("batch"), target(rotated), poolOf("batch", 1, 5))
	old := target(db.URI).Key()
	await(t, "the old connection let go", func() bool { return !r.Database(old).Known })
	after := awaitPool(t, r)
	if after.Database.Identity != before.Database.Identity || after.State.Completed != 42 || after.Row.Generation != 1 {
		t.Errorf("after a rotated URI: %+v, state %+v; the row was removed and made anew", after, after.State)
	}
}

func TestPoolMovedToAnotherDatabaseLeavesTheFirst(t *testing.T) {
	t.Parallel()
	one, two, r := pgtest.NewDB(t), pgtest.NewDB(t), start(t)
	r.SetPool(named("batch"), target(one.URI), poolOf("batch", 1, 5))
	awaitPool(t, r)
	r.SetPool(named("batch"), target(two.URI), poolOf("batch", 2, 5))
	awaitPool(t, r)
	await(t, "the first database left", func() bool {
		var n int
		err := one.Pool.QueryRow(t.Context(), "SELECT count(*) FROM syncline.pool").Scan(&n)
		return err == nil && n == 0
	})
}

func TestOrphansFollowTheirPolicy(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	conn, err := pgx.Connect(t.Context(), db.URI)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := schema.Migrate(t.Context(), conn, "syncline"); err != nil {
		t.Fatal(err)
	}
	insert := `
INSERT INTO syncline.subscription (id, connection_id, pool, spec, deletion_policy, owner_cluster, owner_namespace, owner_name, owner_uid, owner_generation)
VALUES (gen_random_uuid(), gen_random_uuid(), 'batch', '{}', $2, $3, 'team', $1, 'uid-' || $1, 1)`
	for _, row := range [][3]string{
		{"kept", "Retain", cluster}, {"deleted", "Delete", cluster}, {"standing", "Delete", cluster}, {"deleted", "Delete", "another-cluster"},
	} {
		if _, err := conn.Exec(t.Context(), insert, row[0], row[1], row[2]); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, named("kept"), named("deleted"))
	r.SetPool(named("batch"), target(db.URI), poolOf("batch", 1, 5))
	await(t, "orphans removed and retired", func() bool {
		var state string
		err := conn.QueryRow(t.Context(), `
SELECT string_agg(concat_ws(' ', owner_cluster, owner_name, CASE WHEN retired_at IS NULL THEN 'active' ELSE 'retired' END),
                  ', ' ORDER BY owner_cluster, owner_name)
FROM syncline.subscription`).Scan(&state)
		return err == nil && state == "another-cluster deleted active, c1 kept retired, c1 standing active"
	})
}

func TestRemovalIsAnswered(t *testing.T) {
	t.Parallel()
	db, r := pgtest.NewDB(t), start(t)
	r.SetPool(named("batch"), target(db.URI), poolOf("batch", 1, 5))
	awaitPool(t, r)
	key, _ := r.PoolDatabase(named("batch"))
	connection := spec.ID(cluster, "IntegrationConnection", "team", "crm")
	text, err := json.Marshal(spec.Connection{Version: spec.Version, Provider: "crm"})
	if err != nil {
		t.Fatal(err)
	}
	sub := schema.DesiredSubscription{
		Owner: owner("contacts", 1), ID: spec.ID(cluster, "IntegrationSubscription", "team", "contacts"), Connection: connection,
		Pool: "batch", Spec: document(t), DeletionPolicy: schema.PolicyDelete,
	}
	r.SetSubscription(named("contacts"), key, sub)
	await(t, "the missing connection named", func() bool {
		view := r.Subscription(key, named("contacts"), sub.ID)
		return view.Row != nil && view.Row.Outcome == schema.OutcomeConnectionMissing
	})
	r.SetConnection(named("crm"), []database.Key{key}, schema.DesiredConnection{Owner: owner("crm", 1), ID: connection, Provider: "crm", Spec: text})
	await(t, "the subscription written beside its connection, its table planned", func() bool {
		view := r.Subscription(key, named("contacts"), sub.ID)
		return applied(view.Row) && view.State != nil && view.Sink != nil && len(view.Sink.Statements) == 1
	})
	if r.RemoveSubscription(key, named("contacts"), sub.ID, sub.Owner, schema.PolicyDelete).Gone {
		t.Error("a removal is answered before the database was asked")
	}
	await(t, "the removal answered", func() bool {
		return r.Subscription(key, named("contacts"), sub.ID).Gone
	})
	r.ForgetSubscription(named("contacts"))
	if view := r.Subscription(key, named("contacts"), sub.ID); view.Gone {
		t.Errorf("a forgotten subscription is still answered: %+v", view)
	}
}

// document is a subscription that compiles.
func document(t *testing.T) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(spec.Subscription{
		Version: spec.Version, Entity: "contact",
		Source:  spec.Source{HTTP: &spec.HTTPSource{Request: spec.Request{Path: "/c"}, ID: "record.id", Order: spec.OrderNone, Limits: spec.DefaultLimits()}},
		Mapping: []spec.Field{{Name: "name", From: "name", Type: spec.Text}},
		Sink:    spec.Sink{Schema: "public", Table: "contacts", Management: spec.Managed, Delete: spec.SoftDelete},
		OnError: spec.OnRecordError{QuarantineAfter: 1, StopRatio: "0.2"}, AuditRetentionSeconds: 3600,
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestPoolsWithoutWorkersGetTheirRunsAndSweeps(t *testing.T) {
	t.Parallel()
	db, r := pgtest.NewDB(t), start(t)
	quick := poolOf("batch", 1, 5)
	tuning := spec.DefaultPool()
	tuning.HeartbeatMillis, tuning.LeaseMillis = 100, 300
	tuning.Retention.CompletedMillis = 3_600_000
	quick.Tuning, _ = json.Marshal(tuning)
	r.SetPool(named("batch"), target(db.URI), quick)
	awaitPool(t, r)
	ctx := t.Context()
	dead := `
WITH w AS (
	INSERT INTO syncline.worker (pool, types, lease_millis, heartbeat_millis, expires_at, started_at)
	VALUES ('batch', '{a}', 300, 100, clock_timestamp() - interval '1 second', clock_timestamp()) RETURNING id
), r AS (
	INSERT INTO syncline.run (id, job_type, pool, status, root, claim_token, claimed_by, claimed_at)
	SELECT 100, 'a', 'batch', 'running', 100, 1, w.id, clock_timestamp() FROM w
)
INSERT INTO syncline.receipt (worker, pod, ids, tokens) SELECT id, '', '{100}', '{1}' FROM w`
	old := `
INSERT INTO syncline.run (id, job_type, pool, status, root, created_at, finished_at)
SELECT 99, 'a', 'batch', 'completed', 99, t, t FROM (SELECT clock_timestamp() - interval '2 hours' AS t) AS x`
	if _, err := db.Pool.Exec(ctx, old); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Pool.Exec(ctx, dead); err != nil {
		t.Fatal(err)
	}
	due := `
INSERT INTO syncline.subscription (id, connection_id, pool, spec, deletion_policy)
VALUES ($1, gen_random_uuid(), 'batch', '{"version": 1, "schedule": {"periodSeconds": 3600}}', 'Retain')`
	id := uuid.New()
	if _, err := db.Pool.Exec(ctx, due, id); err != nil {
		t.Fatal(err)
	}
	await(t, "the due run started, the dead worker's run put back and the old run removed", func() bool {
		var started, putBack, kept int
		err := db.Pool.QueryRow(ctx, `
SELECT (SELECT count(*) FROM syncline.run WHERE job_type = 'integration.sync'),
	(SELECT count(*) FROM syncline.run WHERE id = 100 AND status = 'pending' AND lease_losses = 1),
	(SELECT count(*) FROM syncline.run WHERE id = 99)`).Scan(&started, &putBack, &kept)
		return err == nil && started == 1 && putBack == 1 && kept == 0
	})
	await(t, "the depth read back", func() bool {
		view, _ := r.Pool(named("batch"))
		return view.State != nil && view.State.Depth.Pending+view.State.Depth.Scheduled == 2 && view.State.LeasesRecovered == 1
	})
}

func TestTargetsHideTheirCredentials(t *testing.T) {
	t.Parallel()
	secret := target("postgres://app:swordfish@db/orders")
	for _, text := range []string{fmt.Sprint(secret), fmt.Sprintf("%+v", secret), fmt.Sprintf("%#v", secret), string(secret.Key())} {
		if want := "swordfish"; len(text) == 0 || strings.Contains(text, want) {
			t.Errorf("%q shows the password", text)
		}
	}
	if err := target("postgres://app:swordfish@[broken").Validate(); err == nil || strings.Contains(err.Error(), "swordfish") {
		t.Errorf("a broken URI gives %v, want an error without the password", err)
	}
}
