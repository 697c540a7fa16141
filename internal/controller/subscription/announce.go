package subscription

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
)

// transitions lists the Events between two statuses: what became otherwise, never what stays.
func transitions(before, after v1alpha1.IntegrationSubscriptionStatus) (all condition.Announcements) {
	became := func(conditionType string, status metav1.ConditionStatus, reason string) bool {
		return condition.BecameFor(before.Conditions, after.Conditions, conditionType, status, reason)
	}
	message := func(conditionType string) string { return condition.Find(after.Conditions, conditionType).Message }

	all.Add(became(v1alpha1.ConditionPoolReady, metav1.ConditionFalse, v1alpha1.ReasonPoolMissing),
		corev1.EventTypeWarning, v1alpha1.EventPoolMissing, "Publish", message(v1alpha1.ConditionPoolReady))
	all.Add(became(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNameTaken),
		corev1.EventTypeWarning, v1alpha1.EventNameTaken, "Publish", message(v1alpha1.ConditionStalled))
	all.Add(after.LastHandledRunRequest != "" && before.LastHandledRunRequest != after.LastHandledRunRequest,
		corev1.EventTypeNormal, v1alpha1.EventRunRequested, "Run", fmt.Sprintf("the run requested by %q was started", after.LastHandledRunRequest))
	failed, failing := orZero(before.ConsecutiveFailures) > 0, orZero(after.ConsecutiveFailures) > 0
	all.Add(!failed && failing, corev1.EventTypeWarning, v1alpha1.EventRunFailed, "Run", lastError(after))
	all.Add(failed && !failing, corev1.EventTypeNormal, v1alpha1.EventRunsRecovered, "Run", "a run ended well after failing ones")
	all.Add(became(v1alpha1.ConditionRunsSucceeding, metav1.ConditionFalse, v1alpha1.ReasonCursorStuck),
		corev1.EventTypeWarning, v1alpha1.EventCursorStuck, "Run", message(v1alpha1.ConditionRunsSucceeding))
	more := orZero(after.Quarantined) - orZero(before.Quarantined)
	all.Add(more > 0, corev1.EventTypeWarning, v1alpha1.EventRecordsQuarantined, "Run",
		fmt.Sprintf("%d more records are set aside: the table quarantine says why", more))
	suspended := condition.Find(after.Conditions, v1alpha1.ConditionRunsSucceeding).Reason == v1alpha1.ReasonSuspended
	was := condition.Find(before.Conditions, v1alpha1.ConditionRunsSucceeding).Reason == v1alpha1.ReasonSuspended
	all.Add(suspended && !was, corev1.EventTypeNormal, v1alpha1.EventSuspended, "Suspend", "the schedule is suspended")
	all.Add(was && !suspended, corev1.EventTypeNormal, v1alpha1.EventSuspended, "Suspend", "the schedule is resumed")
	return all
}

func lastError(s v1alpha1.IntegrationSubscriptionStatus) string {
	if s.LastRun == nil || s.LastRun.Error == "" {
		return "a run failed"
	}
	return fmt.Sprintf("a run failed with %s: %s", s.LastRun.ErrorCode, s.LastRun.Error)
}
