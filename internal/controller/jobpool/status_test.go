package jobpool

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/condition/conditiontest"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

var now = time.Date(2026, 11, 24, 12, 2, 0, 0, time.UTC)

// makeScope is a pool that does well.
func makeScope(change ...func(*scope)) *scope {
	pool := makePool()
	s := &scope{
		pool: pool, tuning: Tuning(&pool.Spec), handlers: condition.Pass(v1alpha1.ReasonNoHandlers, "none"),
		view: database.PoolView{
			Database: database.View{Known: true, Reachable: true, SchemaCurrent: true, Identity: "i"},
			Row:      &schema.Written{Outcome: schema.OutcomeApplied, Generation: 7},
			State: &schema.PoolState{
				TuningGeneration: 7, Workers: 2, WorkersCurrent: 1, Depth: schema.Depth{Running: 3},
				OldestBeat: new(now.Add(-7 * time.Second)), LeasesRecovered: 4,
			},
		},
		deployment: &appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: 2, ReadyReplicas: 2, TerminatingReplicas: new(int32(1))}},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func TestConditions(t *testing.T) {
	cases := map[string]struct {
		scope *scope
		// want is a condition's type, status and reason; Ready is checked beside it.
		want, ready [2]string
		conditionOf string
	}{
		"well": {makeScope(), [2]string{"True", "LeasesRenewed"}, [2]string{"True", "Succeeded"}, "ClaimsHealthy"},
		"secret missing": {
			makeScope(func(s *scope) {
				s.unresolved = new(condition.Wait(v1alpha1.ReasonSecretMissing, "no secret"))
				s.view = database.PoolView{}
			}),
			[2]string{"False", "SecretMissing"},
			[2]string{"False", "SecretMissing"},
			"DatabaseReachable",
		},
		"unreachable": {
			makeScope(func(s *scope) { s.view.Database.Reachable, s.view.Database.Message = false, "refused" }),
			[2]string{"False", "DatabaseUnreachable"},
			[2]string{"False", "DatabaseUnreachable"},
			"DatabaseReachable",
		},
		"unknown is not unhealthy": {
			makeScope(func(s *scope) { s.view.Database.Reachable, s.view.Database.Message = false, "refused" }),
			[2]string{"Unknown", "DatabaseUnreachable"},
			[2]string{"False", "DatabaseUnreachable"},
			"ClaimsHealthy",
		},
		"no right to migrate": {
			makeScope(func(s *scope) {
				s.view.Database.SchemaCurrent, s.view.Database.SchemaReason = false, v1alpha1.ReasonMissingGrant
			}),
			[2]string{"False", "MissingGrant"},
			[2]string{"False", "MissingGrant"},
			"SchemaCurrent",
		},
		"a handler without its secret": {
			makeScope(func(s *scope) { s.handlers = condition.Wait(v1alpha1.ReasonSecretMissing, "no secret") }),
			[2]string{"False", "SecretMissing"},
			[2]string{"False", "SecretMissing"},
			"HandlersReady",
		},
		"handlers are not known without the database": {
			makeScope(func(s *scope) {
				s.unresolved = new(condition.Wait(v1alpha1.ReasonSecretMissing, "no secret"))
				s.view, s.handlers = database.PoolView{}, condition.Verdict{}
			}),
			[2]string{"Unknown", "SecretMissing"},
			[2]string{"False", "SecretMissing"},
			"HandlersReady",
		},
		"name taken": {
			makeScope(func(s *scope) {
				s.view.Row = &schema.Written{Outcome: schema.OutcomeTaken, Owner: schema.Owner{Namespace: "other"}}
			}),
			[2]string{"False", "NameTaken"},
			[2]string{"False", "NameTaken"},
			"ClaimsHealthy",
		},
		"row newer": {
			makeScope(func(s *scope) { s.view.Row = &schema.Written{Outcome: schema.OutcomeStale} }),
			[2]string{"False", "NewerGeneration"},
			[2]string{"False", "NewerGeneration"},
			"ClaimsHealthy",
		},
		"held on purpose": {
			makeScope(func(s *scope) { s.tuning.Hold = true }),
			[2]string{"False", "Held"},
			[2]string{"True", "Succeeded"},
			"ClaimsHealthy",
		},
		"stale leases are for the sweep": {
			makeScope(func(s *scope) { s.view.State.Depth.Stale = 1 }),
			[2]string{"False", "StaleLeases"},
			[2]string{"True", "Succeeded"},
			"ClaimsHealthy",
		},
		"runs that no worker knows": {
			makeScope(func(s *scope) {
				s.view.State.Depth.Unserved, s.view.State.UnservedTypes = 2, []string{"mail", "report"}
			}),
			[2]string{"False", "TypesUnserved"},
			[2]string{"True", "Succeeded"},
			"ClaimsHealthy",
		},
		"due runs, no worker": {
			makeScope(func(s *scope) {
				s.view.State.Workers, s.view.State.Depth.Pending, s.view.State.OldestPending = 0, 5, new(now.Add(-time.Minute))
			}),
			[2]string{"False", "NoWorkers"},
			[2]string{"False", "NoWorkers"},
			"ClaimsHealthy",
		},
		"due runs, workers on their way": {
			makeScope(func(s *scope) {
				s.view.State.Workers, s.view.State.Depth.Pending, s.view.State.OldestPending = 0, 5, new(now.Add(-time.Second))
			}),
			[2]string{"True", "LeasesRenewed"},
			[2]string{"True", "Succeeded"},
			"ClaimsHealthy",
		},
		"due runs, scaled to zero": {
			makeScope(func(s *scope) {
				s.pool.Spec.Replicas = new(int32(0))
				s.view.State.Workers, s.view.State.Depth.Pending, s.view.State.OldestPending = 0, 5, new(now.Add(-time.Minute))
			}),
			[2]string{"False", "NoWorkers"},
			[2]string{"True", "Succeeded"},
			"ClaimsHealthy",
		},
		"scaled to zero": {
			makeScope(func(s *scope) { s.pool.Spec.Replicas = new(int32(0)) }),
			[2]string{"True", "ScaledToZero"},
			[2]string{"True", "Succeeded"},
			"WorkersAvailable",
		},
		"one worker short": {
			makeScope(func(s *scope) { s.deployment.Status.ReadyReplicas = 1 }),
			[2]string{"False", "ReplicasUnready"},
			[2]string{"False", "ReplicasUnready"},
			"WorkersAvailable",
		},
		"template refused": {
			makeScope(func(s *scope) { s.refused = new(condition.Stall(v1alpha1.ReasonInvalidTemplate, "invalid")) }),
			[2]string{"False", "InvalidTemplate"},
			[2]string{"False", "InvalidTemplate"},
			"WorkersAvailable",
		},
		"somebody else's deployment": {
			makeScope(func(s *scope) { s.deployment, s.foreign = nil, true }),
			[2]string{"False", "NameTaken"},
			[2]string{"False", "NameTaken"},
			"WorkersAvailable",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			conditiontest.Expect(t, c.scope.conditions(now), c.conditionOf, c.want, c.ready)
		})
	}
}

