package integration

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/events"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/schema/schematest"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

const schemaName = "syncline"

var (
	subscriptionID = spec.ID("test", "subscription", "default", "tickets")
	connectionID   = spec.ID("test", "connection", "default", "acme")
)

// world is one database with one subscription, a worker's incarnation and a scripted source.
type world struct {
	t      testing.TB
	db     *pgtest.DB
	pool   *pgxpool.Pool
	store  *jobs.Store
	worker *jobs.Incarnation
	sub    spec.Subscription
	source *script
	config Config
}

// ticketSpec is the subscription of most tests: an id, a title, an exact number and the provider's own time of change.
func ticketSpec() spec.Subscription {
	return spec.Subscription{
		Version: spec.Version, Entity: "ticket",
		Schedule: &spec.Schedule{PeriodSeconds: 60},
		Source: spec.Source{HTTP: &spec.HTTPSource{
			Request: spec.Request{Path: "/tickets"}, ID: "string(record.id)", Order: spec.OrderNone, Limits: spec.DefaultLimits(),
			Cursor: &spec.Cursor{Timestamp: &spec.TimestampCursor{From: "updated", Format: spec.FormatRFC3339}},
		}},
		Tombstone: "has(record.deleted) && record.deleted == true",
		Mapping: []spec.Field{
			{Name: "title", From: "title", Type: spec.Text},
			{Name: "amount", From: "amount", Type: spec.Numeric},
			{Name: "source_updated_at", From: "updated", Type: spec.TimestampTZ},
		},
		Sink: spec.Sink{
			Schema: "public", Table: "tickets", Management: spec.Managed, Delete: spec.SoftDelete,
			DiffIgnore: []string{"source_updated_at"},
		},
		EmitChanges: true, OnError: spec.OnRecordError{QuarantineAfter: 1, StopRatio: "0.2"}, AuditRetentionSeconds: 3600,
	}
}

func connectionSpec(auth spec.AuthKind) spec.Connection {
	return spec.Connection{Version: spec.Version, Provider: "acme", HTTP: &spec.HTTP{BaseURL: "https://acme.example", Auth: auth, TimeoutMillis: 1000}}
}

func newWorld(t testing.TB, edit ...func(*spec.Subscription)) *world {
	t.Helper()
	w := &world{t: t, db: schematest.NewDB(t), sub: ticketSpec(), source: &script{}}
	for _, e := range edit {
		e(&w.sub)
	}
	w.pool = w.connect()
	w.store = jobs.NewStore(w.pool)
	w.worker = w.register()
	w.arrange()
	return w
}

// arrange declares the connection and the subscription.
func (w *world) arrange() {
	w.t.Helper()
	w.config = Config{DB: w.pool, Sources: w.source.sources, Log: slog.New(slog.DiscardHandler)}
	w.writeConnection(connectionSpec(spec.AuthNone))
	w.insertSubscription()
}

// reusable makes one database that a table of cases uses in turn, each time cleared.
func reusable(t *testing.T) func(t *testing.T, edit ...func(*spec.Subscription)) *world {
	t.Helper()
	shared := newWorld(t)
	return func(t *testing.T, edit ...func(*spec.Subscription)) *world {
		t.Helper()
		w := &world{t: t, db: shared.db, pool: shared.pool, store: shared.store, worker: shared.worker, sub: ticketSpec(), source: &script{}}
		for _, e := range edit {
			e(&w.sub)
		}
		w.clear()
		w.exec("TRUNCATE connection, subscription")
		w.arrange()
		return w
	}
}

func (w *world) connect() *pgxpool.Pool {
	w.t.Helper()
	pool, err := schema.Connect(w.t.Context(), func() (string, error) { return w.db.URI, nil }, schemaName, 8)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(pool.Close)
	return pool
}

