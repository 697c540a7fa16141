package subscription

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

const (
	// maxCursor, maxError and maxCode are what the API accepts, in bytes to be on the safe side.
	maxCursor, maxError, maxCode = 1024, 2048, 128
	maxRequest                   = 253
)

// outcomes and actions are the words of the table sync_run in the API's spelling.
var (
	outcomes = map[string]v1alpha1.RunOutcome{
		"running": v1alpha1.RunRunning, "succeeded": v1alpha1.RunSucceeded, "noChanges": v1alpha1.RunNoChanges,
		"partial": v1alpha1.RunPartial, "failed": v1alpha1.RunFailed, "abandoned": v1alpha1.RunAbandoned,
	}
	actions = map[string]v1alpha1.RunAction{
		"schedule": v1alpha1.RunActionSchedule, "manual": v1alpha1.RunActionManual,
	}
)

// status is the subscription's status as the scope has it, at the given time. What the database cannot be asked for
// stays as it was.
func (s *scope) status(now time.Time) v1alpha1.IntegrationSubscriptionStatus {
	st := *s.sub.Status.DeepCopy()
	st.ObservedGeneration = &s.sub.Generation
	st.SubscriptionID = s.id.String()
	st.Conditions = s.conditions(now)
	if s.stored() {
		st.DatabaseID = s.view.Database.Identity
	}
	if s.view.State != nil {
		observe(&st, s.view.State)
	}
	return st
}

// stored says that the row stands in the pool's database, as far as its actor knows.
func (s *scope) stored() bool {
	if s.home != homeHere || s.view.Database.Identity == "" {
		return false
	}
	return s.view.State != nil || s.view.Row != nil && s.view.Row.Outcome == schema.OutcomeApplied
}

// observe takes over what the row says.
func observe(st *v1alpha1.IntegrationSubscriptionStatus, state *schema.SubscriptionState) {
	st.LastHandledRunRequest = condition.Cut(state.RunHandled, maxRequest)
	st.NextRunTime = instant(state.NextRun)
	st.LastSuccessTime = instant(state.LastSuccess)
	st.LastChangeTime = instant(state.LastChange)
	st.ConsecutiveFailures = new(int32(state.ConsecutiveFailures))
	st.Quarantined = &state.Quarantined
	st.Cursor = condition.Cut(cursor(state.Cursor), maxCursor)
	st.LastRun = run(state.LastRun)
}

// cursor is the position as people read it.
func cursor(document json.RawMessage) string {
	var c struct {
		Value string `json:"value"`
	}
	if len(document) == 0 || json.Unmarshal(document, &c) != nil {
		return ""
	}
	return c.Value
}

func run(r *schema.RunState) *v1alpha1.RunStatus {
	if r == nil {
		return nil
	}
	return &v1alpha1.RunStatus{
		ID: r.Run, Attempt: int32(r.Attempt), Outcome: outcomes[r.Outcome], Action: actions[r.Action],
		StartTime: instant(&r.Started), CompletionTime: instant(r.Finished),
		Found: &r.Found, Created: &r.Created, Updated: &r.Updated, Deleted: &r.Deleted, Resurrected: &r.Resurrected,
		Unchanged: &r.Unchanged, Stale: &r.Stale, Filtered: &r.Filtered, Quarantined: &r.Quarantined,
		ErrorCode: condition.Cut(orZero(r.ErrorCode), maxCode), Error: condition.Cut(orZero(r.Error), maxError),
	}
}

// instant is a time as the API keeps it, in whole seconds.
func instant(t *time.Time) *metav1.Time {
	if t == nil {
		return nil
	}
	return new(metav1.NewTime(t.Truncate(time.Second)))
}

// conditionOrder is the order of an IntegrationSubscription's own conditions: what is to blame first.
var conditionOrder = []string{
	v1alpha1.ConditionExpressionsCompiled, v1alpha1.ConditionPoolReady, v1alpha1.ConditionConnectionReady,
	v1alpha1.ConditionSinkReady, v1alpha1.ConditionRunsSucceeding,
}

