package subscription

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/condition/conditiontest"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/sink"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// makeScope is a subscription that does well.
func makeScope(change ...func(*scope)) *scope {
	reachable := database.View{Known: true, Reachable: true, SchemaCurrent: true, Identity: "i"}
	applied := &schema.Written{Outcome: schema.OutcomeApplied, Generation: 1}
	ready := []metav1.Condition{{Type: "Ready", Status: "True"}}
	s := &scope{
		sub:        &v1alpha1.IntegrationSubscription{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Spec: *fullSpec()},
		name:       types.NamespacedName{Namespace: "team", Name: "contacts"},
		pool:       &v1alpha1.JobPool{ObjectMeta: metav1.ObjectMeta{Name: "batch"}},
		connection: &v1alpha1.IntegrationConnection{ObjectMeta: metav1.ObjectMeta{Name: "crm"}, Status: v1alpha1.IntegrationConnectionStatus{Conditions: ready}},
		compiled:   compiled{document: []byte("{}"), verdict: condition.Pass(v1alpha1.ReasonCompiled, "")},
		bound:      true, home: homeHere,
		poolView:       database.PoolView{Database: reachable, Row: applied},
		connectionView: database.ConnectionView{Database: reachable, Row: applied},
		view: database.SubscriptionView{
			Database: reachable, Row: applied, Sink: &database.SinkView{},
			State: &schema.SubscriptionState{
				RunHandled: "now-1", NextRun: new(now.Add(time.Minute)), LastSuccess: new(now.Add(-time.Minute)),
				Cursor: json.RawMessage(`{"kind": "token", "value": "c7"}`), Quarantined: 2,
				LastRun: &schema.RunState{Run: 9, Attempt: 1, Action: "manual", Outcome: "noChanges", Found: 5, Unchanged: 5, Started: now, Finished: &now},
			},
		},
	}
	s.sub.Spec.Suspend = new(false)
	for _, c := range change {
		c(s)
	}
	return s
}

func failed(code, text string, times int) func(*scope) {
	return func(s *scope) {
		s.view.State.ConsecutiveFailures = times
		s.view.State.LastRun.Outcome, s.view.State.LastRun.ErrorCode, s.view.State.LastRun.Error = "failed", &code, &text
	}
}

