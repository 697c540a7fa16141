// Package database is where the control plane meets PostgreSQL: one actor for each database that the JobPools name.
//
// An actor owns the connections to its database. It migrates the schema, writes the rows that custom resources declare
// (many by one statement), reads one snapshot of everything every two seconds, plans sink tables, and stands in for
// workers where a pool has none: it sweeps and starts scheduled runs. A reconcile only declares a row and reads what is
// known; it never waits for PostgreSQL, and one database that does not answer costs the others nothing. When there is
// news, the actor has the resource reconciled again.
//
// The package decides nothing about custom resources: what a row holds and what a status says is the business of the
// controllers beside it. It executes no runs.
package database

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// Config is what a Registry needs. The zero values of the periods are replaced by the defaults named.
type Config struct {
	// Cluster is the id of the cluster, part of every row's owner.
	Cluster string
	// Exists says whether a custom resource with this uid still stands. It asks the API server, not a cache: a row is
	// removed on its word.
	Exists func(ctx context.Context, kind Kind, name types.NamespacedName, uid string) (bool, error)
	// Poll is the time between two snapshots, 2 s.
	Poll time.Duration
	// Housekeeping is the time between two looks for rows whose resource is gone, and between two of the checks of sinks
	// that fit, 30 s.
	Housekeeping time.Duration
	// Rest is how long counts that move all the time cause no reconcile after one, 10 s.
	Rest time.Duration
	Log  logr.Logger
}

func (c Config) withDefaults() Config {
	if c.Poll == 0 {
		c.Poll = 2 * time.Second
	}
	if c.Housekeeping == 0 {
		c.Housekeeping = 30 * time.Second
	}
	if c.Rest == 0 {
		c.Rest = 10 * time.Second
	}
	return c
}

// Registry holds the actors. It is safe for concurrent use. Actors run while Start does, so only in the process that
// leads.
type Registry struct {
	cfg   Config
	pokes pokes

	mu     sync.Mutex
	ctx    context.Context //nolint:containedctx // the life of the actors, which Start owns and waits for
	actors map[Key]*actor
	wait   sync.WaitGroup
	// pools, connections and subscriptions say which databases a resource has a row in.
	pools         map[types.NamespacedName]Key
	connections   map[types.NamespacedName]map[Key]bool
	subscriptions map[types.NamespacedName]Key
}

// New makes a registry without actors.
func New(cfg Config) *Registry {
	return &Registry{
		cfg:           cfg.withDefaults(),
		actors:        make(map[Key]*actor),
		pools:         make(map[types.NamespacedName]Key),
		connections:   make(map[types.NamespacedName]map[Key]bool),
		subscriptions: make(map[types.NamespacedName]Key),
	}
}

