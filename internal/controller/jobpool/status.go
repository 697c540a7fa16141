package jobpool

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

const (
	// claimGrace is how long due runs may wait for a first worker before that is a fault.
	claimGrace = 30 * time.Second
	// beatRounding is how coarse the oldest beat is shown while all workers beat in time.
	beatRounding = 5 * time.Minute
)

// conditionOrder is the order of a JobPool's own conditions: what is to blame first.
var conditionOrder = []string{
	v1alpha1.ConditionDatabaseReachable, v1alpha1.ConditionSchemaCurrent, v1alpha1.ConditionHandlersReady,
	v1alpha1.ConditionWorkersAvailable, v1alpha1.ConditionClaimsHealthy,
}

// status is the pool's status as the scope has it, at the given time.
func (s *scope) status(now time.Time) v1alpha1.JobPoolStatus {
	before := s.pool.Status
	st := v1alpha1.JobPoolStatus{
		ObservedGeneration: &s.pool.Generation,
		Selector:           Selector(s.pool),
		DesiredReplicas:    new(s.replicas()),
		Replicas:           new(int32(0)),
		ReadyReplicas:      new(int32(0)),
		DrainingReplicas:   new(int32(0)),
	}
	if d := s.deployment; d != nil {
		st.Replicas, st.ReadyReplicas = &d.Status.Replicas, &d.Status.ReadyReplicas
		if d.Status.TerminatingReplicas != nil {
			st.DrainingReplicas = d.Status.TerminatingReplicas
		}
	}
	st.Tuning = s.tuningStatus(before.Tuning)
	st.Claims = s.claims(before.Claims, now)
	st.Conditions = s.conditions(now)
	return st
}

// tuningStatus tells how far the tuning has got; what is not known now stays as it was.
func (s *scope) tuningStatus(before *v1alpha1.TuningStatus) *v1alpha1.TuningStatus {
	row, state := s.view.Row, s.view.State
	if row == nil || row.Outcome != schema.OutcomeApplied || state == nil {
		return before
	}
	t := &v1alpha1.TuningStatus{
		ObservedGeneration:     &s.pool.Generation,
		Generation:             &row.Generation,
		WorkersCurrent:         new(int32(0)),
		HeartbeatPeriodSeconds: int32(s.tuning.HeartbeatMillis / 1000),
	}
	// The snapshot may be older than the row: then nobody is known to run the new tuning yet.
	if state.TuningGeneration == row.Generation {
		t.WorkersCurrent = new(int32(state.WorkersCurrent))
	}
	return t
}

// claims is the health of runs and leases; the time of observation moves only when something else does.
func (s *scope) claims(before *v1alpha1.ClaimsStatus, now time.Time) *v1alpha1.ClaimsStatus {
	state := s.view.State
	if state == nil || s.taken() || !s.view.Database.Ready() {
		return before
	}
	c := &v1alpha1.ClaimsStatus{
		PendingRuns:         &state.Depth.Pending,
		ScheduledRuns:       &state.Depth.Scheduled,
		BlockedRuns:         &state.Depth.Blocked,
		RunningRuns:         &state.Depth.Running,
		StaleRuns:           &state.Depth.Stale,
		UnservedRuns:        &state.Depth.Unserved,
		UnservedTypes:       state.UnservedTypes,
		Workers:             new(int32(state.Workers)),
		OldestPendingTime:   instant(state.OldestPending),
		OldestHeartbeatTime: instant(shownBeat(state)),
		LeasesRecovered:     &state.LeasesRecovered,
		FencedWrites:        &state.FencedWrites,
		CompletedPerMinute:  s.view.CompletedPerMinute,
	}
	if before != nil {
		c.ObservedTime = before.ObservedTime
	}
	if before == nil || !equality.Semantic.DeepEqual(before, c) {
		c.ObservedTime = instant(&now)
	}
	return c
}

// shownBeat is the oldest beat, coarse while it is of no interest.
func shownBeat(state *schema.PoolState) *time.Time {
	if state.OldestBeat == nil || state.Late {
		return state.OldestBeat
	}
	return new(state.OldestBeat.Truncate(beatRounding))
}