func TestRestartedOperatorKeepsWhatItDoesNotKnowYet(t *testing.T) {
	s := makeScope()
	s.pool.Status = s.status(now)
	s.view = database.PoolView{} // the first attempt to connect has not ended
	later := s.status(now.Add(time.Hour))
	if diff := cmp.Diff(s.pool.Status, later); diff != "" {
		t.Errorf("a restart of the operator shows in the status (-before +after):\n%s", diff)
	}
}

func TestStatusIsStable(t *testing.T) {
	s := makeScope()
	first := s.status(now)
	s.pool.Status = *first.DeepCopy()
	s.view.State.OldestBeat = new(now.Add(20 * time.Second)) // another beat
	if diff := cmp.Diff(s.pool.Status, s.status(now.Add(27*time.Second))); diff != "" {
		t.Errorf("a beat alone changes the status (-before +after):\n%s", diff)
	}
	s.view.State.Depth.Running = 4
	if after := s.status(now.Add(time.Hour)); !after.Claims.ObservedTime.Time.Equal(now.Add(time.Hour)) || *after.Claims.RunningRuns != 4 {
		t.Errorf("changed counts: %+v, want them with the time they were seen", after.Claims)
	}
}

func TestTuningStatus(t *testing.T) {
	s := makeScope()
	got := s.tuningStatus(nil)
	want := &v1alpha1.TuningStatus{
		ObservedGeneration: new(int64(4)), Generation: new(int64(7)), WorkersCurrent: new(int32(1)), HeartbeatPeriodSeconds: 20,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tuning (-want +got):\n%s", diff)
	}
	s.view.State.TuningGeneration = 6
	if got := s.tuningStatus(nil); *got.WorkersCurrent != 0 {
		t.Errorf("a snapshot from before the change counts %d workers as current, want 0", *got.WorkersCurrent)
	}
	s.view.Row = nil
	if got := s.tuningStatus(want); got != want {
		t.Errorf("a tuning that is on its way changes the status to %+v, want it as it was", got)
	}
}

