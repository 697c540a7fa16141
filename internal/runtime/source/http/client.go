package http

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	nethttp "net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/time/rate"

	"github.com/syncline-dev/syncline/internal/runtime/egress"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/source/http/request"
)

const (
	// maxTries is how often one page is asked for before the walk gives up.
	maxTries = 4
	// maxWait is the longest wait inside a walk; a longer one is for the run's own retry, which holds no worker.
	maxWait = 10 * time.Second
	// maxRedirects is the number of redirects followed for one page.
	maxRedirects = 5
	// maxHeaderBytes bounds the headers of an answer.
	maxHeaderBytes = 256 << 10
	// maxTurn is the longest wait for the connection's own rate limit, which is at least one request in 1000 s. A walk
	// that gave up sooner would begin again and get no further.
	maxTurn = time.Hour
)

// client sends requests to one origin. It is safe for concurrent use.
type client struct {
	transport nethttp.RoundTripper
	base      *url.URL
	auth      authorization
	userAgent string
	limiter   *rate.Limiter
	timeout   time.Duration
	now       func() time.Time
	// sleep waits between tries; tests record instead.
	sleep func(context.Context, time.Duration) error
}

// call is one page to fetch.
type call struct {
	url    *url.URL
	header nethttp.Header
	bounds bounds
	// resumed is true when the walk began at a stored cursor.
	resumed bool
}

// answer is a page as it came.
type answer struct {
	content
	// links are the Link headers, at is the URL that they are relative to.
	links []string
	at    *url.URL
	asOf  time.Time
	// beyond is true when there is no page at this number: the one before was the last.
	beyond bool
}