func TestConditions(t *testing.T) {
	cases := map[string]struct {
		scope       *scope
		want, ready [2]string
		conditionOf string
	}{
		"well": {makeScope(), [2]string{"True", "RunsSucceeding"}, [2]string{"True", "Succeeded"}, "RunsSucceeding"},
		"no run yet is no fault": {
			makeScope(func(s *scope) { s.view.State.LastRun = nil }),
			[2]string{"Unknown", "NoRunYet"},
			[2]string{"True", "Succeeded"},
			"RunsSucceeding",
		},
		"suspended": {
			makeScope(func(s *scope) { s.sub.Spec.Suspend = new(true) }),
			[2]string{"True", "Suspended"},
			[2]string{"True", "Succeeded"},
			"RunsSucceeding",
		},
		"one bad run": {
			makeScope(failed("Transient", "502 at page 3", 1)),
			[2]string{"True", "RunFailed"},
			[2]string{"True", "Succeeded"},
			"RunsSucceeding",
		},
		"three bad runs": {
			makeScope(failed("Transient", "502 at page 3", 3)),
			[2]string{"False", "RunsFailing"},
			[2]string{"False", "RunsFailing"},
			"RunsSucceeding",
		},
		"too many bad records": {
			makeScope(failed("TooManyBadRecords", "40 of 100", 1)),
			[2]string{"False", "CursorStuck"},
			[2]string{"False", "CursorStuck"},
			"RunsSucceeding",
		},
		"does not compile": {makeScope(func(s *scope) {
			s.compiled = compiled{verdict: condition.Stall(v1alpha1.ReasonCompileFailed, "line 1")}
		}), [2]string{"False", "CompileFailed"}, [2]string{"False", "CompileFailed"}, "ExpressionsCompiled"},
		"no pool": {
			makeScope(func(s *scope) { s.pool, s.bound = nil, false }),
			[2]string{"False", "PoolMissing"},
			[2]string{"False", "PoolMissing"},
			"PoolReady",
		},
		"pool without database": {
			makeScope(func(s *scope) { s.bound = false }),
			[2]string{"False", "PoolNotReady"},
			[2]string{"False", "PoolNotReady"},
			"PoolReady",
		},
		"database away": {
			makeScope(func(s *scope) { s.poolView.Database.Reachable = false }),
			[2]string{"False", "PoolNotReady"},
			[2]string{"False", "PoolNotReady"},
			"PoolReady",
		},
		"pool's name taken": {
			makeScope(func(s *scope) { s.poolView.Row = &schema.Written{Outcome: schema.OutcomeTaken} }),
			[2]string{"False", "PoolNotReady"},
			[2]string{"False", "PoolNotReady"},
			"PoolReady",
		},
		"on another database": {
			makeScope(func(s *scope) { s.home = homeElsewhere }),
			[2]string{"False", "PoolOnOtherDatabase"},
			[2]string{"False", "PoolOnOtherDatabase"},
			"PoolReady",
		},
		"row newer": {
			makeScope(func(s *scope) { s.view.Row = &schema.Written{Outcome: schema.OutcomeStale} }),
			[2]string{"False", "NewerGeneration"},
			[2]string{"False", "NewerGeneration"},
			"PoolReady",
		},
		"row refused": {
			makeScope(func(s *scope) { s.view.Row = &schema.Written{Outcome: schema.OutcomeRejected} }),
			[2]string{"False", "PoolNotReady"},
			[2]string{"False", "PoolNotReady"},
			"PoolReady",
		},
		"row on its way": {
			makeScope(func(s *scope) { s.view.Row, s.view.State = nil, nil }),
			[2]string{"Unknown", "Pending"},
			[2]string{"Unknown", "Pending"},
			"PoolReady",
		},
		"a newer row on its way": {
			makeScope(func(s *scope) { s.view.Row = nil }),
			[2]string{"True", "PoolReady"},
			[2]string{"True", "Succeeded"},
			"PoolReady",
		},
		"row before that of its connection": {
			makeScope(func(s *scope) {
				s.view.Row, s.view.State = &schema.Written{Outcome: schema.OutcomeConnectionMissing}, nil
			}),
			[2]string{"False", "ConnectionNotReady"},
			[2]string{"False", "ConnectionNotReady"},
			"ConnectionReady",
		},
		"no connection": {
			makeScope(func(s *scope) { s.connection = nil }),
			[2]string{"False", "ConnectionMissing"},
			[2]string{"False", "ConnectionMissing"},
			"ConnectionReady",
		},
		"connection not ready": {
			makeScope(func(s *scope) { s.connection.Status.Conditions[0].Status = "False" }),
			[2]string{"False", "ConnectionNotReady"},
			[2]string{"False", "ConnectionNotReady"},
			"ConnectionReady",
		},
		"connection not published": {
			makeScope(func(s *scope) { s.connectionView.Row = nil }),
			[2]string{"False", "ConnectionNotReady"},
			[2]string{"False", "ConnectionNotReady"},
			"ConnectionReady",
		},
		"column of another type": {
			makeScope(func(s *scope) {
				s.view.Sink = &database.SinkView{Problems: []sink.Problem{{Wanted: "bigint", Found: "text", Message: "m"}}}
			}),
			[2]string{"False", "ColumnMismatch"},
			[2]string{"False", "ColumnMismatch"},
			"SinkReady",
		},
		"no table": {
			makeScope(func(s *scope) {
				s.view.Sink = &database.SinkView{TableMissing: true, Problems: []sink.Problem{{Message: "m"}}}
			}),
			[2]string{"False", "TableMissing"},
			[2]string{"False", "TableMissing"},
			"SinkReady",
		},
		"no right": {
			makeScope(func(s *scope) { s.view.Sink = &database.SinkView{Problems: []sink.Problem{{Message: "GRANT"}}} }),
			[2]string{"False", "SinkUnusable"},
			[2]string{"False", "SinkUnusable"},
			"SinkReady",
		},
		"table to be made": {
			makeScope(func(s *scope) { s.view.Sink = &database.SinkView{TableMissing: true, Statements: []string{"CREATE"}} }),
			[2]string{"True", "SinkReady"},
			[2]string{"True", "Succeeded"},
			"SinkReady",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			conditiontest.Expect(t, c.scope.conditions(now), c.conditionOf, c.want, c.ready)
		})
	}
}

func TestStatusShowsTheRow(t *testing.T) {
	st := makeScope().status(now)
	if st.LastHandledRunRequest != "now-1" || st.Cursor != "c7" || *st.Quarantined != 2 || !st.NextRunTime.Time.Equal(now.Add(time.Minute)) {
		t.Errorf("status %+v", st)
	}
	want := &v1alpha1.RunStatus{
		ID: 9, Attempt: 1, Outcome: v1alpha1.RunNoChanges, Action: v1alpha1.RunActionManual,
		StartTime: new(metav1.NewTime(now)), CompletionTime: new(metav1.NewTime(now)),
		Found: new(int64(5)), Created: new(int64(0)), Updated: new(int64(0)), Deleted: new(int64(0)), Resurrected: new(int64(0)),
		Unchanged: new(int64(5)), Stale: new(int64(0)), Filtered: new(int64(0)), Quarantined: new(int64(0)),
	}
	if diff := cmp.Diff(want, st.LastRun); diff != "" {
		t.Errorf("last run (-want +got):\n%s", diff)
	}
}

