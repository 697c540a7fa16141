package jobs

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// RetryPolicy says how often and when something that failed is executed again: a run, or a step of it. The zero value is
// five executions with exponential backoff under full jitter, from one second up to fifteen minutes.
type RetryPolicy struct {
	// MaxAttempts counts executions, the first included; 0 means 5. A run's own max_attempts stands above it.
	MaxAttempts int
	// Base is the bound of the first delay; 0 means 1 s.
	Base time.Duration
	// Max caps every delay; 0 means 15 min.
	Max time.Duration
	// Fixed keeps the bound at Base instead of doubling it with every attempt.
	Fixed bool
	// NoJitter makes every delay its bound. By default a delay is anything up to its bound, so that what failed together
	// does not come back together.
	NoJitter bool
	// NonRetryable are the codes of errors that no further attempt can cure: those of WithCode, and "timeout", "panic" and
	// "error", which are the engine's own.
	NonRetryable []string
}

// Defaults of RetryPolicy and TypeConfig.
const (
	DefaultMaxAttempts = 5
	DefaultRetryBase   = time.Second
	DefaultRetryMax    = 15 * time.Minute
	// DefaultMaxOutput bounds the output of a run, and of each of its steps, in bytes.
	DefaultMaxOutput = 1 << 20
)

// TypeConfig is what a job type is registered with.
type TypeConfig struct {
	Retry RetryPolicy
	// Timeout bounds one execution: the handler's context ends with the cause ErrTimeout, and the run is retried by the
	// policy or ends as timed out. 0 is no bound. A handler that ignores its context keeps its slot, its claim and its
	// lane until it returns; what ends its run all the same is the run's deadline.
	Timeout time.Duration
	// ReleaseLaneOnRetry lets other runs of the lane overtake one that waits for its retry, or waits parked. By default such
	// a run keeps its lane, because order is why people use lanes; one that waits for children never keeps it.
	ReleaseLaneOnRetry bool
	// MaxOutput bounds the output of a run, and of each of its steps, in bytes; 0 means DefaultMaxOutput.
	MaxOutput int
	// Redact rewrites the message of every error before it is stored or logged, to take out what must not be read there.
	// nil stores messages as they are. Messages are cut to 8 KiB after it.
	Redact func(message string) string
}

// Validate names the first value that cannot be meant.
func (t TypeConfig) Validate() error {
	switch {
	case t.Timeout < 0:
		return fmt.Errorf("timeout is %s, want 0 (none) or more", t.Timeout)
	case t.MaxOutput < 0:
		return fmt.Errorf("maxOutput is %d bytes, want 0 (%d) or more", t.MaxOutput, DefaultMaxOutput)
	}
	return t.Retry.Validate()
}

// Validate names the first value that cannot be meant.
func (p RetryPolicy) Validate() error {
	switch {
	case p.MaxAttempts < 0:
		return fmt.Errorf("maxAttempts is %d, want 0 (%d) or more", p.MaxAttempts, DefaultMaxAttempts)
	case p.Base < 0:
		return fmt.Errorf("base delay is %s, want 0 (%s) or more", p.Base, DefaultRetryBase)
	case p.Max < 0:
		return fmt.Errorf("longest delay is %s, want 0 (%s) or more", p.Max, DefaultRetryMax)
	}
	return nil
}

// Attach gives a claim the settings of its type, which its steps obey. The worker does so before the handler starts.
func (t TypeConfig) Attach(c *Claim) { c.config = t }

// runAttempts is the number of executions that a claim's run may have.
func (p RetryPolicy) runAttempts(c *Claim) int {
	if c.MaxAttempts > 0 {
		return c.MaxAttempts
	}
	return p.attempts()
}

func (p RetryPolicy) attempts() int {
	if p.MaxAttempts > 0 {
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

// Backoff is a delay after the given attempt, which counts from 1: anything up to the bound, or the bound itself without
// jitter.
func (p RetryPolicy) Backoff(attempt int) time.Duration {
	b := p.bound(attempt)
	if p.NoJitter {
		return b
	}
	return time.Duration(rand.Int64N(int64(b)) + 1)
}

// storable reports an output that cannot be stored, as an error that no retry can cure.
func (t TypeConfig) storable(output json.RawMessage) error {
	limit := t.MaxOutput
	if limit == 0 {
		limit = DefaultMaxOutput
	}
	switch {
	case len(output) > limit:
		return Permanent("output_too_large", fmt.Errorf("%w: %d bytes, want at most %d: store it elsewhere and return where",
			ErrOutputTooLarge, len(output), limit))
	case output != nil && !json.Valid(output):
		return Permanent(codeInvalidOutput, ErrInvalidOutput)
	}
	return nil
}

// Message is what is stored and logged of an error's text.
func (t TypeConfig) Message(text string) (message string) {
	defer func() {
		if recover() != nil {
			message = "(the message is withheld: the redaction hook panicked)"
		}
	}()
	if t.Redact != nil {
		text = t.Redact(text)
	}
	return clean(text)
}
