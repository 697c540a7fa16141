package database

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Kind is a kind of declared row.
type Kind string

// The kinds, named as the custom resources that declare them.
const (
	KindPool         Kind = "JobPool"
	KindConnection   Kind = "IntegrationConnection"
	KindSubscription Kind = "IntegrationSubscription"
)

// pokes wakes reconciles when a database has news. Adding to a work queue never blocks and merges repetitions, so an
// actor is never held up by a busy controller.
type pokes struct {
	mu     sync.Mutex
	queues map[Kind]workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// source is the source that a controller watches. News from before it started is not kept: every resource is
// reconciled once when its controller starts.
func (p *pokes) source(kind Kind) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.queues == nil {
			p.queues = make(map[Kind]workqueue.TypedRateLimitingInterface[reconcile.Request])
		}
		p.queues[kind] = queue
		return nil
	})
}

// poke has a resource reconciled soon.
func (p *pokes) poke(kind Kind, name types.NamespacedName) {
	p.mu.Lock()
	queue := p.queues[kind]
	p.mu.Unlock()
	if queue != nil {
		queue.Add(reconcile.Request{NamespacedName: name})
	}
}
