package endpoint

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// errTimeout is the cause of a request's end that took too long. It ends the request, not the claim.
var errTimeout = errors.New("the request's timeout has passed")

// flight is a run that stands at its endpoint: from the post to the answer.
type flight struct {
	claim  *jobs.Claim
	bearer string
	// ctx ends with the claim or at the timeout.
	ctx    context.Context //nolint:containedctx // the life of one request, which the API lengthens
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	ends  time.Time // when the request is given up
	timer *time.Timer
}

// remaining is what is left of a flight, in milliseconds.
type remaining struct {
	TimeoutMillis int64 `json:"timeoutMillis"`
	// DeadlineMillis is nil for a run without a deadline.
	DeadlineMillis *int64 `json:"deadlineMillis,omitempty"`
}

func (f *flight) left(now time.Time) remaining {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := remaining{TimeoutMillis: max(f.ends.Sub(now).Milliseconds(), 0)}
	if d := f.claim.Deadline; !d.IsZero() {
		r.DeadlineMillis = new(max(d.Sub(now).Milliseconds(), 0))
	}
	return r
}

// extend gives the request d from now on, as far as the run's deadline allows, and never less than it had. It is false
// when the request has ended.
func (f *flight) extend(now time.Time, d time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil || !f.timer.Stop() {
		return false
	}
	if until := f.within(now.Add(d)); until.After(f.ends) {
		f.ends = until
	}
	f.timer.Reset(f.ends.Sub(now))
	return true
}

// within is t, at the latest the run's deadline.
func (f *flight) within(t time.Time) time.Time {
	if d := f.claim.Deadline; !d.IsZero() && d.Before(t) {
		return d
	}
	return t
}

// maxEnded is how many ended flights are remembered, so that an endpoint that asks too late hears why.
const maxEnded = 1000

// registry holds the flights of a process, for those who show their tokens.
type registry struct {
	mu    sync.Mutex
	live  map[int64][]*flight // by run; several while an older claim's request is still being given up
	ended []ended             // the last maxEnded, the oldest first
}

// ended is what is remembered of a flight that is over. Its token opens nothing any more.
type ended struct {
	run    int64
	bearer string
	cause  error // nil when the endpoint has answered
}

func newRegistry() *registry { return &registry{live: map[int64][]*flight{}} }

// begin starts a flight under a token of its own: 32 random bytes.
func (r *registry) begin(ctx context.Context, c *jobs.Claim, timeout time.Duration) *flight {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	f := &flight{claim: c, bearer: base64.RawURLEncoding.EncodeToString(key)}
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	f.ends = f.within(time.Now().Add(timeout))
	f.timer = time.AfterFunc(time.Until(f.ends), func() { f.cancel(errTimeout) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[c.RunID] = append(r.live[c.RunID], f)
	return f
}

// end takes a flight's token back.
func (r *registry) end(f *flight) {
	over := ended{run: f.claim.RunID, bearer: f.bearer, cause: context.Cause(f.ctx)}
	f.timer.Stop()
	f.cancel(nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	var rest []*flight
	for _, other := range r.live[over.run] {
		if other != f {
			rest = append(rest, other)
		}
	}
	if r.live[over.run] = rest; rest == nil {
		delete(r.live, over.run)
	}
	if len(r.ended) == maxEnded {
		r.ended = append(r.ended[:0:0], r.ended[maxEnded/2:]...)
	}
	r.ended = append(r.ended, over)
}

// find gives the flight of a run under a token, or what is remembered of one that has ended, or neither. Tokens are
// compared in constant time.
func (r *registry) find(run int64, bearer string) (*flight, *ended) {
	same := func(other string) bool { return subtle.ConstantTimeCompare([]byte(bearer), []byte(other)) == 1 }
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.live[run] {
		if same(f.bearer) {
			return f, nil
		}
	}
	for i := range r.ended {
		if over := r.ended[i]; over.run == run && same(over.bearer) {
			return nil, &over
		}
	}
	return nil, nil
}

// why says why a flight has ended, and whether somebody asked for the run's cancellation.
func (e *ended) why() (text string, cancelled bool) {
	if request, ok := errors.AsType[*jobs.CancelRequested](e.cause); ok {
		return request.Error(), true
	}
	if e.cause == nil {
		return "its request has been answered", false
	}
	return fmt.Sprintf("its request has ended: %v", e.cause), false
}
