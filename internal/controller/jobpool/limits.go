package jobpool

import (
	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// maxRunning is the limit of runs in flight, 0 for none.
func maxRunning(n *int32) int {
	if n == nil {
		return 0
	}
	return int(*n)
}

// startRate is the limit of starts, nil for none.
func startRate(r *v1alpha1.StartRate) *spec.StartRate {
	if r == nil {
		return nil
	}
	return &spec.StartRate{PerSecond: r.StartsPerSecond.AsApproximateFloat64(), Burst: int(max(r.Burst, 1))}
}

// fairness is left out of the document when there is none.
func fairness(f v1alpha1.Fairness) spec.Fairness {
	if f == v1alpha1.FairnessTenant {
		return spec.FairnessTenant
	}
	return ""
}
