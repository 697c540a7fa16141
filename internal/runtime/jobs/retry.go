package jobs

import (
	"math/rand/v2"
	"time"
)

// RetryPolicy says how often and when a failed run is executed again. The zero value is five executions with
// exponential backoff from one second up to fifteen minutes.
type RetryPolicy struct {
	// MaxAttempts counts executions, the first included; 0 means 5. A run's own max_attempts stands above it.
	MaxAttempts int
	// Base is the bound of the first delay; 0 means 1 s.
	Base time.Duration
	// Max caps every delay; 0 means 15 min.
	Max time.Duration
	// Fixed keeps the bound at Base instead of doubling it with every attempt.
	Fixed bool
}

// Defaults of RetryPolicy.
const (
	DefaultMaxAttempts = 5
	DefaultRetryBase   = time.Second
	DefaultRetryMax    = 15 * time.Minute
)

// TypeConfig is what a job type is registered with.
type TypeConfig struct {
	Retry RetryPolicy
	// ReleaseLaneOnRetry lets other runs of the lane overtake one that waits for its retry. By default such a run keeps
	// its lane, because order is why people use lanes.
	ReleaseLaneOnRetry bool
}

// attempts is the number of executions that a claim may have.
func (p RetryPolicy) attempts(c *Claim) int {
	switch {
	case c.MaxAttempts > 0:
		return c.MaxAttempts
	case p.MaxAttempts > 0:
		return p.MaxAttempts
	}
	return DefaultMaxAttempts
}

// bound is the longest delay after the given attempt, which counts from 1. It never overflows and never exceeds Max.
func (p RetryPolicy) bound(attempt int) time.Duration {
	base, limit := p.Base, p.Max
	if base <= 0 {
		base = DefaultRetryBase
	}
	if limit <= 0 {
		limit = DefaultRetryMax
	}
	if p.Fixed {
		return min(base, limit)
	}
	for range attempt - 1 {
		if base >= limit/2 {
			return limit
		}
		base *= 2
	}
	return min(base, limit)
}

// Backoff is a delay after the given attempt, which counts from 1: between half the bound and the bound, so that equal
// failures do not come back in lockstep and none comes back at once.
func (p RetryPolicy) Backoff(attempt int) time.Duration {
	b := p.bound(attempt)
	return b/2 + time.Duration(rand.Int64N(int64(b/2)+1))
}
