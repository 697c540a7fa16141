package subscription

import (
	"fmt"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

const (
	// failureThreshold is how many runs in a row must fail before the subscription is not ready: one bad run is weather.
	failureThreshold = 3
	// codeTooManyBad is the error code of a run that stopped, with its cursor held, because of the share of bad records.
	codeTooManyBad = "TooManyBadRecords"
)

// runsSucceeding judges the newest runs; false while a run is under way that may change the verdict.
func (s *scope) runsSucceeding() (condition.Verdict, bool) {
	state := s.view.State
	switch {
	case state == nil && s.view.Database.Ready():
		return condition.Open(v1alpha1.ReasonNoRunYet, "no run has been made yet"), true
	case state == nil:
		return condition.Verdict{}, false
	case state.LastRun == nil:
		return s.beforeFirstRun(), true
	case state.ConsecutiveFailures == 0:
		return s.runsWell(), true
	case state.LastRun.Outcome == "running":
		return condition.Verdict{}, false
	}
	return failing(state), true
}

func (s *scope) beforeFirstRun() condition.Verdict {
	if orZero(s.sub.Spec.Suspend) {
		return condition.Open(v1alpha1.ReasonSuspended, "spec.suspend is true: no run has been made yet")
	}
	return condition.Open(v1alpha1.ReasonNoRunYet, "no run has been made yet")
}

func (s *scope) runsWell() condition.Verdict {
	if orZero(s.sub.Spec.Suspend) {
		return condition.Pass(v1alpha1.ReasonSuspended, "spec.suspend is true: only requested runs are made; the newest ended well")
	}
	return condition.Pass(v1alpha1.ReasonRunsSucceeding, "the newest runs ended well")
}

// failing judges a row of failed runs by its length and its newest error.
func failing(state *schema.SubscriptionState) condition.Verdict {
	code, text := orZero(state.LastRun.ErrorCode), orZero(state.LastRun.Error)
	message := fmt.Sprintf("%d runs in a row have failed, the newest with %s: %s", state.ConsecutiveFailures, code, text)
	switch {
	case code == codeTooManyBad:
		return condition.Fail(v1alpha1.ReasonCursorStuck, message)
	case state.ConsecutiveFailures >= failureThreshold:
		return condition.Fail(v1alpha1.ReasonRunsFailing, message)
	}
	return condition.Pass(v1alpha1.ReasonRunFailed, message)
}