// instant is a time as the API keeps it, in whole seconds.
func instant(t *time.Time) *metav1.Time {
	if t == nil {
		return nil
	}
	return new(metav1.NewTime(t.Truncate(time.Second)))
}

// conditions judges the pool. What is not known because the process has just started stays as it was.
func (s *scope) conditions(now time.Time) []metav1.Condition {
	set := condition.New(s.pool.Status.Conditions, s.pool.Generation, now, conditionOrder...)
	if s.unresolved != nil {
		set.Put(v1alpha1.ConditionDatabaseReachable, *s.unresolved)
		set.Put(v1alpha1.ConditionSchemaCurrent, condition.Unknown(s.unresolved.Reason, "the database is not known"))
		set.Put(v1alpha1.ConditionHandlersReady, condition.Unknown(s.unresolved.Reason, "the database is not known"))
		set.Put(v1alpha1.ConditionClaimsHealthy, condition.Unknown(s.unresolved.Reason, "the database is not known"))
	} else if s.view.Database.Known {
		set.Put(v1alpha1.ConditionDatabaseReachable, s.reachable())
		set.Put(v1alpha1.ConditionSchemaCurrent, s.schemaCurrent())
		if v, ok := s.claimsHealthy(now); ok {
			set.Put(v1alpha1.ConditionClaimsHealthy, v)
		}
	}
	if s.unresolved == nil {
		set.Put(v1alpha1.ConditionHandlersReady, s.handlers)
	}
	set.Put(v1alpha1.ConditionWorkersAvailable, s.workersAvailable())
	return set.List()
}

func (s *scope) reachable() condition.Verdict {
	if !s.view.Database.Reachable {
		return condition.Wait(v1alpha1.ReasonDatabaseUnreachable, s.view.Database.Message)
	}
	return condition.Pass(v1alpha1.ReasonDatabaseReachable, "the database answers")
}

func (s *scope) schemaCurrent() condition.Verdict {
	db := s.view.Database
	switch {
	case !db.Reachable:
		return condition.Unknown(v1alpha1.ReasonDatabaseUnreachable, "the database cannot be asked")
	case !db.SchemaCurrent:
		return condition.Wait(db.SchemaReason, db.SchemaMessage)
	}
	return condition.Pass(v1alpha1.ReasonSchemaCurrent, fmt.Sprintf("schema %q is at version %d", s.pool.Spec.Database.Schema, schema.Current))
}

// workersAvailable judges the Deployment.
func (s *scope) workersAvailable() condition.Verdict {
	d, want := s.deployment, s.replicas()
	switch {
	case s.foreign:
		return condition.Stall(v1alpha1.ReasonNameTaken, fmt.Sprintf(
			"a deployment %q that does not belong to this pool exists already: remove it, or give the pool another name", WorkloadName(s.pool)))
	case s.refused != nil:
		return *s.refused
	case d == nil && s.taken():
		return condition.Wait(v1alpha1.ReasonDeploymentMissing, "no workers are made while the pool's name belongs to another pool")
	case d == nil:
		return condition.Wait(v1alpha1.ReasonDeploymentMissing, "the deployment is made as soon as the pool has its row in the database")
	case want == 0:
		return condition.Pass(v1alpha1.ReasonScaledToZero, "no workers were asked for")
	case d.Status.ObservedGeneration < d.Generation || d.Status.ReadyReplicas < want:
		return condition.Wait(v1alpha1.ReasonReplicasUnready, unready(d, want))
	}
	return condition.Pass(v1alpha1.ReasonReplicasReady, fmt.Sprintf("%d of %d workers are ready", d.Status.ReadyReplicas, want))
}

// unready counts, and says what the Deployment complains of.
func unready(d *appsv1.Deployment, want int32) string {
	text := fmt.Sprintf("%d of %d workers are ready", min(d.Status.ReadyReplicas, want), want)
	for _, c := range d.Status.Conditions {
		broken := c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue ||
			c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse
		if broken {
			return text + ": " + c.Message
		}
	}
	return text
}

