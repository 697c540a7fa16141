package job

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
)

// RetryPolicy says how often and when something that failed is executed again. The zero value is five executions with
// exponential backoff under full jitter, from one second up to fifteen minutes.
type RetryPolicy = jobs.RetryPolicy

// Type is a job type with its handler, for worker.Main.
type Type struct {
	name   string
	config jobs.TypeConfig
	handle func(ctx context.Context, r *Run, input json.RawMessage) (json.RawMessage, error)
}

// Option changes how runs of a type are executed.
type Option func(*jobs.TypeConfig)

// Retry sets the policy for runs that fail. A run's own MaxAttempts stands above it.
func Retry(p RetryPolicy) Option { return func(t *jobs.TypeConfig) { t.Retry = p } }

// Timeout bounds one execution: the context ends with ErrTimeout, and the run is retried by the policy.
func Timeout(d time.Duration) Option { return func(t *jobs.TypeConfig) { t.Timeout = d } }

// ReleaseLaneOnRetry lets other runs of a lane overtake one that waits for its retry or waits parked.
func ReleaseLaneOnRetry() Option { return func(t *jobs.TypeConfig) { t.ReleaseLaneOnRetry = true } }

// MaxOutput bounds the output of a run, and of each of its steps, in bytes; the default is 1 MiB.
func MaxOutput(bytes int) Option { return func(t *jobs.TypeConfig) { t.MaxOutput = bytes } }

// Redact rewrites the message of every error before it is stored or logged.
func Redact(fn func(message string) string) Option {
	return func(t *jobs.TypeConfig) { t.Redact = fn }
}

// Handle makes a job type of a function. An input that is not an In ends the run as failed, without a retry. A handler that
// panics, ends its goroutine or returns an error that cannot be read fails its own run alone; a goroutine that it starts
// and that panics ends the process, as everywhere in Go.
func Handle[In, Out any](name string, fn func(ctx context.Context, r *Run, in In) (Out, error), opts ...Option) Type {
	t := Type{name: name}
	for _, o := range opts {
		o(&t.config)
	}
	if fn == nil {
		return t
	}
	t.handle = func(ctx context.Context, r *Run, input json.RawMessage) (json.RawMessage, error) {
		var in In
		if err := json.Unmarshal(input, &in); err != nil {
			return nil, Permanent("invalid_input", fmt.Errorf("input of job type %q: %w", name, err))
		}
		out, err := fn(ctx, r, in)
		if err != nil {
			return nil, err
		}
		raw, err := json.Marshal(out)
		if err != nil {
			return nil, Permanent("invalid_output", fmt.Errorf("output of job type %q: %w", name, err))
		}
		return raw, nil
	}
	return t
}

// Name is the job type's name.
func (t Type) Name() string { return t.name }

// maxName bounds the name of a job type in bytes.
const maxName = 200

// Validate says what is wrong with the type, nil when nothing is.
func (t Type) Validate() error {
	switch {
	case t.name == "" || len(t.name) > maxName || !utf8.ValidString(t.name) || strings.ContainsRune(t.name, 0):
		return fmt.Errorf("the name of a job type is %q, want 1 to %d bytes of UTF-8", t.name, maxName)
	case strings.HasPrefix(t.name, spec.ReservedTypes):
		return fmt.Errorf("job type %q begins with %q, which is reserved: give it another name", t.name, spec.ReservedTypes)
	case t.handle == nil:
		return fmt.Errorf("job type %q has no handler: give Handle a function", t.name)
	}
	if err := t.config.Validate(); err != nil {
		return fmt.Errorf("job type %q: %w", t.name, err)
	}
	return nil
}

// Registrations are types as one worker takes them, for packages sdk/worker and sdk/jobtest. It refuses what cannot be
// served, and two types of one name.
func Registrations(schemaName string, types ...Type) (map[string]worker.Registration, error) {
	registered := make(map[string]worker.Registration, len(types))
	for _, t := range types {
		if err := t.Validate(); err != nil {
			return nil, err
		}
		if _, taken := registered[t.name]; taken {
			return nil, fmt.Errorf("job type %q is registered twice", t.name)
		}
		registered[t.name] = t.registration(schemaName)
	}
	return registered, nil
}

func (t Type) registration(schemaName string) worker.Registration {
	return worker.Registration{Config: t.config, Handler: jobs.HandlerFunc(func(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
		return t.handle(ctx, newRun(c, schemaName), c.Input)
	})}
}
