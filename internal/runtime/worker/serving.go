package worker

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// serving is the set of job types that this process executes now: those that it was built with, and those that its pool
// declares. The heart changes it with the tuning, the claimer shows it to the database, everybody reads it.
type serving struct {
	own      map[string]Registration
	declared func(spec.Pool) map[string]Registration
	log      *slog.Logger

	mu    sync.Mutex
	types map[string]Registration
	names []string // sorted; replaced, never changed
}

func newServing(cfg Config) *serving {
	return &serving{
		own: cfg.Types, declared: cfg.Declared, log: cfg.Log, types: cfg.Types, names: sortedNames(cfg.Types),
	}
}

// tune takes over what a pool declares. A type that the process was built with stays as it is.
func (s *serving) tune(ctx context.Context, pool spec.Pool) {
	if s.declared == nil {
		return
	}
	types := s.declared(pool)
	for name := range s.own {
		if _, both := types[name]; both {
			s.log.WarnContext(ctx, "the pool declares a job type that this process serves itself: the declaration is not used",
				slog.String("type", name))
		}
	}
	maps.Copy(types, s.own)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.types, s.names = types, sortedNames(types)
}

// sortedNames is never nil: in the database that would be no list instead of an empty one.
func sortedNames(types map[string]Registration) []string {
	return append([]string{}, slices.Sorted(maps.Keys(types))...)
}

// get is how a type is executed; false when it is not served any more.
func (s *serving) get(name string) (Registration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.types[name]
	return r, ok
}

// list names the types, in order.
func (s *serving) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names
}
