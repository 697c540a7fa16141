// Package conditiontest compares the conditions that controllers judge with what their tests want.
package conditiontest

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
)

// Expect wants a condition, and Ready beside it, with a status and a reason.
func Expect(t *testing.T, list []metav1.Condition, conditionType string, want, ready [2]string) {
	t.Helper()
	for kind, pair := range map[string][2]string{conditionType: want, v1alpha1.ConditionReady: ready} {
		c := condition.Find(list, kind)
		if got := [2]string{string(c.Status), c.Reason}; got != pair {
			t.Errorf("%s is %v, want %v: %s", kind, got, pair, c.Message)
		}
	}
}
