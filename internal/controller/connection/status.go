package connection

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// conditionOrder is the order of an IntegrationConnection's own conditions: what is to blame first.
var conditionOrder = []string{v1alpha1.ConditionCredentialsReady, v1alpha1.ConditionPublished}

// status is the connection's status as the scope has it, at the given time.
func (s *scope) status(now time.Time) v1alpha1.IntegrationConnectionStatus {
	return v1alpha1.IntegrationConnectionStatus{
		ObservedGeneration: &s.connection.Generation,
		ConnectionID:       s.id.String(),
		Subscriptions:      new(int32(s.subscriptions)),
		Conditions:         s.conditions(now),
	}
}

func (s *scope) conditions(now time.Time) []metav1.Condition {
	set := condition.New(s.connection.Status.Conditions, s.connection.Generation, now, conditionOrder...)
	set.Put(v1alpha1.ConditionCredentialsReady, s.credentials)
	if v, ok := s.published(); ok {
		set.Put(v1alpha1.ConditionPublished, v)
	}
	return set.List()
}

// published judges the rows in all databases; false while one of them has not answered yet.
func (s *scope) published() (condition.Verdict, bool) {
	switch {
	case s.subscriptions == 0:
		return condition.Pass(v1alpha1.ReasonNotUsed, "no subscription uses the connection, so no database needs it"), true
	case len(s.keys) == 0:
		return condition.Verdict{}, false
	}
	for _, key := range s.keys {
		if v, ok := s.publishedIn(s.views[key]); !ok || !v.Holds() {
			return v, ok
		}
	}
	return condition.Pass(v1alpha1.ReasonPublished, "the connection stands in every database that its subscriptions use"), true
}

// publishedIn judges the row in one database; false while it has not answered yet.
func (s *scope) publishedIn(view database.ConnectionView) (condition.Verdict, bool) {
	switch {
	case !view.Database.Known:
		return condition.Verdict{}, false
	case !view.Database.Reachable:
		return condition.Wait(v1alpha1.ReasonDatabaseUnreachable, view.Database.Message), true
	case !view.Database.SchemaCurrent:
		return condition.Wait(view.Database.SchemaReason, view.Database.SchemaMessage), true
	case !s.credentials.Holds():
		return s.unpublished(view), true
	case view.Row == nil:
		return condition.Verdict{}, false
	case view.Row.Outcome == schema.OutcomeApplied:
		return condition.Pass(v1alpha1.ReasonPublished, ""), true
	}
	return notWritten(view.Row), true
}

// unpublished is about a row that is not written because the credential is missing: one from before may stand.
func (s *scope) unpublished(view database.ConnectionView) condition.Verdict {
	if view.State != nil && view.State.Owner.UID == string(s.connection.UID) {
		return condition.Pass(v1alpha1.ReasonPublished, "the connection stands in the database as it last was")
	}
	return condition.Wait(v1alpha1.ReasonWaiting, "the connection is written as soon as its credential is there")
}

// notWritten says why the connection's row is not as the spec wants it.
func notWritten(row *schema.Written) condition.Verdict {
	switch row.Outcome {
	case schema.OutcomeTaken:
		return condition.Stall(v1alpha1.ReasonNameTaken, fmt.Sprintf(
			"the connection's row belongs to %q in namespace %q of cluster %s: give each cluster its own --cluster-id",
			row.Owner.Name, row.Owner.Namespace, row.Owner.Cluster))
	case schema.OutcomeStale:
		return condition.Stall(v1alpha1.ReasonNewerGeneration, fmt.Sprintf(
			"the connection's row was written from generation %d, which is newer: change the spec until its "+
				"generation is higher, or create the resource anew", row.Owner.Generation))
	}
	return condition.Stall(v1alpha1.ReasonPending, "the database refuses the connection's row: "+row.Message)
}
