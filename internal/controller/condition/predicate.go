package condition

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/syncline-dev/syncline/api/v1alpha1"
)

// Changed lets an update through when a condition got another status or reason. Counts and times in a status wake
// nobody.
func Changed() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !slices.EqualFunc(of(e.ObjectOld), of(e.ObjectNew), func(a, b metav1.Condition) bool {
			return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason
		})
	}}
}

func of(o client.Object) []metav1.Condition {
	switch o := o.(type) {
	case *v1alpha1.JobPool:
		return o.Status.Conditions
	case *v1alpha1.IntegrationConnection:
		return o.Status.Conditions
	case *v1alpha1.IntegrationSubscription:
		return o.Status.Conditions
	}
	return nil
}
