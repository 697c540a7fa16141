package proxy_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/test/kill/proxy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds every wait for something that will happen.
const patience = 20 * time.Second

type fixture struct {
	proxy *proxy.Proxy
	db    *pgtest.DB
	uri   string
}

func setUp(t *testing.T) fixture {
	t.Helper()
	db := pgtest.NewDB(t)
	p, err := proxy.Listen(fmt.Sprintf("127.0.0.1:%d", pgtest.Server(t).Port()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Pool.Exec(t.Context(), "CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	return fixture{p, db, fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", pgtest.Role, p.Port(), db.Name)}
}

func (f fixture) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), f.uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (f fixture) rows(t *testing.T) (n int) {
	t.Helper()
	if err := f.db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM kept").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not happen within %v", what, patience)
	}
}

func TestForwardsWhatNoFaultConcerns(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.proxy.Arm("another statement", proxy.LoseReply)
	conn := f.connect(t)
	for n := range 3 {
		if _, err := conn.Exec(t.Context(), "INSERT INTO kept VALUES ($1)", n); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.rows(t); n != 3 {
		t.Errorf("%d rows arrived, want 3", n)
	}
}

// Both the simple protocol (no arguments) and a prepared statement are recognised; the commit has happened when the
// client sees the connection end, and the fault hits once.
func TestLosesTheReplyOfACommittedStatement(t *testing.T) {
	t.Parallel()
	for name, insert := range map[string]func(ctx context.Context, c *pgx.Conn) error{
		"simple": func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.PgConn().Exec(ctx, "INSERT INTO kept VALUES (1)").ReadAll()
			return err
		},
		"prepared": func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, "INSERT INTO kept VALUES ($1)", 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			lost := f.proxy.Arm("INSERT INTO kept", proxy.LoseReply)
			conn := f.connect(t)
			if err := insert(t.Context(), conn); err == nil {
				t.Error("the client heard a reply that should be lost")
			}
			await(t, "the lost reply", lost.Hit())
			if n := f.rows(t); n != 1 {
				t.Errorf("%d rows were committed, want 1: the statement must have run", n)
			}
			if err := insert(t.Context(), f.connect(t)); err != nil {
				t.Errorf("the next statement was hit too: %v", err)
			}
		})
	}
}

func TestHeldReplyArrivesAfterRelease(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	held := f.proxy.Arm("INSERT INTO kept", proxy.HoldReply)
	conn := f.connect(t)
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "INSERT INTO kept VALUES ($1)", 1)
		answered <- err
	}()
	await(t, "the held reply", held.Hit())
	select {
	case err := <-answered:
		t.Fatalf("the reply came before its release: %v", err)
	default:
	}
	held.Release()
	if err := <-answered; err != nil {
		t.Errorf("the released reply did not arrive: %v", err)
	}
}

func TestHeldRequestArrivesThoughTheClientHasGivenUp(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	held := f.proxy.Arm("INSERT INTO kept", proxy.HoldRequest)
	conn := f.connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = conn.Exec(ctx, "INSERT INTO kept VALUES ($1)", 1)
	}()
	await(t, "the held request", held.Hit())
	cancel()
	await(t, "the client's end", gone)
	await(t, "the end of the client's connection", held.Abandoned())
	if n := f.rows(t); n != 0 {
		t.Fatalf("%d rows arrived before the release", n)
	}
	held.Release()
	deadline := time.After(patience)
	for f.rows(t) == 0 {
		select {
		case <-deadline:
			t.Fatal("the released request never reached the server")
		default:
		}
	}
}

func TestSilenceStopsEverythingAndLosesNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	conn := f.connect(t)
	f.proxy.Silence()
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "INSERT INTO kept VALUES ($1)", 1)
		answered <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if c, err := pgx.Connect(ctx, f.uri); err == nil {
		_ = c.Close(t.Context())
		t.Error("a new connection was served in the silence")
	}
	if n := f.rows(t); n != 0 {
		t.Errorf("%d rows got through the silence", n)
	}
	f.proxy.Resume()
	if err := <-answered; err != nil {
		t.Errorf("what was sent in the silence did not arrive after it: %v", err)
	}
}

func TestCutEndsConnectionsAndRefuseKeepsNewOnesOut(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	conn := f.connect(t)
	f.proxy.Refuse(true)
	f.proxy.Cut()
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a cut connection still answers")
	}
	if c, err := pgx.Connect(t.Context(), f.uri); err == nil {
		_ = c.Close(t.Context())
		t.Error("a refusing proxy served a new connection")
	}
	f.proxy.Refuse(false)
	if err := f.connect(t).Ping(t.Context()); err != nil {
		t.Errorf("the proxy does not serve again: %v", err)
	}
}
