package integration

import (
	"errors"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"github.com/syncline-dev/syncline/internal/runtime/source"
	sourcehttp "github.com/syncline-dev/syncline/internal/runtime/source/http"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// HTTPSources makes HTTP sources. All runs of a connection in this process share its rate limit.
func HTTPSources() Sources {
	l := &limiters{kept: map[uuid.UUID]limiter{}}
	return func(r Request) (source.Source, func(), error) {
		if r.Subscription.Source.HTTP == nil || r.Connection.HTTP == nil {
			return nil, nil, errors.New("subscription and connection must both speak http")
		}
		s, err := sourcehttp.New(sourcehttp.Config{
			Spec: *r.Subscription.Source.HTTP, Connection: *r.Connection.HTTP, Credential: r.Credential,
			Limiter: l.get(r.ConnectionID, *r.Connection.HTTP), Now: r.Now,
		})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	}
}

// limiters keeps one rate limit a connection, and makes it anew when its numbers change.
type limiters struct {
	mu   sync.Mutex
	kept map[uuid.UUID]limiter
}

type limiter struct {
	perSecond int64
	burst     int
	bucket    *rate.Limiter
}

func (l *limiters) get(id uuid.UUID, c spec.HTTP) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept, ok := l.kept[id]
	if !ok || kept.perSecond != c.MilliRequestsPerSecond || kept.burst != c.Burst {
		kept = limiter{perSecond: c.MilliRequestsPerSecond, burst: c.Burst, bucket: sourcehttp.NewLimiter(c)}
		l.kept[id] = kept
	}
	return kept.bucket
}
