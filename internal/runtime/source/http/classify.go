package http

import (
	"fmt"
	nethttp "net/http"
	"strconv"
	"strings"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/source"
)

// maxRetryAfter bounds what an upstream can ask for, so that one wrong header does not park a subscription.
const maxRetryAfter = 24 * time.Hour

// statusError is an answer that carries no page.
type statusError struct {
	status int
	hint   string
	// json is true when the answer is JSON: it comes from the API and not from something in front of it.
	json bool
}

func (e *statusError) Error() string {
	text := nethttp.StatusText(e.status)
	if e.hint == "" {
		return strings.TrimSpace(fmt.Sprintf("answered %d %s", e.status, text))
	}
	return fmt.Sprintf("answered %d %s: %s", e.status, text, e.hint)
}

// classify says what an answer means by its status and headers; nil means that it carries a page. hasCursor tells
// whether the walk began at a stored position, which a 410 then declares unknown. now is the clock that a date in
// Retry-After is compared with when the answer has no Date.
func classify(status int, h nethttp.Header, hasCursor bool, now time.Time) *source.Error {
	if status == nethttp.StatusOK {
		return nil
	}
	e := &source.Error{Status: status}
	var hint string
	e.Class, hint = classOf(status, h, hasCursor)
	if e.Class == source.RateLimited {
		e.RetryAfter = retryAfter(h, now)
	}
	e.Err = &statusError{status: status, hint: hint, json: isJSON(h.Get("Content-Type"))}
	return e
}

func classOf(status int, h nethttp.Header, hasCursor bool) (source.Class, string) {
	switch {
	case status == nethttp.StatusTooManyRequests, isLimited(status, h):
		return source.RateLimited, "the upstream limits the rate of requests"
	case status >= 500, status == nethttp.StatusRequestTimeout, status == nethttp.StatusTooEarly:
		return source.Transient, ""
	case status == nethttp.StatusUnauthorized, status == nethttp.StatusForbidden:
		return source.Unauthorized, "check the connection's credential and what it may read"
	case status == nethttp.StatusGone && hasCursor:
		return source.CursorExpired, "the upstream no longer knows the stored cursor"
	case status == nethttp.StatusNotFound, status == nethttp.StatusGone:
		return source.NotFound, "check the base URL, the path and what the account may see"
	case status >= 400:
		return source.Rejected, "the upstream does not take this request: check its path, query and headers"
	}
	return source.BadAnswer, "want 200 with JSON"
}

// isLimited recognises the statuses that say "later" besides 429: 503 with Retry-After, and 403 with Retry-After or
// with nothing left of the quota, as GitHub sends them.
func isLimited(status int, h nethttp.Header) bool {
	switch status {
	case nethttp.StatusServiceUnavailable:
		return h.Get("Retry-After") != ""
	case nethttp.StatusForbidden:
		return h.Get("Retry-After") != "" || h.Get("X-RateLimit-Remaining") == "0"
	}
	return false
}

// retryAfter reads how long to wait, 0 when the answer does not say: Retry-After in seconds or as a date (RFC 9110,
// section 10.2.3), else the reset time of the quota, in seconds from now (RateLimit-Reset) or as Unix time
// (X-RateLimit-Reset). Dates are compared with the answer's own Date, so that a skewed clock does no harm.
func retryAfter(h nethttp.Header, now time.Time) time.Duration {
	now = answeredAt(h, now)
	value := strings.TrimSpace(h.Get("Retry-After"))
	if n, ok := wholeSeconds(value); ok {
		return bounded(n)
	}
	if at, err := nethttp.ParseTime(value); err == nil {
		return bounded(int64(at.Sub(now).Round(time.Second) / time.Second))
	}
	if n, ok := wholeSeconds(h.Get("RateLimit-Reset")); ok {
		return bounded(n)
	}
	if n, ok := wholeSeconds(h.Get("X-RateLimit-Reset")); ok {
		return bounded(n - now.Unix())
	}
	return 0
}

func wholeSeconds(s string) (int64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 62)
	return int64(n), err == nil
}

func bounded(s int64) time.Duration {
	return time.Duration(min(max(s, 0), int64(maxRetryAfter/time.Second))) * time.Second
}

// answeredAt is the upstream's clock when it answered, otherwise when it did not say.
func answeredAt(h nethttp.Header, otherwise time.Time) time.Time {
	if at, err := nethttp.ParseTime(h.Get("Date")); err == nil {
		return at
	}
	return otherwise
}
