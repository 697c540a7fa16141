package condition_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/syncline-dev/syncline/internal/controller/condition"
)

var (
	then = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	now  = then.Add(time.Hour)
)

// summary is Ready, Reconciling and Stalled as "status reason".
func summary(list []metav1.Condition) [3]string {
	var s [3]string
	for i, t := range []string{"Ready", "Reconciling", "Stalled"} {
		c := condition.Find(list, t)
		s[i] = string(c.Status) + " " + c.Reason
	}
	return s
}

func TestSummaryIsTheWorstVerdict(t *testing.T) {
	cases := map[string]struct {
		a, b condition.Verdict
		want [3]string
	}{
		"all hold": {
			condition.Pass("Fine", ""), condition.Pass("Fine", ""),
			[3]string{"True Succeeded", "False Succeeded", "False NotStalled"},
		},
		"what the spec wants is no fault": {
			condition.Note("Held", "on purpose"), condition.Open("NoRunYet", "none"),
			[3]string{"True Succeeded", "False Succeeded", "False NotStalled"},
		},
		"unknown is not ready": {
			condition.Pass("Fine", ""), condition.Unknown("Pending", "not yet"),
			[3]string{"Unknown Pending", "True Progressing", "False NotStalled"},
		},
		"waiting beats unknown": {
			condition.Unknown("Pending", "not yet"), condition.Wait("SecretMissing", "no secret"),
			[3]string{"False SecretMissing", "True Waiting", "False NotStalled"},
		},
		"a failure is neither waiting nor stalled": {
			condition.Fail("RunsFailing", "three"), condition.Pass("Fine", ""),
			[3]string{"False RunsFailing", "False Succeeded", "False NotStalled"},
		},
		"stalled beats everything": {
			condition.Wait("SecretMissing", "no secret"), condition.Stall("CompileFailed", "line 1"),
			[3]string{"False CompileFailed", "False Succeeded", "True CompileFailed"},
		},
		"of two alike the first is to blame": {
			condition.Wait("PoolMissing", "no pool"), condition.Wait("ConnectionMissing", "no connection"),
			[3]string{"False PoolMissing", "True Waiting", "False NotStalled"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			set := condition.New(nil, 3, now, "A", "B")
			set.Put("A", c.a)
			set.Put("B", c.b)
			if diff := cmp.Diff(c.want, summary(set.List())); diff != "" {
				t.Errorf("Ready, Reconciling, Stalled (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryConditionIsThereFromTheFirstReconcile(t *testing.T) {
	var types []string
	for _, c := range condition.New(nil, 1, now, "A", "B").List() {
		types = append(types, c.Type)
		if c.ObservedGeneration != 1 || c.LastTransitionTime.IsZero() || c.Reason == "" {
			t.Errorf("incomplete condition %+v", c)
		}
	}
	if diff := cmp.Diff([]string{"Ready", "Reconciling", "Stalled", "A", "B"}, types); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
}

func TestWhatIsNotJudgedStays(t *testing.T) {
	before := condition.New(nil, 1, then, "A", "B")
	before.Put("A", condition.Pass("Fine", "as it was"))
	before.Put("B", condition.Wait("SecretMissing", "no secret"))
	after := condition.New(before.List(), 2, now, "A", "B").List()
	a := condition.Find(after, "A")
	if a.Status != "True" || a.Message != "as it was" || a.ObservedGeneration != 1 {
		t.Errorf("a condition that nobody judged became %+v", a)
	}
	if got := condition.Find(after, "Ready"); got.Status != "False" || got.Reason != "SecretMissing" {
		t.Errorf("Ready became %+v although what kept it from being True was not looked at", got)
	}
}

func TestTransitionTimeMovesOnlyWithTheStatus(t *testing.T) {
	before := condition.New(nil, 1, then, "A")
	before.Put("A", condition.Wait("SecretMissing", "no secret"))
	after := condition.New(before.List(), 2, now, "A")
	after.Put("A", condition.Wait("SecretKeyMissing", "no key"))
	c := condition.Find(after.List(), "A")
	if !c.LastTransitionTime.Time.Equal(then) || c.Reason != "SecretKeyMissing" || c.ObservedGeneration != 2 {
		t.Errorf("%+v: the transition time must stay, reason and generation must not", c)
	}
	later := condition.New(after.List(), 3, now.Add(time.Hour), "A")
	later.Put("A", condition.Pass("Fine", ""))
	if c := condition.Find(later.List(), "A"); !c.LastTransitionTime.Time.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v: the transition time must move with the status", c)
	}
}
