package pgtest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
)

// Role owns the databases of tests and is no superuser.
const Role = "app"

// DB is one test's database.
type DB struct {
	Name string
	// URI connects as Role.
	URI string
	// Pool connects as Role, without a search path of the product.
	Pool *pgxpool.Pool

	server *Instance
}

var (
	shared     *Instance
	sharedOnce sync.Once
	sharedErr  error
	databases  atomic.Int64
)

// Main runs the tests of a package beside one server, which starts with the first use of Server or NewDB. With
// goleak options it also fails when a goroutine is left. It does not return.
func Main(m *testing.M, leaks ...goleak.Option) {
	code := m.Run()
	if shared != nil {
		if err := shared.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close test server:", err)
			code = max(code, 1)
		}
	}
	if code == 0 {
		if err := goleak.Find(leaks...); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines left after the tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Server is the server of this test binary. It fails the test when there is none to start.
func Server(t testing.TB) *Instance {
	t.Helper()
	sharedOnce.Do(func() { shared, sharedErr = New(context.Background()) })
	if sharedErr != nil {
		t.Fatalf("start PostgreSQL for the tests: %v", sharedErr)
	}
	return shared
}

// NewDB makes an empty database on the shared server and drops it with the test.
func NewDB(t testing.TB) *DB {
	t.Helper()
	return Server(t).NewDB(t)
}

// NewDB makes an empty database on this server and drops it with the test.
func (in *Instance) NewDB(t testing.TB) *DB {
	t.Helper()
	return in.newDB(t, "")
}

func (in *Instance) newDB(t testing.TB, like string) *DB {
	t.Helper()
	ctx := context.Background()
	db, err := in.create(ctx, like)
	if err != nil {
		t.Fatalf("create test database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Drop(ctx); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return db
}

// NewDBLike makes a database on the shared server as prepare leaves one, and drops it with the test. prepare is called once
// a test binary, with the URI of a database that is then copied; it must leave no connection open.
func NewDBLike(t testing.TB, prepare func(ctx context.Context, uri string) error) *DB {
	t.Helper()
	in := Server(t)
	original.Do(func() { originalErr = in.makeTemplate(context.Background(), prepare) })
	if originalErr != nil {
		t.Fatalf("prepare the database that tests copy: %v", originalErr)
	}
	return in.newDB(t, " TEMPLATE "+template)
}

// template is the database that NewDBLike copies.
const template = "original"

var (
	original    sync.Once
	originalErr error
)

func (in *Instance) makeTemplate(ctx context.Context, prepare func(ctx context.Context, uri string) error) error {
	if err := in.createDatabase(ctx, template, ""); err != nil {
		return err
	}
	return prepare(ctx, in.URI(Role, template))
}

// CreateDatabase makes an empty database owned by Role, for suites that have no testing.TB at hand.
func (in *Instance) CreateDatabase(ctx context.Context) (*DB, error) { return in.create(ctx, "") }

func (in *Instance) create(ctx context.Context, like string) (*DB, error) {
	name := "t" + strconv.FormatInt(databases.Add(1), 10)
	if err := in.createDatabase(ctx, name, like); err != nil {
		return nil, err
	}
	uri := in.URI(Role, name)
	pool, err := pgxpool.New(ctx, uri)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return &DB{Name: name, URI: uri, Pool: pool, server: in}, nil
}

func (in *Instance) createDatabase(ctx context.Context, name, like string) error {
	admin, err := pgx.Connect(ctx, in.URI("postgres", "postgres"))
	if err != nil {
		return fmt.Errorf("connect as superuser: %w", err)
	}
	defer func() { _ = admin.Close(ctx) }()
	if _, err := admin.Exec(ctx, ensureRole); err != nil {
		return fmt.Errorf("create role %q: %w", Role, err)
	}
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name+" OWNER "+Role+like); err != nil {
		return fmt.Errorf("create database %q: %w", name, err)
	}
	return nil
}

// ensureRole makes the role once; two databases made at the same time may both try.
const ensureRole = `
DO $$
BEGIN
	PERFORM pg_advisory_xact_lock(711);
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
		CREATE ROLE app LOGIN;
	END IF;
END $$`

// Drop closes the pool and drops the database, whoever is still connected. A server that is down is started for it.
func (db *DB) Drop(ctx context.Context) error {
	db.Pool.Close()
	if err := db.server.Start(ctx); err != nil {
		return err
	}
	admin, err := pgx.Connect(ctx, db.server.URI("postgres", "postgres"))
	if err != nil {
		return fmt.Errorf("connect as superuser: %w", err)
	}
	defer func() { _ = admin.Close(ctx) }()
	if _, err := admin.Exec(ctx, "DROP DATABASE IF EXISTS "+db.Name+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop database %q: %w", db.Name, err)
	}
	return nil
}

// SuperuserURI connects to this database as a superuser, for what a test does from outside: terminating backends,
// reading statistics.
func (db *DB) SuperuserURI() string { return db.server.URI("postgres", db.Name) }

// Superuser connects to this database as a superuser, until the test ends.
func (db *DB) Superuser(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), db.SuperuserURI())
	if err != nil {
		t.Fatalf("connect as superuser: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
