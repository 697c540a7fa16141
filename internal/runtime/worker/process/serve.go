package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readiness answers the readiness probe: a reason until there is a worker to ask.
type readiness struct {
	mu  sync.Mutex
	ask func() error
}

func newReadiness(reason string) *readiness {
	return &readiness{ask: func() error { return errors.New(reason) }}
}

func (r *readiness) reason(err error) { r.follow(func() error { return err }) }

func (r *readiness) follow(ask func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ask = ask
}

func (r *readiness) err() error {
	r.mu.Lock()
	ask := r.ask
	r.mu.Unlock()
	return ask()
}

// server serves probes and metrics.
type server struct {
	http *http.Server
	done chan error
}

// serve answers on listener: /healthz while the process lives, whatever the database does, because restarting a worker
// brings no database back; /readyz with the reason when the worker takes no runs; /metrics.
func serve(listener net.Listener, ready *readiness, gather prometheus.Gatherer) *server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready.err(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(gather, promhttp.HandlerOpts{}))
	s := &server{
		http: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute},
		done: make(chan error, 1),
	}
	go func() { s.done <- s.http.Serve(listener) }()
	return s
}

// stop ends the server, with a second for requests under way.
func (s *server) stop() error {
	ctx, end := context.WithTimeout(context.Background(), time.Second)
	defer end()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
