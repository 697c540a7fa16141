package http

import (
	"errors"
	"fmt"
	nethttp "net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/time/rate"

	"github.com/syncline-dev/syncline/internal/runtime/egress"
	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/source/http/request"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Config is what a source is made of.
type Config struct {
	Spec       spec.HTTPSource
	Connection spec.HTTP
	// Credential is the opened credential of the connection, empty when its auth is None.
	Credential spec.Credential
	// UserAgent names the client to the upstream; "syncline" when empty.
	UserAgent string
	// Limiter is shared by all runs of the connection in this process, see NewLimiter. Nil makes one for this source
	// alone when the connection has a rate limit.
	Limiter *rate.Limiter
	// Now is the clock that stands in for an answer without a Date: the database's, or the machine's when nil.
	Now func() time.Time
}

// Source reads one entity of one connection. Use it for one run, then Close it. It is safe for concurrent use.
type Source struct {
	spec      spec.HTTPSource
	template  *request.Template
	records   func(body any) ([]any, error)
	client    *client
	transport *nethttp.Transport
}

var _ source.Source = (*Source)(nil)

// New checks the whole description and fails with the first thing that is wrong with it. It sends nothing.
func New(cfg Config) (*Source, error) {
	template, problems := request.Compile(cfg.Spec)
	if len(problems) > 0 {
		p := problems[0]
		return nil, fmt.Errorf("%s: %s", p.Field, p.Message)
	}
	records, err := mapping.CompileRecords(cfg.Spec.Records)
	if err != nil {
		return nil, fmt.Errorf("source.http.records: %w", err)
	}
	s := &Source{spec: cfg.Spec, template: template, records: records}
	if err := s.connect(cfg); err != nil {
		return nil, fmt.Errorf("connection: %w", err)
	}
	return s, nil
}

func (s *Source) connect(cfg Config) error {
	base, err := request.ParseBase(cfg.Connection.BaseURL)
	if err != nil {
		return err
	}
	guard, err := egress.Public(cfg.Connection.AllowedCIDRs)
	if err != nil {
		return err
	}
	auth, err := newAuthorization(cfg.Connection.Auth, cfg.Credential)
	if err != nil {
		return err
	}
	if cfg.Connection.TimeoutMillis < 1 {
		return errors.New("timeoutMillis is not at least 1")
	}
	s.transport = newTransport(guard)
	s.client = newClient(cfg, base, auth, s.transport)
	return nil
}

func newClient(cfg Config, base *url.URL, auth authorization, transport nethttp.RoundTripper) *client {
	c := &client{
		transport: transport, base: base, auth: auth, userAgent: cfg.UserAgent, limiter: cfg.Limiter,
		timeout: time.Duration(cfg.Connection.TimeoutMillis) * time.Millisecond, now: cfg.Now, sleep: sleep,
	}
	if c.userAgent == "" || !httpguts.ValidHeaderFieldValue(c.userAgent) {
		c.userAgent = "syncline"
	}
	if c.limiter == nil {
		c.limiter = NewLimiter(cfg.Connection)
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// NewLimiter makes the rate limit of a connection, nil when it has none.
func NewLimiter(c spec.HTTP) *rate.Limiter {
	if c.MilliRequestsPerSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(float64(c.MilliRequestsPerSecond)/1000), max(c.Burst, 1))
}

// Close drops the idle connections. Walks that still run are not disturbed.
func (s *Source) Close() { s.transport.CloseIdleConnections() }
