package worker

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// declares has a worker serve what its pool declares, by one handler, and nothing else.
func declares(handler jobs.HandlerFunc) func(*Config) {
	return func(c *Config) {
		c.Types = nil
		c.Declared = func(p spec.Pool) map[string]Registration {
			types := map[string]Registration{}
			for _, h := range p.Handlers {
				types[h.Type] = Registration{Handler: handler}
			}
			return types
		}
	}
}

func declare(types ...string) func(*spec.Pool) {
	return func(p *spec.Pool) {
		p.Handlers = nil
		for _, name := range types {
			p.Handlers = append(p.Handlers, spec.Handler{Type: name})
		}
	}
}

func TestDeclaredTypesAreServedAndGivenUpWhileRunning(t *testing.T) {
	h := &blocking{}
	q := newFakeQueue(t, 30)
	inBubble(t, q, h.handle, func(b *bubble) {
		b.at(time.Second)
		b.wantStatuses(map[string]int{"pending": 30})
		b.q.hook(b.q.before, "serve", func(context.Context) error { return errCut })
		b.q.tune(declare("test"))
		b.w.heart.poke.set() // what a notification does
		b.at(time.Second + time.Millisecond)
		b.wantStatuses(map[string]int{"pending": 20, "running": 10})
		b.q.hook(b.q.before, "serve", nil)
		b.at(5 * time.Second)
		served := b.q.count("serve")
		b.at(10 * time.Second)
		if n := b.q.count("serve"); served < 2 || n != served {
			b.Errorf("the worker's row was written %d times after a failure and %d more later, want again until it is, then no more", served, n-served)
		}
		b.q.tune(func(p *spec.Pool) { declare("other")(p); p.Concurrency = 30 })
		b.w.heart.poke.set()
		b.at(15 * time.Second)
		b.wantStatuses(map[string]int{"pending": 20, "running": 10}) // what runs goes on
	}, declares(h.handle))
}

func TestNextIncarnationRegistersWhatThePoolDeclares(t *testing.T) {
	h := &blocking{}
	q := newFakeQueue(t, 1)
	declare("test", "other")(&q.tuning)
	inBubble(t, q, h.handle, func(b *bubble) {
		b.at(time.Second)
		b.q.takeOver(1)
		b.at(30 * time.Second)
		inc := b.w.heart.present.Load()
		if inc.ID != 2 || !slices.Equal(inc.Types, []string{"other", "test"}) {
			b.Errorf("incarnation %d serves %v, want the second one with what the pool declares", inc.ID, inc.Types)
		}
		if n := b.q.count("serve"); n != 1 {
			b.Errorf("types were shown %d times, want once: the second incarnation registered with them", n)
		}
	}, declares(h.handle))
}

// A claim may be on its way when the pool gives its type up.
func TestRunOfATypeThatWasGivenUpGoesBack(t *testing.T) {
	inBubble(t, newFakeQueue(t, 1), succeed, func(b *bubble) {
		b.q.mu.Lock()
		b.q.runs[2] = &fakeRun{status: "running", worker: 1, token: 1}
		b.q.mu.Unlock()
		b.at(time.Second)
		b.hand(&jobs.Claim{RunID: 2, Token: 1, Worker: 1, Type: "gone", Attempt: 1})
		b.at(time.Second + time.Millisecond)
		if r := b.q.run(2); r.attempts != 0 || r.settled != 1 {
			b.Errorf("the run is %s after %d attempts, want it given back without one", r.status, r.attempts)
		}
	})
}

func TestOwnTypesStayWhateverThePoolDeclares(t *testing.T) {
	q := newFakeQueue(t, 1)
	declare("test")(&q.tuning)
	never := func(context.Context, *jobs.Claim) (json.RawMessage, error) {
		t.Error("the pool's handler was called for a type of the process itself")
		return json.RawMessage(`"never"`), errCut
	}
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(time.Second)
		b.wantStatuses(map[string]int{"completed": 1})
	}, func(c *Config) {
		own := maps.Clone(c.Types)
		declares(never)(c)
		c.Types = own
	})
}