func newTransport(guard *egress.Guard) *nethttp.Transport {
	return &nethttp.Transport{
		Proxy:                  nil, // a proxy from the environment would dial past the egress guard
		DialContext:            guard.Dialer().DialContext,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// fetch asks for one page, again after failures that may pass, up to maxTries times.
func (c *client) fetch(ctx context.Context, q call) (*answer, *source.Error) {
	wait := backoff.NewExponentialBackOff()
	wait.Multiplier, wait.MaxInterval = 2, maxWait
	for try := 1; ; try++ {
		a, err := c.once(ctx, q)
		if err == nil || ctx.Err() != nil || try == maxTries {
			return a, err
		}
		pause, again := patience(err, wait.NextBackOff())
		if !again {
			return nil, err
		}
		if c.sleep(ctx, pause) != nil {
			return nil, interrupted(ctx)
		}
	}
}

// patience says how long to wait before the next try, and whether there is one.
func patience(e *source.Error, step time.Duration) (time.Duration, bool) {
	switch {
	case e.Class == source.Transient:
		return step, true
	case e.Class == source.RateLimited && e.RetryAfter <= maxWait:
		return max(step, e.RetryAfter), true
	}
	return 0, false
}

func interrupted(ctx context.Context) *source.Error {
	return &source.Error{Class: source.Transient, Err: context.Cause(ctx)}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// once sends the request and follows redirects inside the origin.
func (c *client) once(ctx context.Context, q call) (*answer, *source.Error) {
	at := q.url
	for range maxRedirects + 1 {
		if err := c.limit(ctx); err != nil {
			return nil, err
		}
		next, a, err := c.send(ctx, at, q)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, interrupted(ctx)
		case err != nil:
			return nil, c.explain(err)
		case next == nil:
			return a, nil
		}
		at = next
	}
	return nil, fail(source.BadAnswer, "more than %d redirects", maxRedirects)
}

// limit waits for the connection's own rate limit, before the timeout of the request begins: with few requests per
// second the one would use up the other.
func (c *client) limit(ctx context.Context) *source.Error {
	if c.limiter == nil {
		return nil
	}
	turn := c.limiter.Reserve()
	wait := turn.Delay()
	deadline, bounded := ctx.Deadline()
	if wait > maxTurn || bounded && time.Until(deadline) < wait {
		turn.Cancel()
		return &source.Error{
			Class: source.RateLimited, RetryAfter: min(wait, maxRetryAfter),
			Err: errors.New("the connection's own rate limit leaves no room before the deadline, or within an hour"),
		}
	}
	if wait > 0 && c.sleep(ctx, wait) != nil {
		turn.Cancel()
		return interrupted(ctx)
	}
	return nil
}

// send makes one exchange. It gives either the target of a redirect or the answer. The body of any other answer is
// closed unread: to read it would keep the connection, and let the upstream keep us.
func (c *client) send(parent context.Context, at *url.URL, q call) (*url.URL, *answer, error) {
	ctx, cancel := context.WithTimeout(parent, c.timeout)
	defer cancel()
	resp, err := c.transport.RoundTrip(c.request(ctx, at, q.header))
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if isRedirect(resp.StatusCode) {
		next, err := c.redirect(at, resp.Header.Get("Location"))
		return next, nil, err
	}
	if err := classify(resp.StatusCode, resp.Header, q.resumed, c.now()); err != nil {
		return nil, nil, err
	}
	body, err := readBody(resp, q.bounds)
	if err != nil {
		return nil, nil, err
	}
	return nil, &answer{
		content: body, links: resp.Header.Values("Link"), at: at, asOf: answeredAt(resp.Header, c.now()),
	}, nil
}

// request is built for a URL that is on the base's origin: nothing else may carry the credential.
func (c *client) request(ctx context.Context, at *url.URL, header nethttp.Header) *nethttp.Request {
	r := (&nethttp.Request{Method: nethttp.MethodGet, URL: at, Host: at.Host, Header: nethttp.Header{}}).WithContext(ctx)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", c.userAgent)
	maps.Copy(r.Header, header)
	if c.auth.header != "" {
		r.Header.Set("Authorization", c.auth.header)
	}
	return r
}

func isRedirect(status int) bool {
	return slices.Contains([]int{
		nethttp.StatusMovedPermanently, nethttp.StatusFound, nethttp.StatusSeeOther,
		nethttp.StatusTemporaryRedirect, nethttp.StatusPermanentRedirect,
	}, status)
}

func (c *client) redirect(at *url.URL, location string) (*url.URL, error) {
	if location == "" {
		return nil, fail(source.BadAnswer, "a redirect without a target")
	}
	return c.resolve(at, location, "redirect")
}

// resolve makes a reference of the upstream absolute, and refuses one that leaves the base's origin.
func (c *client) resolve(at *url.URL, ref, what string) (*url.URL, error) {
	u, err := at.Parse(ref)
	if err != nil {
		return nil, fail(source.BadAnswer, "the target of the %s is not a URL", what)
	}
	if !request.SameOrigin(c.base, u) {
		return nil, &source.Error{Class: source.Refused, Err: &echoError{
			before: "the " + what + " leads to ", given: request.Origin(u),
			after: ", and requests stay on " + request.Origin(c.base) + ": set the base URL to where the API really is",
		}}
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// explain gives a failed exchange its class.
func (c *client) explain(err error) *source.Error {
	if e, ok := errors.AsType[*source.Error](err); ok {
		return e
	}
	if refused, ok := errors.AsType[*egress.RefusedAddressError](err); ok {
		return &source.Error{Class: source.Refused, Err: fmt.Errorf(
			"%w: list its range in the connection's egress.allowedCIDRs if requests may reach it", refused)}
	}
	return &source.Error{Class: source.Transient, Err: c.describe(err)}
}

// describe keeps the message of errors that cannot quote the exchange, and replaces all others.
func (c *client) describe(err error) error {
	if isTimeout(err) {
		return fmt.Errorf("no complete answer within %s", c.timeout)
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &echoError{before: "the certificate is refused: ", given: e.Error()}
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return e
	}
	return errors.New("the connection broke, or the answer is not HTTP")
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && e.Timeout()
}