// claimsHealthy judges the row, the runs and the leases; false when the newest row is not written or read yet.
func (s *scope) claimsHealthy(now time.Time) (condition.Verdict, bool) {
	row, state := s.view.Row, s.view.State
	switch {
	case !s.view.Database.Ready():
		return condition.Unknown(v1alpha1.ReasonDatabaseUnreachable, "the database cannot be asked"), true
	case row == nil:
		return condition.Verdict{}, false
	case row.Outcome != schema.OutcomeApplied:
		return s.notWritten(), true
	case state == nil:
		return condition.Verdict{}, false
	}
	return s.health(state, now), true
}

// notWritten says why the pool's row is not as the spec wants it.
func (s *scope) notWritten() condition.Verdict {
	row, name := s.view.Row, PoolName(s.pool)
	switch row.Outcome {
	case schema.OutcomeTaken:
		return condition.Stall(v1alpha1.ReasonNameTaken, fmt.Sprintf(
			"the pool %q in this database belongs to the JobPool %q in namespace %q of cluster %s: create this "+
				"one anew with another spec.poolName, or delete that one (when its cluster is gone, clear the owner "+
				"columns of its row)",
			name, row.Owner.Name, row.Owner.Namespace, row.Owner.Cluster))
	case schema.OutcomeStale:
		return condition.Stall(v1alpha1.ReasonNewerGeneration, fmt.Sprintf(
			"the pool's row was written from generation %d, this resource is at %d: change the spec until its "+
				"generation is higher, or create the resource anew", row.Owner.Generation, s.pool.Generation))
	}
	return condition.Stall(v1alpha1.ReasonPending, "the database refuses the pool's row: "+row.Message)
}

func (s *scope) health(state *schema.PoolState, now time.Time) condition.Verdict {
	switch d := state.Depth; {
	case d.Stale > 0:
		return condition.Note(v1alpha1.ReasonStaleLeases, "runs are held by workers whose lease has ended: they are put back by the next sweep; look for "+
			"workers that hang or cannot reach the database")
	case s.tuning.Hold:
		return condition.Note(v1alpha1.ReasonHeld, fmt.Sprintf("spec.stopPolicy is %s: no run is claimed", s.pool.Spec.StopPolicy))
	case d.Pending > 0 && state.Workers == 0 && s.replicas() == 0:
		return condition.Note(v1alpha1.ReasonNoWorkers, "runs are due, but the pool has no workers: raise spec.replicas")
	case s.waitedFor(now) >= claimGrace:
		return condition.Fail(v1alpha1.ReasonNoWorkers, "runs are due, but no worker has a lease: look at the pods and at the condition WorkersAvailable")
	}
	if state.Workers > 0 && state.Depth.Unserved > 0 {
		return condition.Note(v1alpha1.ReasonTypesUnserved, fmt.Sprintf("runs are due whose job type no worker of the pool serves (%s): "+
			"roll out workers that do, or cancel the runs", strings.Join(state.UnservedTypes, ", ")))
	}
	return condition.Pass(v1alpha1.ReasonLeasesRenewed, "workers beat in time and due runs are claimed")
}

// waitedFor is how long due runs have waited without any worker.
func (s *scope) waitedFor(now time.Time) time.Duration {
	state := s.view.State
	if state == nil || state.Workers > 0 || state.Depth.Pending == 0 || state.OldestPending == nil {
		return 0
	}
	return now.Sub(*state.OldestPending)
}

// sealingRetry is how soon a pool looks again for the sealing key: what a database says before it has been read reaches
// only those that have a row there.
const sealingRetry = 2 * time.Second

// recheck is when the verdict changes although nothing else does, 0 when it does not.
func (s *scope) recheck(now time.Time) time.Duration {
	switch s.handlers.Reason {
	case v1alpha1.ReasonPending, v1alpha1.ReasonProgressing, v1alpha1.ReasonSealingKeyLost:
		return sealingRetry
	}
	if waited := s.waitedFor(now); waited > 0 && waited < claimGrace {
		return claimGrace - waited + time.Second
	}
	return 0
}
