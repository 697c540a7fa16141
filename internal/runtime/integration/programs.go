package integration

import (
	"sync"

	"github.com/google/uuid"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// maxPrograms is how many subscriptions' programs are kept; past it all are forgotten, which costs a compilation each.
const maxPrograms = 1000

// programs keeps the compiled expressions of subscriptions, because a run that finds nothing new takes less time than
// compiling them. The zero value is ready.
type programs struct {
	mu   sync.Mutex
	kept map[uuid.UUID]compiled
}

type compiled struct {
	document string
	program  *mapping.Program
}

// get gives the program of a subscription whose stored document is given, compiling it when that is new.
func (p *programs) get(id uuid.UUID, document []byte, sub spec.Subscription) (*mapping.Program, []mapping.Problem) {
	if kept, ok := p.find(id); ok && kept.document == string(document) {
		return kept.program, nil
	}
	program, problems := mapping.Compile(sub)
	if len(problems) > 0 {
		return nil, problems
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept == nil || len(p.kept) >= maxPrograms {
		p.kept = map[uuid.UUID]compiled{}
	}
	p.kept[id] = compiled{document: string(document), program: program}
	return program, nil
}

func (p *programs) find(id uuid.UUID) (compiled, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.kept[id]
	return c, ok
}
