package spec

import (
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

// Pool is a pool's tuning: everything a running worker applies without a restart.
// All durations are in milliseconds.
type Pool struct {
	Version int `json:"version"`
	// Concurrency is the number of runs in flight per worker, 1 to 1000.
	Concurrency int `json:"concurrency"`
	// Hold stops claiming; what runs finishes.
	Hold bool `json:"hold,omitempty"`
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
	return validateHandlers(p.Handlers)
}

// Lease is the lease length.
func (p Pool) Lease() time.Duration { return time.Duration(p.LeaseMillis) * time.Millisecond }

// Heartbeat is the time between two renewals.
func (p Pool) Heartbeat() time.Duration { return time.Duration(p.HeartbeatMillis) * time.Millisecond }

// Poll is the longest time between two claims.
func (p Pool) Poll() time.Duration { return time.Duration(p.PollMillis) * time.Millisecond }

// Sweep is the time between two sweeps.
func (p Pool) Sweep() time.Duration { return time.Duration(p.SweepMillis) * time.Millisecond }
