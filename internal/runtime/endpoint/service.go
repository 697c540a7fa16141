package endpoint

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/egress"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// Opener opens sealed secrets; *sealing.File is the real one.
type Opener interface {
	Open(sealed []byte, id uuid.UUID, column string) ([]byte, error)
}

// Config is what a service is made of.
type Config struct {
	// Pool is the pool whose row holds the sealed secrets.
	Pool string
	// DB reads them and takes what endpoints report.
	DB *pgxpool.Pool
	// Sealing opens the secrets; without it no run can be posted and each is given back.
	Sealing Opener
	// Address is where the worker-local API listens, such as ":8082"; empty is nowhere, and requests then announce none.
	// It listens from the first declared handler on.
	Address string
	// Host is where endpoints find this process: the pod's IP address. Empty is the host of Address, or loopback.
	Host    string
	Log     *slog.Logger
	Metrics *telemetry.Endpoints
}

// Service is what the handlers of one process share. It is safe for concurrent use.
type Service struct {
	log       *slog.Logger
	metrics   *telemetry.Endpoints
	transport *http.Transport
	secrets   *secrets
	held      *registry
	api       *api
}

// New makes a service; nothing runs before Declare.
func New(cfg Config) *Service {
	if cfg.Sealing == nil {
		cfg.Sealing = (*sealing.File)(nil)
	}
	s := &Service{
		log:       cfg.Log,
		metrics:   cfg.Metrics,
		transport: newTransport(egress.Declared()),
		secrets:   &secrets{pool: cfg.Pool, db: cfg.DB, sealing: cfg.Sealing},
		held:      newRegistry(),
	}
	s.api = &api{address: cfg.Address, host: cfg.Host, log: cfg.Log, held: s.held, db: cfg.DB, calls: cfg.Metrics.Calls}
	return s
}

// idlePerHost bounds the idle connections to one endpoint. A worker may have as many runs in flight as its concurrency
// says; this many of them keep their connection.
const idlePerHost = 100

func newTransport(guard *egress.Guard) *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // a proxy from the environment would dial past the egress guard
		DialContext:            guard.Dialer().DialContext,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Declare makes the handlers of the types that a pool declares, and has secrets read again: they may be others now. A
// handler made before goes on with what it was made from.
func (s *Service) Declare(pool spec.Pool) []*Handler {
	s.secrets.forget()
	if len(pool.Handlers) > 0 {
		s.api.open()
	}
	handlers := make([]*Handler, len(pool.Handlers))
	for i, h := range pool.Handlers {
		handlers[i] = &Handler{spec: h, service: s}
	}
	return handlers
}

// Close ends the API and drops idle connections. The caller makes sure that no handler runs any more; one that ignores
// its context loses the API.
func (s *Service) Close(ctx context.Context) error {
	s.transport.CloseIdleConnections()
	return s.api.close(ctx)
}

// Handler executes the runs of one declared type.
type Handler struct {
	spec    spec.Handler
	service *Service
}

// Type is the job type.
func (h *Handler) Type() string { return h.spec.Type }

// Config is how failures of the type are retried.
func (h *Handler) Config() jobs.TypeConfig {
	r := h.spec.Retry
	return jobs.TypeConfig{Retry: jobs.RetryPolicy{
		MaxAttempts: r.MaxAttempts, Base: time.Duration(r.BaseMillis) * time.Millisecond,
		Max: time.Duration(r.MaxMillis) * time.Millisecond, Fixed: r.Fixed,
	}}
}
