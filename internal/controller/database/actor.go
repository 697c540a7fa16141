package database

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

const (
	// dialTimeout bounds one connect. A database that comes back, or appears, must be noticed and everything that waits for
	// it be ready within ten seconds: one connect to nobody (3 s), the longest pause with its jitter (3 s), one more look
	// of a connection or subscription that has no row yet (2 s), and two rounds.
	dialTimeout = 3 * time.Second
	// longestPause is the longest time between two attempts to reach a database, before a jitter of half of it.
	longestPause = 2 * time.Second
	// migrateTimeout bounds one migration.
	migrateTimeout = 5 * time.Minute
	// cycleTimeout bounds one round of writing and reading.
	cycleTimeout = 10 * time.Second
	// removalPatience is how long the removal of rows keeps an actor alive whose database nobody names any more.
	removalPatience = 2 * time.Minute
	// connections is the size of an actor's pool of connections.
	connections = 2
)

// actor owns one database. One goroutine runs it; everything below mu is shared with reconciles.
type actor struct {
	key    Key
	target Target
	cfg    Config
	peers  *Registry
	log    logr.Logger
	// wake has the loop look for new declarations at once.
	wake chan struct{}

	mu            sync.Mutex
	database      View
	pools         rows[schema.DesiredPool]
	connections   rows[schema.DesiredConnection]
	subscriptions rows[schema.DesiredSubscription]
	sinks         map[uuid.UUID]*sinkCheck
	rates         map[string]*rate
	snapshot      *schema.Snapshot

	// The rest belongs to the loop alone.
	contact  time.Time // since when the database has answered every time
	sweepDue time.Time
	houseDue time.Time
	purges   []uuid.UUID
	grumbled map[string]string
}

func newActor(key Key, target Target, cfg Config, peers *Registry) *actor {
	return &actor{
		key: key, target: target, cfg: cfg, peers: peers,
		log:           cfg.Log.WithName("database").WithValues("database", string(key[:8])),
		wake:          make(chan struct{}, 1),
		pools:         make(rows[schema.DesiredPool]),
		connections:   make(rows[schema.DesiredConnection]),
		subscriptions: make(rows[schema.DesiredSubscription]),
		sinks:         make(map[uuid.UUID]*sinkCheck),
		rates:         make(map[string]*rate),
		grumbled:      make(map[string]string),
	}
}

// run serves the database until ctx ends or nobody names it any more.
func (a *actor) run(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 250*time.Millisecond, longestPause
	for ctx.Err() == nil && !a.idle() {
		served, err := a.session(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if served {
			pause.Reset()
		}
		a.broken(err)
		a.giveUpRemovals()
		wait(ctx, pause.NextBackOff(), nil)
	}
}

// session connects and serves until something fails. Served says that it got as far as a whole round.
func (a *actor) session(ctx context.Context) (served bool, err error) {
	db, err := a.open(ctx)
	if err != nil {
		return false, err
	}
	// Closing waits for connections that have fallen silent, which may take longer than the way to a database that is back.
	defer a.peers.wait.Go(db.Close)
	a.contact = time.Now()
	for ctx.Err() == nil && !a.idle() {
		if err := a.cycle(ctx, db); err != nil {
			return served, err
		}
		served = true
		wait(ctx, a.cfg.Poll, a.wake)
	}
	return served, nil
}

// cycle is one round: rows out, snapshot in, then whatever is due.
func (a *actor) cycle(ctx context.Context, db *pgxpool.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, cycleTimeout)
	defer cancel()
	for _, step := range []func(context.Context, *pgxpool.Pool) error{
		a.writeRows, a.removeRows, a.read, a.checkSinks, a.standIn, a.keepHouse,
	} {
		if err := step(ctx, db); err != nil {
			return err
		}
	}
	a.tell()
	return nil
}

// read takes the snapshot and has rows written again that are not as they were left.
func (a *actor) read(ctx context.Context, db *pgxpool.Pool) error {
	snapshot, err := schema.ReadSnapshot(ctx, db, a.cfg.Cluster)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.snapshot = snapshot
	a.measure(time.Now())
	a.distrust()
	return nil
}