func (w *world) register() *jobs.Incarnation {
	w.t.Helper()
	inc, err := w.store.Register(w.t.Context(), jobs.WorkerInfo{Pool: "batch", Types: []string{jobs.SyncType}})
	if err != nil {
		w.t.Fatalf("register worker: %v", err)
	}
	// Nobody renews it, and a busy machine may take its time.
	w.exec("UPDATE worker SET expires_at = expires_at + interval '1 day' WHERE id = $1", inc.ID)
	return inc
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// begin opens a transaction of somebody else, who goes away with the test at the latest.
func (w *world) begin() pgx.Tx {
	w.t.Helper()
	tx, err := w.pool.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func (w *world) writeConnection(c spec.Connection) {
	w.t.Helper()
	w.exec(`INSERT INTO connection (id, provider, spec) VALUES ($1::text::uuid, $2, $3::jsonb)
		ON CONFLICT (id) DO UPDATE SET spec = excluded.spec`, connectionID.String(), c.Provider, document(w.t, c))
}

func (w *world) insertSubscription() {
	w.t.Helper()
	w.exec(`INSERT INTO subscription (id, connection_id, pool, spec) VALUES ($1::text::uuid, $2::text::uuid, 'batch', $3::jsonb)`,
		subscriptionID.String(), connectionID.String(), document(w.t, w.sub))
}

// change edits the subscription as a controller does.
func (w *world) change(edit func(*spec.Subscription)) {
	w.t.Helper()
	edit(&w.sub)
	w.exec(`UPDATE subscription SET spec = $2::jsonb, spec_generation = spec_generation + 1 WHERE id = $1::text::uuid`,
		subscriptionID.String(), document(w.t, w.sub))
}

func document(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// start enqueues a run of the subscription and claims it.
func (w *world) start() *jobs.Claim {
	w.t.Helper()
	input, _ := json.Marshal(map[string]string{"subscription": subscriptionID.String(), "action": "manual"})
	_, err := jobs.Start(w.t.Context(), w.pool, jobs.StartParams{Type: jobs.SyncType, Pool: "batch", Input: input, Lane: Lane(subscriptionID)})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.claim()
}

func (w *world) claim() *jobs.Claim {
	w.t.Helper()
	claims, _, err := w.store.Claim(w.t.Context(), w.worker, 10)
	if err != nil || len(claims) != 1 {
		w.t.Fatalf("claimed %d runs, %v; want one", len(claims), err)
	}
	return claims[0]
}

// handle executes a claim and settles it as a worker does.
func (w *world) handle(ctx context.Context, c *jobs.Claim) error {
	w.t.Helper()
	output, err := NewHandler(w.config).Handle(ctx, c)
	settlement := TypeConfig().Settle(c, output, err, causeOf(ctx))
	if c.CompletionAsked() && err == nil {
		// The worker asks by the failure settle, and finds the run ended.
		settlement.Outcome = jobs.Failed
	}
	if _, settleErr := w.store.Settle(context.WithoutCancel(ctx), w.worker, []jobs.Settlement{settlement}); settleErr != nil {
		w.t.Fatalf("settle: %v", settleErr)
	}
	return err
}

// sync runs once and gives the attempt.
func (w *world) sync() attempt {
	w.t.Helper()
	if err := w.handle(w.t.Context(), w.start()); err != nil {
		w.t.Fatalf("sync: %v", err)
	}
	return w.attempt()
}

// attempt is what a test reads of the newest sync_run.
type attempt struct {
	Outcome, Code, Error string
	FullWalk             bool
	Chunks               int
	Counts               counts
	Before, After        string
}

func (w *world) attempt() attempt {
	w.t.Helper()
	var a attempt
	var found int64
	c := &a.Counts
	err := w.pool.QueryRow(w.t.Context(), `
		SELECT outcome, COALESCE(error_code, ''), COALESCE(error, ''), full_walk, chunks, found, created, updated, deleted, resurrected,
		       unchanged, stale, filtered, quarantined, COALESCE(cursor_before->>'value', ''), COALESCE(cursor_after->>'value', '')
		FROM sync_run ORDER BY id DESC LIMIT 1`).Scan(&a.Outcome, &a.Code, &a.Error, &a.FullWalk, &a.Chunks, &found, &c.created, &c.updated,
		&c.deleted, &c.resurrected, &c.unchanged, &c.stale, &c.filtered, &c.quarantined, &a.Before, &a.After)
	if err != nil {
		w.t.Fatalf("read the attempt: %v", err)
	}
	if found != c.found() {
		w.t.Errorf("attempt found %d records, its parts add up to %d: %+v", found, c.found(), a.Counts)
	}
	return a
}

func (w *world) cursor() string {
	w.t.Helper()
	return w.text("SELECT COALESCE(cursor->>'value', '') FROM subscription")
}

// text reads one value.
func (w *world) text(sql string, args ...any) string {
	w.t.Helper()
	var s *string
	if err := w.pool.QueryRow(w.t.Context(), sql, args...).Scan(&s); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	if s == nil {
		return ""
	}
	return *s
}

// lines reads rows as text, columns joined by blanks.
func (w *world) lines(sql string) []string {
	w.t.Helper()
	joined := "SELECT concat_ws(' ', VARIADIC ARRAY(SELECT value FROM jsonb_each_text(to_jsonb(q)) ORDER BY key)) FROM (" + sql + ") AS q"
	rows, err := w.pool.Query(w.t.Context(), joined)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// rows are the sink's rows: id, title, amount, alive or not, version.
func (w *world) rows() []string {
	w.t.Helper()
	return w.lines(`SELECT external_id AS a, COALESCE(title, '-') AS b, COALESCE(amount::text, '-') AS c,
		CASE WHEN deleted_at IS NULL THEN 'alive' ELSE 'deleted' END AS d, 'v' || version AS e FROM public.tickets ORDER BY external_id`)
}

// events are type, external id and changed fields, in the order of the outbox.
func (w *world) events() []string {
	w.t.Helper()
	return w.lines(`SELECT type AS a, payload->>'externalId' AS b, COALESCE(payload->>'changedFields', '-') AS c,
		COALESCE(payload->>'resurrected', '') AS d FROM outbox ORDER BY seq`)
}

func (w *world) quarantine() []string {
	w.t.Helper()
	return w.lines(`SELECT record_key AS a, error_code AS b, attempts AS c, CASE WHEN resolved_at IS NULL THEN 'open' ELSE 'resolved' END AS d
		FROM quarantine ORDER BY record_key`)
}

// checkBooks holds invariant 1: a row's change, its audit item and its event exist together or not at all.
func (w *world) checkBooks() {
	w.t.Helper()
	for what, sql := range map[string]string{
		"rows whose version differs from their newest item": `SELECT count(*) FROM public.tickets t
			WHERE t.version IS DISTINCT FROM (SELECT max(i.version) FROM sync_item i WHERE i.local_id = t.id)`,
		"items without predecessor": `SELECT count(*) FROM sync_item i WHERE i.version > 1
			AND NOT EXISTS (SELECT FROM sync_item p WHERE p.local_id = i.local_id AND p.version = i.version - 1)`,
		"items without their event": `SELECT count(*) FROM sync_item i LEFT JOIN outbox o ON o.id = i.event_id
			AND o.aggregate = i.local_id AND o.version = i.version WHERE o.id IS NULL`,
		"events without their item": `SELECT count(*) FROM outbox o WHERE NOT EXISTS (SELECT FROM sync_item i WHERE i.event_id = o.id)`,
	} {
		if n := w.text("SELECT (" + sql + ")::text"); n != "0" {
			w.t.Errorf("%s %s, want none", n, what)
		}
	}
	rows, err := w.pool.Query(w.t.Context(), "SELECT id, aggregate, version FROM outbox")
	if err != nil {
		w.t.Fatal(err)
	}
	var id, local uuid.UUID
	var version int64
	_, err = pgx.ForEachRow(rows, []any{&id, &local, &version}, func() error {
		if want := events.ID(subscriptionID, local, version); id != want {
			w.t.Errorf("event of row %s version %d has the id %s, want %s (I22)", local, version, id, want)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
