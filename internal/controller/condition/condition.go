// Package condition turns verdicts into the conditions of a status, the same way for every kind: a fixed order, all
// types present from the first reconcile on, the generation on each that was judged, a transition time that moves only
// with the status, and the summary (Ready) with the pair that kstatus reads (Reconciling, Stalled).
//
// It holds no rule about any kind: the controllers beside it judge, by pure functions that return a Verdict.
package condition

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/syncline-dev/syncline/api/v1alpha1"
)

// consequence is what a verdict means for the summary.
type consequence int

const (
	none       consequence = iota // Ready is not affected
	progresses                    // not ready yet, and nothing is missing
	waits                         // not ready until something appears that may appear by itself
	fails                         // not ready; neither waiting nor a changed spec is known to help
	stalls                        // not ready until the user changes something
)

// Verdict is the state of one condition, with what it means for Ready.
type Verdict struct {
	Status          metav1.ConditionStatus
	Reason, Message string
	consequence     consequence
}

// Pass is a condition that holds.
func Pass(reason, message string) Verdict {
	return Verdict{metav1.ConditionTrue, reason, message, none}
}

// Note is a condition that does not hold, as the spec wants it: Ready is not affected.
func Note(reason, message string) Verdict {
	return Verdict{metav1.ConditionFalse, reason, message, none}
}

// Unknown is a condition that could not be observed yet. Ready is not True meanwhile.
func Unknown(reason, message string) Verdict {
	return Verdict{metav1.ConditionUnknown, reason, message, progresses}
}

// Open is a condition that cannot be observed yet, which is no shortcoming: Ready is not affected.
func Open(reason, message string) Verdict {
	return Verdict{metav1.ConditionUnknown, reason, message, none}
}

// Wait is a condition that does not hold because something is missing that may appear by itself.
func Wait(reason, message string) Verdict {
	return Verdict{metav1.ConditionFalse, reason, message, waits}
}

// Fail is a condition that does not hold although nothing is missing.
func Fail(reason, message string) Verdict {
	return Verdict{metav1.ConditionFalse, reason, message, fails}
}

// Stall is a condition that does not hold until the user changes something.
func Stall(reason, message string) Verdict {
	return Verdict{metav1.ConditionFalse, reason, message, stalls}
}

// Holds says whether the condition is True.
func (v Verdict) Holds() bool { return v.Status == metav1.ConditionTrue }

// Stalls says whether only a change by the user helps.
func (v Verdict) Stalls() bool { return v.consequence == stalls }

// maxMessage is what the API server accepts for a condition's message, in bytes to be on the safe side.
const maxMessage = 32768

// Set is the conditions of one status while it is put together.
type Set struct {
	order      []string
	generation int64
	now        metav1.Time
	before     []metav1.Condition
	verdicts   map[string]Verdict
}

// New begins with the conditions that stand in the status; order lists the types of the kind's own conditions, the most
// telling first.
func New(before []metav1.Condition, generation int64, now time.Time, order ...string) *Set {
	return &Set{order: order, generation: generation, now: metav1.NewTime(now), before: before, verdicts: make(map[string]Verdict)}
}

// Put judges one condition. One that is not judged stays as it was, Unknown when it never was.
func (s *Set) Put(conditionType string, v Verdict) { s.verdicts[conditionType] = v }

// List gives the conditions with their summary: Ready, Reconciling and Stalled, then the kind's own.
func (s *Set) List() []metav1.Condition {
	var own []metav1.Condition
	worst := Pass(v1alpha1.ReasonSucceeded, "")
	for _, t := range s.order {
		c := s.own(t)
		own = append(own, c)
		if v := s.effect(t, c); v.consequence > worst.consequence {
			worst = v
		}
	}
	return append(s.summary(worst), own...)
}

// own is one of the kind's conditions: as judged, or as it was.
func (s *Set) own(t string) metav1.Condition {
	if v, ok := s.verdicts[t]; ok {
		return s.condition(t, v)
	}
	if i := s.find(t); i >= 0 {
		return s.before[i]
	}
	return s.condition(t, Unknown(v1alpha1.ReasonPending, "not observed yet"))
}

// effect is what a condition means for the summary; one that was not judged means what it meant before.
func (s *Set) effect(t string, c metav1.Condition) Verdict {
	if v, ok := s.verdicts[t]; ok {
		return v
	}
	switch c.Status {
	case metav1.ConditionTrue:
		return Pass(c.Reason, c.Message)
	case metav1.ConditionFalse:
		return Wait(c.Reason, c.Message)
	}
	return Unknown(c.Reason, c.Message)
}

func (s *Set) summary(worst Verdict) []metav1.Condition {
	ready := worst
	if worst.consequence == none {
		ready = Pass(v1alpha1.ReasonSucceeded, "the resource does what its spec says")
	}
	reconciling := Note(v1alpha1.ReasonSucceeded, "")
	stalled := Note(v1alpha1.ReasonNotStalled, "")
	switch worst.consequence {
	case progresses:
		reconciling = Pass(v1alpha1.ReasonProgressing, worst.Message)
	case waits:
		reconciling = Pass(v1alpha1.ReasonWaiting, worst.Message)
	case stalls:
		stalled = Pass(worst.Reason, worst.Message)
	}
	return []metav1.Condition{
		s.condition(v1alpha1.ConditionReady, ready),
		s.condition(v1alpha1.ConditionReconciling, reconciling),
		s.condition(v1alpha1.ConditionStalled, stalled),
	}
}

// condition stamps a verdict; the transition time is kept while the status is.
func (s *Set) condition(t string, v Verdict) metav1.Condition {
	c := metav1.Condition{
		Type: t, Status: v.Status, Reason: v.Reason, Message: Cut(v.Message, maxMessage),
		ObservedGeneration: s.generation, LastTransitionTime: s.now,
	}
	if i := s.find(t); i >= 0 && s.before[i].Status == v.Status {
		c.LastTransitionTime = s.before[i].LastTransitionTime
	}
	return c
}

func (s *Set) find(t string) int {
	return slices.IndexFunc(s.before, func(c metav1.Condition) bool { return c.Type == t })
}

// Find gives a condition of a list, the zero condition when it is not there.
func Find(list []metav1.Condition, conditionType string) metav1.Condition {
	for _, c := range list {
		if c.Type == conditionType {
			return c
		}
	}
	return metav1.Condition{}
}

// Became says whether a condition has just got this status.
func Became(before, after []metav1.Condition, conditionType string, status metav1.ConditionStatus) bool {
	return Find(after, conditionType).Status == status && Find(before, conditionType).Status != status
}

// BecameFor says whether a condition has just got this status for this reason.
func BecameFor(before, after []metav1.Condition, conditionType string, status metav1.ConditionStatus, reason string) bool {
	was, is := Find(before, conditionType), Find(after, conditionType)
	return is.Status == status && is.Reason == reason && (was.Status != status || was.Reason != reason)
}