func TestRestartedOperatorKeepsWhatItDoesNotKnowYet(t *testing.T) {
	s := makeScope()
	s.sub.Status = s.status(now)
	s.pool.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDatabaseReachable, Status: "True"}}
	s.bound, s.home = false, homeUnknown
	s.poolView, s.connectionView, s.view = database.PoolView{}, database.ConnectionView{}, database.SubscriptionView{}
	if diff := cmp.Diff(s.sub.Status, s.status(now.Add(time.Hour))); diff != "" {
		t.Errorf("a restart of the operator shows in the status (-before +after):\n%s", diff)
	}
}

func TestStatusRemembersTheDatabaseOnceTheRowIsThere(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*scope)
		want   string
	}{
		"row read":                 {func(s *scope) { s.view.Row = nil }, "i"},
		"row written":              {func(s *scope) { s.view.State = nil }, "i"},
		"row neither":              {func(s *scope) { s.view.State, s.view.Row = nil, nil }, "before"},
		"row refused":              {func(s *scope) { s.view.State, s.view.Row = nil, &schema.Written{Outcome: schema.OutcomeRejected} }, "before"},
		"elsewhere":                {func(s *scope) { s.home = homeElsewhere }, "before"},
		"database not reached yet": {func(s *scope) { s.view.Database.Identity = "" }, "before"},
	} {
		t.Run(name, func(t *testing.T) {
			s := makeScope(tc.change)
			s.sub.Status.DatabaseID = "before"
			if got := s.status(now).DatabaseID; got != tc.want {
				t.Errorf("status.databaseID is %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRefusalStandsWhileTheOtherDatabaseIsAboutToBeRead(t *testing.T) {
	s := makeScope(func(s *scope) { s.home = homeElsewhere })
	s.sub.Status = s.status(now)
	s.home, s.view.Row = homeUndecided, nil
	if c := condition.Find(s.status(now).Conditions, v1alpha1.ConditionPoolReady); c.Reason != v1alpha1.ReasonPoolOnOtherDatabase {
		t.Errorf("condition is %+v, want the refusal to stand", c)
	}
}

func TestFailingRunUnderWayKeepsTheVerdict(t *testing.T) {
	s := makeScope(failed("Transient", "502", 3))
	s.sub.Status = s.status(now)
	s.view.State.LastRun.Outcome = "running"
	c := condition.Find(s.status(now).Conditions, v1alpha1.ConditionRunsSucceeding)
	if c.Status != "False" || !strings.Contains(c.Message, "502") {
		t.Errorf("while the next run is under way the condition is %+v, want the last verdict", c)
	}
}

func TestEventsAreAboutTransitions(t *testing.T) {
	well := makeScope().status(now)
	cases := map[string]struct {
		after *scope
		want  []string
	}{
		"nothing":          {makeScope(), nil},
		"a failed run":     {makeScope(failed("Transient", "502", 1)), []string{"RunFailed"}},
		"a stuck cursor":   {makeScope(failed("TooManyBadRecords", "40 of 100", 1)), []string{"RunFailed", "CursorStuck"}},
		"a handled wish":   {makeScope(func(s *scope) { s.view.State.RunHandled = "now-2" }), []string{"RunRequested"}},
		"more quarantined": {makeScope(func(s *scope) { s.view.State.Quarantined = 5 }), []string{"RecordsQuarantined"}},
		"less quarantined": {makeScope(func(s *scope) { s.view.State.Quarantined = 0 }), nil},
		"suspended":        {makeScope(func(s *scope) { s.sub.Spec.Suspend = new(true) }), []string{"Suspended"}},
		"pool gone":        {makeScope(func(s *scope) { s.pool = nil }), []string{"PoolMissing"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, e := range transitions(well, c.after.status(now)) {
				got = append(got, e.Reason)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("Events (-want +got):\n%s", diff)
			}
		})
	}
	failing := makeScope(failed("Transient", "502", 3)).status(now)
	if got := transitions(failing, well); len(got) != 1 || got[0].Reason != v1alpha1.EventRunsRecovered {
		t.Errorf("Events when runs recover: %v", got)
	}
	if got := transitions(failing, failing); got != nil {
		t.Errorf("runs go on failing, but Events %v", got)
	}
}
