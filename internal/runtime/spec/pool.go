package spec

import (
	"errors"
	"fmt"
	"time"
)

// WakeMode says how a worker learns of new runs besides its timer.
type WakeMode string

const (
	// WakeNotify listens on a dedicated connection; polling stays the truth.
	WakeNotify WakeMode = "Notify"
	// WakePoll only polls: for databases behind a transaction-pooling proxy.
	WakePoll WakeMode = "Poll"
)

// Fairness says how a claim divides its slots.
type Fairness string

const (
	// FairnessNone claims in order of due time and priority, whoever the runs belong to.
	FairnessNone Fairness = "None"
	// FairnessTenant serves tenants by turns; runs without a tenant are one more.
	FairnessTenant Fairness = "Tenant"
)

// StartRate is a token bucket for claims, shared by all workers of a pool and kept on the database's clock.
type StartRate struct {
	// PerSecond is how many runs may start per second on average, 0.001 to 100000.
	PerSecond float64 `json:"perSecond"`
	// Burst is how many may start at once after a pause, 1 to 100000.
	Burst int `json:"burst"`
}

// Retention says how long a run is kept after it has ended, in milliseconds; 0 keeps it for ever. A tree of runs goes as
// a whole.
type Retention struct {
	CompletedMillis int64 `json:"completedMillis,omitempty"`
	// FailedMillis counts for runs that ended in any other way: failed, timed out, lost, cancelled.
	FailedMillis int64 `json:"failedMillis,omitempty"`
}

// Pool is a pool's tuning: everything a running worker applies without a restart.
// All durations are in milliseconds.
type Pool struct {
	Version int `json:"version"`
	// Concurrency is the number of runs in flight per worker, 1 to 1000.
	Concurrency int `json:"concurrency"`
	// Hold stops claiming; what runs finishes.
	Hold bool `json:"hold,omitempty"`
	// Drain, with Hold, also cancels what still runs when a worker's drain timeout has passed, and gives it back.
	Drain bool `json:"drain,omitempty"`
	// MaxRunning is the number of runs in flight in the whole pool, up to 100000; 0 is no limit.
	MaxRunning int `json:"maxRunning,omitempty"`
	// StartRate limits how fast the whole pool starts runs; nil does not.
	StartRate *StartRate `json:"startRate,omitempty"`
	// Fairness is None, which may be left empty, or Tenant.
	Fairness Fairness `json:"fairness,omitempty"`
	// Retention removes old runs.
	Retention Retention `json:"retention,omitzero"`
	// WakeMode is Notify or Poll.
	WakeMode WakeMode `json:"wakeMode"`
	// PollMillis is the longest time between two looks for due runs.
	PollMillis int64 `json:"pollMillis"`
	// LeaseMillis is the lease length, the stale threshold of this pool's workers.
	LeaseMillis int64 `json:"leaseMillis"`
	// HeartbeatMillis is the time between two renewals; at most a third of the lease.
	HeartbeatMillis int64 `json:"heartbeatMillis"`
	// SweepMillis is the time between two sweeps for dead workers.
	SweepMillis int64 `json:"sweepMillis"`
	// Handlers are the job types that are served over HTTP, each type once.
	Handlers []Handler `json:"handlers,omitempty"`
}

// DefaultPool is the tuning of a pool that nobody declared: what a worker started by hand writes when its pool has no row.
func DefaultPool() Pool {
	return Pool{
		Version: Version, Concurrency: 10, WakeMode: WakeNotify, PollMillis: 1000,
		LeaseMillis: 60_000, HeartbeatMillis: 20_000, SweepMillis: 15_000,
		Retention: Retention{CompletedMillis: 7 * 86_400_000, FailedMillis: 30 * 86_400_000},
	}
}

// Validate reports the first value that a worker could not run with. The bounds are wider than those of the custom
// resource, so that tests can use short leases.
func (p Pool) Validate() error {
	switch {
	case p.Concurrency < 1 || p.Concurrency > 1000:
		return fmt.Errorf("concurrency is %d, want 1 to 1000", p.Concurrency)
	case p.WakeMode != WakeNotify && p.WakeMode != WakePoll:
		return fmt.Errorf("wakeMode is %q, want Notify or Poll", p.WakeMode)
	case p.PollMillis < 10:
		return fmt.Errorf("pollMillis is %d, want at least 10", p.PollMillis)
	case p.HeartbeatMillis < 10:
		return fmt.Errorf("heartbeatMillis is %d, want at least 10", p.HeartbeatMillis)
	case p.SweepMillis < 10:
		return fmt.Errorf("sweepMillis is %d, want at least 10", p.SweepMillis)
	case p.LeaseMillis < 3*p.HeartbeatMillis:
		return fmt.Errorf("leaseMillis is %d, want at least three times heartbeatMillis (%d)", p.LeaseMillis, p.HeartbeatMillis)
	}
	if err := p.validateLimits(); err != nil {
		return err
	}
	return validateHandlers(p.Handlers)
}

// validateLimits reports the first limit that the database could not apply.
func (p Pool) validateLimits() error {
	r := p.StartRate
	switch {
	case p.Drain && !p.Hold:
		return errors.New("drain is set without hold: a pool that claims cannot be drained")
	case p.MaxRunning < 0 || p.MaxRunning > 100_000:
		return fmt.Errorf("maxRunning is %d, want 0 (no limit) to 100000", p.MaxRunning)
	case r != nil && !(r.PerSecond >= 0.001 && r.PerSecond <= 100_000):
		return fmt.Errorf("startRate.perSecond is %v, want 0.001 to 100000; leave startRate out for no limit", r.PerSecond)
	case r != nil && (r.Burst < 1 || r.Burst > 100_000):
		return fmt.Errorf("startRate.burst is %d, want 1 to 100000", r.Burst)
	case p.Fairness != "" && p.Fairness != FairnessNone && p.Fairness != FairnessTenant:
		return fmt.Errorf("fairness is %q, want None or Tenant", p.Fairness)
	case p.Retention.CompletedMillis < 0 || p.Retention.FailedMillis < 0:
		return fmt.Errorf("retention is %d and %d ms, want 0 (for ever) or more", p.Retention.CompletedMillis, p.Retention.FailedMillis)
	}
	return nil
}

// Lease is the lease length.
func (p Pool) Lease() time.Duration { return time.Duration(p.LeaseMillis) * time.Millisecond }

// Heartbeat is the time between two renewals.
func (p Pool) Heartbeat() time.Duration { return time.Duration(p.HeartbeatMillis) * time.Millisecond }

// Poll is the longest time between two claims.
func (p Pool) Poll() time.Duration { return time.Duration(p.PollMillis) * time.Millisecond }

// Sweep is the time between two sweeps.
func (p Pool) Sweep() time.Duration { return time.Duration(p.SweepMillis) * time.Millisecond }
