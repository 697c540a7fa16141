package subscription

import (
	"encoding/json"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/schedule"
	"github.com/syncline-dev/syncline/internal/runtime/source/http/request"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// compiled is a spec, checked: the document for the row, or the verdict that says what is wrong with it.
type compiled struct {
	generation int64
	document   json.RawMessage
	verdict    condition.Verdict
}

// compilations keeps the newest compilation of each subscription. Compiling takes about a millisecond an expression, and
// a reconcile has to do with everything but the spec most of the time.
type compilations struct {
	mu    sync.Mutex
	byUID map[types.UID]compiled
}

// of compiles a subscription's spec, unless that was done for this generation.
func (c *compilations) of(sub *v1alpha1.IntegrationSubscription) (compiled, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done, ok := c.byUID[sub.UID]; ok && done.generation == sub.Generation {
		return done, nil
	}
	done, err := compile(sub)
	if err != nil {
		return compiled{}, err
	}
	if c.byUID == nil {
		c.byUID = make(map[types.UID]compiled)
	}
	c.byUID[sub.UID] = done
	return done, nil
}

// forget drops a deleted subscription's compilation.
func (c *compilations) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byUID, uid)
}

// compile checks a spec as a worker would read it.
func compile(sub *v1alpha1.IntegrationSubscription) (compiled, error) {
	doc := Translate(&sub.Spec)
	c := compiled{generation: sub.Generation}
	_, problems := mapping.Compile(doc)
	if doc.Source.HTTP != nil {
		_, more := request.Compile(*doc.Source.HTTP)
		problems = append(problems, more...)
	}
	if len(problems) > 0 {
		c.verdict = condition.Stall(v1alpha1.ReasonCompileFailed, list(problems))
		return c, nil
	}
	if problem := scheduleProblem(doc.Schedule); problem != "" {
		c.verdict = condition.Stall(v1alpha1.ReasonInvalidSchedule, problem)
		return c, nil
	}
	text, err := document(doc)
	if err != nil {
		return compiled{}, err
	}
	c.document = text
	c.verdict = condition.Pass(v1alpha1.ReasonCompiled, "every expression compiles")
	return c, nil
}

// scheduleProblem says why a schedule never fires, empty when it does or there is none.
func scheduleProblem(s *spec.Schedule) string {
	if s == nil {
		return ""
	}
	if err := schedule.Validate(*s); err != nil {
		return "spec.schedule: " + err.Error()
	}
	return ""
}

// list gives all problems, each with the path in the resource.
func list(problems []mapping.Problem) string {
	texts := make([]string, len(problems))
	for i, p := range problems {
		texts[i] = "spec." + p.String()
	}
	return strings.Join(texts, "; ")
}
