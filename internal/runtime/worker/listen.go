package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

const (
	// keepalive is how often a silent listener asks the server whether the connection still lives.
	keepalive = 15 * time.Second
	// keepaliveTimeout is how long the server may take to answer that, or a new connection.
	keepaliveTimeout = 5 * time.Second
	// reconnectFirst and reconnectLongest bound the jittered waits between attempts to connect.
	reconnectFirst, reconnectLongest = 100 * time.Millisecond, 10 * time.Second
)

// listener hears of due runs and changed tuning on a connection of its own. It only saves time: whatever it misses, the
// claim loop's timer and the next beat find.
type listener struct {
	dial    func(context.Context) (*pgx.Conn, error)
	tuning  *tuning
	pool    string
	wake    string // channel of due runs
	changed string // channel of changed tuning
	onWake  func()
	onTune  func()
	log     *slog.Logger
	metrics *telemetry.Worker
	trouble outage

	keepalive, keepaliveTimeout time.Duration
}

// run listens until ctx ends, while the tuning says so.
func (l *listener) run(ctx context.Context) {
	for ctx.Err() == nil {
		pool, changed := l.tuning.get()
		session, end := context.WithCancel(ctx)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			if pool.WakeMode == spec.WakeNotify {
				l.keepListening(session)
			}
		}()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		end()
		<-stopped
	}
}

// keepListening reconnects whenever the connection ends.
func (l *listener) keepListening(ctx context.Context) {
	wait := reconnectBackoff()
	for {
		err := l.session(ctx, wait.Reset)
		if ctx.Err() != nil {
			return
		}
		l.trouble.failed(ctx, l.log, err)
		if !sleep(ctx, wait.NextBackOff()) {
			return
		}
	}
}

func reconnectBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = reconnectFirst, reconnectLongest
	return b
}

// session is the life of one connection. After LISTEN it wakes everybody: what happened while nobody listened is not
// announced again.
func (l *listener) session(ctx context.Context, connected func()) error {
	conn, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	connected()
	l.trouble.over(ctx, l.log)
	l.metrics.ListenerConnects.Inc()
	l.onWake()
	l.onTune()
	for {
		if err := l.next(ctx, conn); err != nil {
			return err
		}
	}
}

// connect opens a connection that listens.
func (l *listener) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, end := context.WithTimeout(ctx, l.keepaliveTimeout)
	defer end()
	conn, err := l.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect listener: %w", err)
	}
	for _, channel := range []string{l.wake, l.changed} {
		if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			closeConn(ctx, conn)
			return nil, fmt.Errorf("listen on %q: %w", channel, err)
		}
	}
	return conn, nil
}

// next handles one notification or one keepalive.
func (l *listener) next(ctx context.Context, conn *pgx.Conn) error {
	quiet, end := context.WithTimeout(ctx, l.keepalive)
	n, err := conn.WaitForNotification(quiet)
	end()
	switch {
	case err == nil && n.Payload != l.pool:
	case err == nil && n.Channel == l.wake:
		l.metrics.Wakeups.Inc()
		l.onWake()
	case err == nil && n.Channel == l.changed:
		l.onTune()
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && !conn.IsClosed():
		return l.ping(ctx, conn)
	default:
		return err
	}
	return nil
}

func (l *listener) ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, end := context.WithTimeout(ctx, l.keepaliveTimeout)
	defer end()
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("keepalive: %w", err)
	}
	return nil
}

// closeConn ends a connection without waiting long for a server that may be gone.
func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer end()
	_ = conn.Close(ctx) // whatever it says, the connection is not used again
}

// sleep waits for d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