// conditions judges the subscription. What is not known because the process has just started stays as it was.
func (s *scope) conditions(now time.Time) []metav1.Condition {
	set := condition.New(s.sub.Status.Conditions, s.sub.Generation, now, conditionOrder...)
	set.Put(v1alpha1.ConditionExpressionsCompiled, s.compiled.verdict)
	for conditionType, judge := range map[string]func() (condition.Verdict, bool){
		v1alpha1.ConditionPoolReady:       s.poolReady,
		v1alpha1.ConditionConnectionReady: s.connectionReady,
		v1alpha1.ConditionSinkReady:       s.sinkReady,
		v1alpha1.ConditionRunsSucceeding:  s.runsSucceeding,
	} {
		if v, ok := judge(); ok {
			set.Put(conditionType, v)
		}
	}
	return set.List()
}

// poolReady judges the pool, its database and the subscription's row there; false while the pool is about to be bound or
// its database about to be read.
func (s *scope) poolReady() (condition.Verdict, bool) {
	db := s.poolView.Database
	switch {
	case s.pool == nil:
		return condition.Wait(v1alpha1.ReasonPoolMissing, fmt.Sprintf(
			"JobPool %q does not exist in namespace %q: create it or name another in spec.poolRef", s.sub.Spec.PoolRef.Name, s.name.Namespace)), true
	case !s.bound:
		return s.unbound()
	case !db.Known:
		return condition.Verdict{}, false
	case !db.Reachable:
		return condition.Wait(v1alpha1.ReasonPoolNotReady, fmt.Sprintf("the database of JobPool %q cannot be reached: %s", s.pool.Name, db.Message)), true
	case !db.SchemaCurrent:
		return condition.Wait(v1alpha1.ReasonPoolNotReady, fmt.Sprintf("the schema of JobPool %q cannot be used: %s", s.pool.Name, db.SchemaMessage)), true
	case s.poolView.Row != nil && s.poolView.Row.Outcome != schema.OutcomeApplied:
		return condition.Wait(v1alpha1.ReasonPoolNotReady, fmt.Sprintf("JobPool %q is not accepted by its database: see its conditions", s.pool.Name)), true
	case s.home == homeUndecided:
		return condition.Verdict{}, false
	case s.home == homeElsewhere:
		return condition.Stall(v1alpha1.ReasonPoolOnOtherDatabase, fmt.Sprintf(
			"the subscription's table and cursor are in another database than that of JobPool %q: point spec.poolRef back at a "+
				"pool on that database, or create another IntegrationSubscription for this one; when that database is lost, "+
				"delete this IntegrationSubscription and create it anew, and the first run reads everything", s.pool.Name)), true
	}
	return s.rowReady()
}

// unbound is about a pool whose database is not known: because of its Secret, or because the operator has just started
// and gets to it in a moment.
func (s *scope) unbound() (condition.Verdict, bool) {
	reachable := condition.Find(s.pool.Status.Conditions, v1alpha1.ConditionDatabaseReachable)
	switch reachable.Status {
	case metav1.ConditionTrue:
		return condition.Verdict{}, false
	case metav1.ConditionFalse:
		return condition.Wait(v1alpha1.ReasonPoolNotReady, fmt.Sprintf("JobPool %q has no database: %s", s.pool.Name, reachable.Message)), true
	}
	return condition.Wait(v1alpha1.ReasonPoolNotReady, fmt.Sprintf("JobPool %q has not been looked at yet", s.pool.Name)), true
}