// Start runs the actors, those of databases named later included, until ctx ends; then it waits for them.
func (r *Registry) Start(ctx context.Context) error {
	r.mu.Lock()
	r.ctx = ctx
	for _, a := range r.actors {
		r.launch(a)
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	r.ctx = nil
	r.mu.Unlock()
	r.wait.Wait()
	return nil
}

// NeedLeaderElection says that only the leader writes rows.
func (r *Registry) NeedLeaderElection() bool { return true }

// Source tells a controller about news of its resources.
func (r *Registry) Source(kind Kind) source.Source { return r.pokes.source(kind) }

// Poke has a resource reconciled soon.
func (r *Registry) Poke(kind Kind, name types.NamespacedName) { r.pokes.poke(kind, name) }

// launch starts an actor. The caller holds mu.
func (r *Registry) launch(a *actor) {
	if r.ctx == nil || r.ctx.Err() != nil {
		return
	}
	ctx := r.ctx
	r.wait.Go(func() {
		a.run(ctx)
		r.forget(a)
	})
}

// forget removes an actor that ended because nobody named its database any more. One that was named again meanwhile is
// started anew.
func (r *Registry) forget(a *actor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil || r.ctx.Err() != nil {
		return
	}
	if a.idle() {
		delete(r.actors, a.key)
		return
	}
	r.launch(a)
}

// actor gives the actor of a target, which it makes when there is none. The caller holds mu.
func (r *Registry) actor(target Target) *actor {
	key := target.Key()
	a, ok := r.actors[key]
	if !ok {
		a = newActor(key, target, r.cfg, r)
		r.actors[key] = a
		r.launch(a)
	}
	return a
}

// SetPool declares the row of a JobPool in a database and says what is known of it. A pool that stood in another
// database leaves that one.
func (r *Registry) SetPool(name types.NamespacedName, target Target, desired schema.DesiredPool) PoolView {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.actor(target)
	if before, ok := r.pools[name]; ok && before != a.key {
		r.dropPool(name, before)
	}
	r.pools[name] = a.key
	a.setPool(name, desired)
	return a.poolView(name)
}

// ForgetPool takes the declaration of a JobPool back: it was deleted.
func (r *Registry) ForgetPool(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key, ok := r.pools[name]; ok {
		r.dropPool(name, key)
		delete(r.pools, name)
	}
}

func (r *Registry) dropPool(name types.NamespacedName, key Key) {
	if a, ok := r.actors[key]; ok {
		a.dropPool(name)
	}
}

// PoolDatabase is the database that a JobPool was last declared in; false while it was not.
func (r *Registry) PoolDatabase(name types.NamespacedName) (Key, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, ok := r.pools[name]
	return key, ok
}

// Pool says what is known of a JobPool that was declared, for those that depend on it; false while it was not. It is no look
// of the JobPool's own reconcile, which is still told what it has not seen.
func (r *Registry) Pool(name types.NamespacedName) (PoolView, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, ok := r.pools[name]
	if !ok || r.actors[key] == nil {
		return PoolView{}, false
	}
	return r.actors[key].peekPool(name), true
}

// Database says what is known of a database.
func (r *Registry) Database(key Key) View {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.actors[key]; ok {
		return a.databaseView()
	}
	return View{}
}

// SetSubscription declares the row of an IntegrationSubscription in a database and says what is known of it.
func (r *Registry) SetSubscription(name types.NamespacedName, key Key, desired schema.DesiredSubscription) SubscriptionView {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.actors[key]
	if !ok {
		return SubscriptionView{}
	}
	if before, ok := r.subscriptions[name]; ok && before != key && r.actors[before] != nil {
		r.actors[before].dropSubscription(name)
	}
	r.subscriptions[name] = key
	a.setSubscription(name, desired)
	return a.subscriptionView(name, desired.ID)
}

// SubscriptionDatabase is the database that a subscription was last declared in; false while it was not.
func (r *Registry) SubscriptionDatabase(name types.NamespacedName) (Key, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, ok := r.subscriptions[name]
	return key, ok
}

// Subscription says what is known of a subscription's row in a database, declared or not.
func (r *Registry) Subscription(key Key, name types.NamespacedName, id uuid.UUID) SubscriptionView {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.actors[key]; ok {
		return a.subscriptionView(name, id)
	}
	return SubscriptionView{}
}

// SubscriptionElsewhere says whether the row of a subscription that this resource declared stands in another database
// than the one with this identity, as far as the databases have been read.
func (r *Registry) SubscriptionElsewhere(id uuid.UUID, uid, identity string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.actors {
		if a.holdsSubscription(id, uid, identity) {
			return true
		}
	}
	return false
}

// RemoveSubscription has the row of a deleted resource retired or deleted, as the policy says, and says how far that
// is: View.Gone.
func (r *Registry) RemoveSubscription(key Key, name types.NamespacedName, id uuid.UUID, owner schema.Owner, policy string) SubscriptionView {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.actors[key]
	if !ok {
		return SubscriptionView{}
	}
	r.subscriptions[name] = key
	a.removeSubscription(name, owner, policy)
	return a.subscriptionView(name, id)
}

// ForgetSubscription takes the declaration of an IntegrationSubscription back: it is gone from the API. Its row follows
// the policy it was declared with.
func (r *Registry) ForgetSubscription(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key, ok := r.subscriptions[name]; ok {
		if a := r.actors[key]; a != nil {
			a.dropSubscription(name)
		}
		delete(r.subscriptions, name)
	}
}

// elsewhere says whether a resource is declared in another database than the one that asks, and which that is. Its
// identity is empty while the other database has not been reached. An actor asks before it removes a row: the other
// database may be the same one under another URI.
func (r *Registry) elsewhere(kind Kind, name types.NamespacedName, asking Key) (identity string, declared bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range r.declared(kind, name) {
		if a := r.actors[key]; a != nil && key != asking {
			identity, declared = a.databaseView().Identity, true
			if identity == "" {
				return "", true
			}
		}
	}
	return identity, declared
}

// declared lists the databases a resource is declared in. The caller holds mu.
func (r *Registry) declared(kind Kind, name types.NamespacedName) []Key {
	switch kind {
	case KindPool:
		if key, ok := r.pools[name]; ok {
			return []Key{key}
		}
	case KindSubscription:
		if key, ok := r.subscriptions[name]; ok {
			return []Key{key}
		}
	case KindConnection:
		return slices.Collect(maps.Keys(r.connections[name]))
	}
	return nil
}
