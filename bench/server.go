package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/pgtest"
)

// settings are what the server runs with beside PostgreSQL's defaults. Durability is the default one. Checkpoints are
// kept out of the short windows that are measured, for every system alike.
var settings = []string{
	"fsync=on", "full_page_writes=on", "synchronous_commit=on",
	"shared_buffers=1GB", "max_wal_size=16GB", "checkpoint_timeout=1h", "max_connections=100", "autovacuum_naptime=1min",
}

// server is the PostgreSQL that everybody is measured on.
type server struct {
	*pgtest.Instance
	postmaster int
}

func startServer(ctx context.Context, extra []string) (*server, error) {
	in, err := pgtest.New(ctx, append(settings, extra...)...)
	if err != nil {
		return nil, err
	}
	s := &server{Instance: in}
	if err := s.findPostmaster(ctx); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return s, nil
}

// findPostmaster learns the process whose descendants are the server. Its number changes with every start.
func (s *server) findPostmaster(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URI("postgres", "postgres"))
	if err != nil {
		return fmt.Errorf("connect as superuser: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	backend, err := processStat(int(conn.PgConn().PID()))
	s.postmaster = backend.parent
	return err
}

// stat is what the kernel says about one process.
type stat struct {
	parent int
	// own is the processor time of the process, children that of those that it has waited for.
	own, children time.Duration
}

// tick is the kernel's unit of processor time on Linux.
const tick = 10 * time.Millisecond

func processStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	// The name, in brackets, may hold spaces.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	n := make([]int, 16)
	for i := 1; i < 16; i++ {
		if n[i], err = strconv.Atoi(fields[i]); err != nil {
			return stat{}, fmt.Errorf("read state of process %d: %w", pid, err)
		}
	}
	return stat{
		parent:   n[1],
		own:      time.Duration(n[11]+n[12]) * tick,
		children: time.Duration(n[13]+n[14]) * tick,
	}, nil
}

// precise is the processor time of one process to the nanosecond, from the scheduler; 0 when the kernel does not say.
func precise(pid uint32) time.Duration {
	var ns int64
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/schedstat")
	_, _ = fmt.Sscan(string(b), &ns)
	return time.Duration(ns)
}

// cpu is the processor time of all server processes so far, those that have ended included.
func (s *server) cpu() time.Duration {
	main, err := processStat(s.postmaster)
	if err != nil {
		return 0
	}
	sum := main.own + main.children
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := processStat(pid); err == nil && p.parent == s.postmaster {
			sum += p.own
		}
	}
	return sum
}

// database is one system's empty database.
type database struct {
	*pgtest.DB
	server *server
	admin  *pgx.Conn
}

func (s *server) newDatabase(ctx context.Context) (*database, error) {
	db, err := s.CreateDatabase(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := pgx.Connect(ctx, db.SuperuserURI())
	if err != nil {
		return nil, errors.Join(err, db.Drop(ctx))
	}
	return &database{DB: db, server: s, admin: admin}, nil
}

func (d *database) drop(ctx context.Context) error {
	_ = d.admin.Close(ctx)
	return d.Drop(ctx)
}

// settle brings the database to the same state for everybody: statistics known, nothing to vacuum, nothing to flush.
func (d *database) settle(ctx context.Context) error {
	for _, sql := range []string{"VACUUM ANALYZE", "CHECKPOINT"} {
		if _, err := d.admin.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// exec runs statements as the role that owns the database.
func (d *database) exec(ctx context.Context, sql string, args ...any) error {
	if _, err := d.Pool.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%s: %w", firstLine(sql), err)
	}
	return nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// query reads one value as the superuser.
func query[T any](ctx context.Context, d *database, sql string, args ...any) (v T, err error) {
	if err = d.admin.QueryRow(ctx, sql, args...).Scan(&v); err != nil {
		err = fmt.Errorf("%s: %w", firstLine(sql), err)
	}
	return v, err
}

// wal is the position of the write-ahead log in bytes.
func (d *database) wal(ctx context.Context) (int64, error) {
	return query[int64](ctx, d, `SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint`)
}
