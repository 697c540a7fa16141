package schema

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Timeouts of runtime connections. A third of the lease, at most a minute, bounds how long a process frozen inside a
// transaction can block what others recover.
const (
	// ConnectTimeout bounds a connect up to the first query, against a server that accepts and then says nothing. A URI may
	// ask for less with connect_timeout.
	ConnectTimeout = 10 * time.Second
	// PingTimeout is how long a connection that has idled in a pool may take to show that it lives, before it is replaced:
	// one whose way was forgotten by a firewall says nothing for ever.
	PingTimeout = 3 * time.Second
	// LockTimeout bounds every wait for a row that somebody else holds.
	LockTimeout = 3 * time.Second
	// StatementTimeout bounds one statement.
	StatementTimeout = 60 * time.Second
	// MaxIdleInTransaction is the longest that a transaction of a runtime connection may idle.
	MaxIdleInTransaction = time.Minute
)

// errURI does not hold the parser's error, which may quote the password.
var errURI = errors.New("parse the database URI: it is not a PostgreSQL connection string")

// Option changes a connection.
type Option func(*settings)

type settings struct {
	idle        time.Duration
	application string
}

// WithLease makes transactions idle at most a third of the lease length.
func WithLease(lease time.Duration) Option {
	return func(s *settings) { s.idle = min(lease/3, MaxIdleInTransaction) }
}

// WithApplicationName sets what pg_stat_activity shows.
func WithApplicationName(name string) Option {
	return func(s *settings) { s.application = name }
}

func newSettings(opts []Option) settings {
	// A third of the default lease of 60 s.
	s := settings{idle: 20 * time.Second, application: "syncline"}
	for _, o := range opts {
		o(&s)
	}
	return s
}

// params are the run-time parameters of a connection. A claim is planned once (force_generic_plan): its statements are
// written for one plan, and a plan chosen for a table's momentary size would surprise later. Compiling short statements
// costs more than running them.
func (s settings) params(schemaName string) map[string]string {
	return map[string]string{
		"search_path":                         quote(schemaName) + ", pg_catalog",
		"application_name":                    s.application,
		"lock_timeout":                        ms(LockTimeout),
		"statement_timeout":                   ms(StatementTimeout),
		"idle_in_transaction_session_timeout": ms(s.idle),
		"tcp_user_timeout":                    ms(s.idle),
		"plan_cache_mode":                     "force_generic_plan",
		"jit":                                 "off",
	}
}

func ms(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

// Connect makes a pool of connections that use the schema: search path, timeouts, and the URI read again at every
// connect, so that a rotated password needs no restart. The error never holds the URI.
func Connect(ctx context.Context, uri func() (string, error), schemaName string, maxConns int32, opts ...Option) (*pgxpool.Pool, error) {
	if err := ValidName(schemaName); err != nil {
		return nil, err
	}
	text, err := uri()
	if err != nil {
		return nil, fmt.Errorf("read the database URI: %w", err)
	}
	cfg, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, errURI
	}
	set := newSettings(opts)
	cfg.MaxConns, cfg.PingTimeout = maxConns, PingTimeout
	set.tune(cfg.ConnConfig, schemaName)
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		fresh, err := set.config(uri, schemaName)
		if err == nil {
			refresh(cc, fresh)
		}
		return err
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// Dial makes one connection outside any pool, with the same parameters: for renewals and for LISTEN.
func Dial(ctx context.Context, uri func() (string, error), schemaName string, opts ...Option) (*pgx.Conn, error) {
	if err := ValidName(schemaName); err != nil {
		return nil, err
	}
	cfg, err := newSettings(opts).config(uri, schemaName)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

func (s settings) config(uri func() (string, error), schemaName string) (*pgx.ConnConfig, error) {
	text, err := uri()
	if err != nil {
		return nil, fmt.Errorf("read the database URI: %w", err)
	}
	cfg, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, errURI
	}
	s.tune(cfg, schemaName)
	return cfg, nil
}

// tune sets what every connection needs. Keepalive finds a peer that is gone within half a minute.
func (s settings) tune(cfg *pgx.ConnConfig, schemaName string) {
	maps.Copy(cfg.RuntimeParams, s.params(schemaName))
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	cfg.DialFunc = dialer.DialContext
	if cfg.ConnectTimeout == 0 || cfg.ConnectTimeout > ConnectTimeout {
		cfg.ConnectTimeout = ConnectTimeout
	}
}

// refresh copies where and as whom to connect, and nothing else.
func refresh(cc, fresh *pgx.ConnConfig) {
	cc.Host, cc.Port, cc.Database = fresh.Host, fresh.Port, fresh.Database
	cc.User, cc.Password = fresh.User, fresh.Password
	cc.TLSConfig, cc.Fallbacks = fresh.TLSConfig, fresh.Fallbacks
}

// WakeChannel is where the queue says that something became due; the payload is the pool's name.
func WakeChannel(schemaName string) string { return schemaName + "_wake" }

// PoolChannel is where a change of a pool's tuning is announced; the payload is the pool's name.
func PoolChannel(schemaName string) string { return schemaName + "_pool" }
