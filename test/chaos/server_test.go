//go:build chaos

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
)

// server is a PostgreSQL server on a bad host.
type server struct {
	*pgtest.Instance
	host *host
}

// maxConnections of the servers: few, so that the spare ones are soon taken.
const maxConnections = 160

// newServer starts a server whose wall clock is wrong by skew and ends it with the test. The last one of equal settings
// is in force.
func newServer(t *testing.T, skew time.Duration, settings ...string) *server {
	t.Helper()
	h, err := newHost(skew)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{host: h}
	all := []string{"track_commit_timestamp=on", "max_locks_per_transaction=128", "deadlock_timeout=1s", fmt.Sprintf("max_connections=%d", maxConnections)}
	err = h.during(func() (err error) {
		s.Instance, err = pgtest.New(context.Background(), append(all, settings...)...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if off := s.wrong(t); (off - skew).Abs() > time.Minute {
		t.Fatalf("the server's clock is wrong by %v, want %v", off, skew)
	}
	return s
}

// wrong is how far the server's clock is ahead of this process's.
func (s *server) wrong(t *testing.T) time.Duration {
	t.Helper()
	var now time.Time
	if err := s.admin(t.Context(), func(c *pgx.Conn) error { return c.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&now) }); err != nil {
		t.Fatal(err)
	}
	return time.Until(now)
}

// Start starts the server again, on its host.
func (s *server) Start(ctx context.Context) error {
	return s.host.during(func() error { return s.Instance.Start(ctx) })
}

// admin does something as a superuser.
func (s *server) admin(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.URI("postgres", "postgres"))
	if err != nil {
		return err
	}
	return errors.Join(do(conn), conn.Close(ctx))
}
