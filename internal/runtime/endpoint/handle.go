package endpoint

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/egress"
	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

const (
	// maxOutput bounds an answer that completes a run, in bytes after decompression.
	maxOutput = jobs.MaxPayload
	// maxExcuse bounds what is read of any other answer.
	maxExcuse = 16 << 10
	// unreachable is the code of an attempt without an answer, and its result in the metrics.
	unreachable = "unreachable"
)

// Handle posts the run and waits for the answer, until the request's timeout or the end of the claim. What it returns
// decides only as long as the endpoint has not completed the run itself: the settle asks the database.
func (h *Handler) Handle(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
	signers, err := h.service.secrets.of(ctx, h.spec.Type)
	if err != nil {
		return nil, jobs.GiveBack(err) // another worker, or this one later, may have what is missing
	}
	f := h.service.held.begin(ctx, c, h.spec.Timeout())
	defer h.service.held.end(f)
	r, err := request(f, h.spec.URL, h.service.api.root(), signers)
	if err != nil {
		return nil, jobs.Permanent("bad_request", err)
	}
	a, err := h.send(f, r)
	if err != nil {
		return nil, err
	}
	return judge(a)
}

// send makes the exchange and measures it.
func (h *Handler) send(f *flight, r *http.Request) (answer, error) {
	open := h.service.metrics.Open
	open.Inc()
	defer open.Dec()
	began := time.Now()
	a, err := h.exchange(r, f.bearer)
	h.service.metrics.Seconds.WithLabelValues(h.spec.Type).Observe(time.Since(began).Seconds())
	result := class(a.status)
	if err != nil {
		result, err = explain(f, err)
	}
	h.service.metrics.Requests.WithLabelValues(h.spec.Type, result).Inc()
	return a, err
}

// exchange posts and reads the answer. Redirects are not followed: the signed run goes to the declared URL and nowhere else.
func (h *Handler) exchange(r *http.Request, bearer string) (answer, error) {
	resp, err := h.service.transport.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	limit := int64(maxExcuse)
	if succeeded(resp.StatusCode) {
		limit = maxOutput
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil && succeeded(resp.StatusCode) {
		return answer{}, err
	}
	return answer{
		status: resp.StatusCode, header: resp.Header, body: body[:min(int64(len(body)), limit)],
		cut: int64(len(body)) > limit, bearer: bearer,
	}, nil
}

// explain gives a failed exchange its meaning, and its result for the metrics. Neither quotes what the endpoint sent.
func explain(f *flight, err error) (result string, meaning error) {
	if cause := context.Cause(f.ctx); errors.Is(cause, errTimeout) {
		return "timeout", jobs.WithCode("timeout", fmt.Errorf("the endpoint gave no complete answer in time: %w", cause))
	} else if cause != nil {
		return "abandoned", cause
	}
	if refused, ok := errors.AsType[*egress.RefusedAddressError](err); ok {
		return "refused", jobs.Permanent("refused_address", fmt.Errorf("%w: no handler is served there", refused))
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return unreachable, jobs.WithCode(unreachable, fmt.Errorf("the endpoint's certificate is refused: %w", e.Err))
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return unreachable, jobs.WithCode(unreachable, fmt.Errorf("reach the endpoint: %w", e))
	}
	return unreachable, jobs.WithCode(unreachable, errors.New("the connection to the endpoint broke, or its answer is not HTTP"))
}
