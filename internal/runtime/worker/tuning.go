package worker

import (
	"sync"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// tuning is the pool's tuning that is in force in this process, and tells everybody when it changes.
type tuning struct {
	mu         sync.Mutex
	pool       spec.Pool
	generation int64
	changed    chan struct{}
}

func newTuning(pool spec.Pool, generation int64) *tuning {
	return &tuning{pool: pool, generation: generation, changed: make(chan struct{})}
}

// get is the tuning, and a channel that is closed when it has changed.
func (t *tuning) get() (spec.Pool, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pool, t.changed
}

// current is the tuning and its generation.
func (t *tuning) current() (spec.Pool, int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pool, t.generation
}

// set puts another tuning in force.
func (t *tuning) set(pool spec.Pool, generation int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pool, t.generation = pool, generation
	close(t.changed)
	t.changed = make(chan struct{})
}

// signal wakes one loop: any number of calls before the loop looks count as one.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
