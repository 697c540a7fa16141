package jobpool

import (
	"encoding/json"
	"fmt"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// PoolName is the pool's name in the database.
func PoolName(pool *v1alpha1.JobPool) string {
	if pool.Spec.PoolName != "" {
		return pool.Spec.PoolName
	}
	return pool.Name
}

// Tuning is the part of a JobPool that reaches running workers through the pool's row.
func Tuning(s *v1alpha1.JobPoolSpec) spec.Pool {
	return spec.Pool{
		Version:     spec.Version,
		Concurrency: int(s.Concurrency),
		Hold:        s.StopPolicy == v1alpha1.StopPolicyHold || s.StopPolicy == v1alpha1.StopPolicyHoldAndDrain,
		Drain:       s.StopPolicy == v1alpha1.StopPolicyHoldAndDrain,
		MaxRunning:  maxRunning(s.MaxRunning),
		StartRate:   startRate(s.StartRate),
		Fairness:    fairness(s.Fairness),
		Retention: spec.Retention{
			CompletedMillis: 1000 * int64(s.Retention.CompletedSeconds),
			FailedMillis:    1000 * int64(s.Retention.FailedSeconds),
		},
		WakeMode:        spec.WakeMode(s.Claim.WakeMode),
		PollMillis:      1000 * int64(s.Claim.PollPeriodSeconds),
		LeaseMillis:     1000 * int64(s.Lease.StaleThresholdSeconds),
		HeartbeatMillis: 1000 * int64(heartbeatSeconds(s.Lease)),
		SweepMillis:     1000 * int64(s.Lease.SweepPeriodSeconds),
		Handlers:        handlers(s.Handlers),
	}
}

// handlers are in the order of the spec.
func handlers(list []v1alpha1.JobHandler) []spec.Handler {
	var all []spec.Handler
	for _, h := range list {
		all = append(all, spec.Handler{
			Type: h.Type, URL: h.URL, TimeoutMillis: 1000 * int64(h.TimeoutSeconds),
			Retry: spec.Retry{
				MaxAttempts: int(h.Retry.MaxAttempts),
				BaseMillis:  1000 * int64(h.Retry.InitialDelaySeconds), MaxMillis: 1000 * int64(h.Retry.MaxDelaySeconds),
				Fixed: h.Retry.Backoff == v1alpha1.BackoffFixed,
			},
		})
	}
	return all
}

// heartbeatSeconds is a third of the stale threshold unless the spec says otherwise.
func heartbeatSeconds(l v1alpha1.LeaseTuning) int32 {
	if l.HeartbeatPeriodSeconds > 0 {
		return l.HeartbeatPeriodSeconds
	}
	return l.StaleThresholdSeconds / 3
}

// document checks the tuning as a worker would and encodes it.
func document(p spec.Pool) (json.RawMessage, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("check the tuning: %w", err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode the tuning: %w", err)
	}
	return text, nil
}
