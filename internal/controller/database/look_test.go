package database

import (
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// A subscription looks at its pool and connection. That is no look of theirs: their own reconciles are still told.
func TestALookOfOthersKeepsNoNewsFromAResource(t *testing.T) {
	t.Parallel()
	name := types.NamespacedName{Namespace: "team", Name: "batch"}
	queues := map[Kind]workqueue.TypedRateLimitingInterface[reconcile.Request]{}
	r := &Registry{}
	for _, kind := range []Kind{KindPool, KindConnection} {
		queues[kind] = workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
		defer queues[kind].ShutDown()
		if err := r.pokes.source(kind).Start(t.Context(), queues[kind]); err != nil {
			t.Fatal(err)
		}
	}
	a := newActor("0123456789", Target{}, Config{Log: logr.Discard()}, r)
	r.actors = map[Key]*actor{a.key: a}
	r.pools = map[types.NamespacedName]Key{name: a.key}
	a.setPool(name, schema.DesiredPool{Pool: "batch"})
	a.setConnection(name, schema.DesiredConnection{})
	a.poolView(name) // their own reconciles have seen what there is
	a.connectionView(name, a.connections[name].desired.ID)

	for _, version := range []string{"14", "15"} { // each time there is news
		a.mu.Lock()
		a.database.Identity = version
		a.mu.Unlock()
		if _, ok := r.Pool(name); !ok {
			t.Fatal("the pool is not known")
		}
		r.PeekConnection(a.key, name, a.connections[name].desired.ID)
		a.tell()
		for kind, queue := range queues {
			if n := queue.Len(); n != 1 {
				t.Fatalf("with news %s, %d reconciles of the %s are asked for, want one", version, n, kind)
			}
			request, _ := queue.Get()
			queue.Done(request)
		}
	}
}