// open migrates the schema and connects.
func (a *actor) open(ctx context.Context) (*pgxpool.Pool, error) {
	if err := a.migrate(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cycleTimeout)
	defer cancel()
	db, err := schema.Connect(ctx, func() (string, error) { return a.target.URI, nil }, a.target.Schema, connections)
	if err != nil {
		return nil, err
	}
	identity, err := schema.Identity(ctx, db)
	if err != nil {
		db.Close()
		return nil, err
	}
	a.mu.Lock()
	a.database = View{Known: true, Reachable: true, SchemaCurrent: true, Identity: identity}
	a.mu.Unlock()
	return db, nil
}

// schemaError is a database that answers but whose schema this process cannot use.
type schemaError struct{ reason, message string }

func (e *schemaError) Error() string { return e.reason + ": " + e.message }

// migrate brings the schema up to date. A role that may not change it can still serve one that is current.
func (a *actor) migrate(ctx context.Context) error {
	conn, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	failure := schema.Migrate(ctx, conn, a.target.Schema)
	if failure == nil || conn.IsClosed() {
		return failure
	}
	if hasState(failure, stateInsufficientRights) && a.usable(ctx, conn) {
		a.log.Info("the schema is current enough, but this role may not change it")
		return nil
	}
	return a.explain(failure, conn.Config().User, conn.Config().Database)
}

// dial opens one connection outside the pool.
func (a *actor) dial(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(a.target.URI)
	if err != nil {
		return nil, ErrInvalidURI
	}
	config.ConnectTimeout = dialTimeout
	return pgx.ConnectConfig(ctx, config)
}

// usable says whether this process can work with the schema as it is.
func (a *actor) usable(ctx context.Context, conn *pgx.Conn) bool {
	path := "SET search_path = " + pgx.Identifier{a.target.Schema}.Sanitize() + ", pg_catalog"
	if _, err := conn.Exec(ctx, path); err != nil {
		return false
	}
	return schema.Check(ctx, conn) == nil
}

// explain says what to do about a failed migration.
func (a *actor) explain(failure error, role, database string) error {
	role, database = pgx.Identifier{role}.Sanitize(), pgx.Identifier{database}.Sanitize()
	switch {
	case errors.Is(failure, schema.ErrSchemaTooNew):
		return &schemaError{v1alpha1.ReasonSchemaTooNew, failure.Error()}
	case hasState(failure, stateInsufficientRights):
		return &schemaError{v1alpha1.ReasonMissingGrant, fmt.Sprintf(
			"the role %s may not create or change schema %q: GRANT CREATE ON DATABASE %s TO %s and make %s the "+
				"owner of the schema, or have a DBA run what \"manager migrate --print --schema %s\" prints",
			role, a.target.Schema, database, role, role, a.target.Schema)}
	}
	return &schemaError{v1alpha1.ReasonMigrationFailed, describe(failure)}
}

// broken notes why the database cannot be used and tells every resource.
func (a *actor) broken(err error) {
	a.mu.Lock()
	view := View{Known: true, Identity: a.database.Identity}
	if refused, ok := errors.AsType[*schemaError](err); ok {
		view.Reachable, view.SchemaReason, view.SchemaMessage = true, refused.reason, refused.message
	} else {
		view.Message = describe(err)
	}
	if a.database != view {
		a.log.Info("database cannot be used", "reachable", view.Reachable, "message", view.Message+view.SchemaMessage)
	}
	a.database = view
	a.mu.Unlock()
	a.tell()
}

// idle says that nobody names the database and nothing is left to remove.
func (a *actor) idle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.pools) == 0 && len(a.connections) == 0 && len(a.subscriptions) == 0
}

// wakeUp has the loop look for new declarations at once.
func (a *actor) wakeUp() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// wait returns after d, at a wake-up, or when ctx ends.
func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	}
}