func TestWorkersExistOnlyWhereTheNameIsTheirs(t *testing.T) {
	cases := map[string]struct {
		scope    *scope
		admitted bool
		replicas int32
	}{
		"row written":                         {makeScope(func(s *scope) { s.deployment = nil }), true, 2},
		"row not written, no deployment":      {makeScope(func(s *scope) { s.deployment, s.view.Row = nil, nil }), false, 2},
		"database down, deployment stands":    {makeScope(func(s *scope) { s.view.Row = nil }), true, 2},
		"name taken, no deployment":           {makeScope(func(s *scope) { s.deployment, s.view.Row.Outcome = nil, schema.OutcomeTaken }), false, 0},
		"name taken under a deployment":       {makeScope(func(s *scope) { s.view.Row.Outcome = schema.OutcomeTaken }), true, 0},
		"deployment belongs to somebody else": {makeScope(func(s *scope) { s.deployment, s.foreign = nil, true }), false, 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.scope.admitted(); got != c.admitted {
				t.Errorf("admitted is %v, want %v", got, c.admitted)
			}
			if got := c.scope.replicas(); got != c.replicas {
				t.Errorf("replicas are %d, want %d", got, c.replicas)
			}
		})
	}
}

func TestEventsAreAboutTransitions(t *testing.T) {
	well := makeScope()
	well.pool.Status = well.status(now)
	down := makeScope(func(s *scope) { s.view.Database.Reachable, s.view.Database.Message = false, "refused" })
	reasons := func(s *scope, before v1alpha1.JobPoolStatus) []string {
		s.pool.Status = before
		var all []string
		for _, e := range transitions(s, s.status(now)) {
			all = append(all, e.Reason)
		}
		return all
	}
	if got := reasons(makeScope(), well.pool.Status); got != nil {
		t.Errorf("nothing changed, but Events %v", got)
	}
	if diff := cmp.Diff([]string{"DatabaseUnreachable"}, reasons(down, well.pool.Status)); diff != "" {
		t.Errorf("Events when the database goes (-want +got):\n%s", diff)
	}
	gone := down.status(now)
	if got := reasons(down, gone); got != nil {
		t.Errorf("the database stays away, but Events %v", got)
	}
	if diff := cmp.Diff([]string{"DatabaseRecovered"}, reasons(makeScope(), gone)); diff != "" {
		t.Errorf("Events when it is back (-want +got):\n%s", diff)
	}
	recovered := makeScope(func(s *scope) { s.view.State.LeasesRecovered = 6 })
	if diff := cmp.Diff([]string{"LeasesRecovered"}, reasons(recovered, well.pool.Status)); diff != "" {
		t.Errorf("Events when a sweep put runs back (-want +got):\n%s", diff)
	}
}

func TestUnreadySaysWhatTheDeploymentComplainsOf(t *testing.T) {
	d := &appsv1.Deployment{Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{
		{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"},
	}}}
	if got, want := unready(d, 2), "0 of 2 workers are ready: exceeded quota"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