// rowReady judges what became of the row; false while the first one is on its way into the database.
func (s *scope) rowReady() (condition.Verdict, bool) {
	row := s.view.Row
	switch {
	case row == nil && s.declarable() && !s.rowStands():
		return condition.Verdict{}, false
	case row == nil || row.Outcome == schema.OutcomeApplied || row.Outcome == schema.OutcomeConnectionMissing:
		return condition.Pass(v1alpha1.ReasonPoolReady, fmt.Sprintf("the database of JobPool %q answers", s.pool.Name)), true
	case row.Outcome == schema.OutcomeTaken:
		return condition.Stall(v1alpha1.ReasonNameTaken, fmt.Sprintf(
			"the subscription's row belongs to %q in namespace %q of cluster %s: give each cluster its own --cluster-id",
			row.Owner.Name, row.Owner.Namespace, row.Owner.Cluster)), true
	case row.Outcome == schema.OutcomeStale:
		return condition.Stall(v1alpha1.ReasonNewerGeneration, fmt.Sprintf(
			"the subscription's row was written from generation %d, this resource is at %d: change the spec until its generation is higher, or create the resource anew",
			row.Owner.Generation, s.sub.Generation)), true
	}
	return condition.Stall(v1alpha1.ReasonPoolNotReady, "the database refuses the subscription's row: "+row.Message), true
}

// connectionReady judges the connection and its row in the subscription's database.
func (s *scope) connectionReady() (condition.Verdict, bool) {
	if s.connection == nil {
		return condition.Wait(v1alpha1.ReasonConnectionMissing, fmt.Sprintf(
			"IntegrationConnection %q does not exist in namespace %q: create it", s.sub.Spec.ConnectionRef.Name, s.name.Namespace)), true
	}
	name := s.connection.Name
	ready := condition.Find(s.connection.Status.Conditions, v1alpha1.ConditionReady)
	row := s.connectionView.Row
	switch {
	case ready.Status == metav1.ConditionFalse:
		return condition.Wait(v1alpha1.ReasonConnectionNotReady, fmt.Sprintf("IntegrationConnection %q is not ready: %s", name, ready.Message)), true
	case row != nil && row.Outcome == schema.OutcomeApplied && !s.beforeConnection():
		return condition.Pass(v1alpha1.ReasonConnectionReady, fmt.Sprintf("IntegrationConnection %q is ready", name)), true
	case !s.connectionView.Database.Ready() || row == nil && s.wasReady():
		return condition.Verdict{}, false
	}
	return condition.Wait(v1alpha1.ReasonConnectionNotReady, fmt.Sprintf("IntegrationConnection %q is not in the database yet", name)), true
}

// beforeConnection says that the subscription's row was tried before its connection had one; it is tried again.
func (s *scope) beforeConnection() bool {
	return s.view.Row != nil && s.view.Row.Outcome == schema.OutcomeConnectionMissing
}

// wasReady says that the connection was ready before: the operator has just started, or its row is being written anew.
func (s *scope) wasReady() bool {
	return condition.Find(s.sub.Status.Conditions, v1alpha1.ConditionConnectionReady).Status == metav1.ConditionTrue
}

// sinkReady judges the plan for the table; false while nobody has looked.
func (s *scope) sinkReady() (condition.Verdict, bool) {
	plan := s.view.Sink
	switch {
	case plan == nil:
		return condition.Verdict{}, false
	case plan.Failed != "":
		return condition.Wait(v1alpha1.ReasonSinkUnusable, "the table cannot be looked at: "+plan.Failed), true
	case len(plan.Problems) > 0:
		return s.sinkProblems(), true
	case len(plan.Statements) > 0:
		return condition.Pass(v1alpha1.ReasonSinkReady, fmt.Sprintf("the next run makes table %s fit", s.table())), true
	}
	return condition.Pass(v1alpha1.ReasonSinkReady, fmt.Sprintf("table %s fits the mapping", s.table())), true
}

func (s *scope) table() string { return s.sub.Spec.Sink.Schema + "." + s.sub.Spec.Sink.Table }

// sinkProblems says what does not fit; the reason is the most telling one.
func (s *scope) sinkProblems() condition.Verdict {
	reason := v1alpha1.ReasonSinkUnusable
	messages := make([]string, 0, len(s.view.Sink.Problems))
	for _, p := range s.view.Sink.Problems {
		if p.Wanted != "" {
			reason = v1alpha1.ReasonColumnMismatch
		}
		messages = append(messages, p.Message)
	}
	text := strings.Join(messages, "; ")
	if s.view.Sink.TableMissing {
		return condition.Wait(v1alpha1.ReasonTableMissing, text)
	}
	return condition.Stall(reason, text)
}
