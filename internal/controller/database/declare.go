package database

import (
	"reflect"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// What reconciles ask of an actor. None of it waits for the database.

func (a *actor) databaseView() View {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.database
}

func (a *actor) setPool(name types.NamespacedName, desired schema.DesiredPool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pools.want(name, desired.Owner, desired, samePool) {
		a.wakeUp()
	}
}

func (a *actor) dropPool(name types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pools.drop(name, "", time.Now()) {
		a.wakeUp()
	}
}

func (a *actor) poolView(name types.NamespacedName) PoolView {
	a.mu.Lock()
	defer a.mu.Unlock()
	view := a.viewPool(name)
	if r := a.pools[name]; r != nil {
		r.shown.seen(significantPool(view), gaugesPool(view), time.Now())
	}
	return view
}

// peekPool is poolView for those whose look is not the JobPool's own.
func (a *actor) peekPool(name types.NamespacedName) PoolView {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.viewPool(name)
}

// viewPool is poolView for those who hold mu.
func (a *actor) viewPool(name types.NamespacedName) PoolView {
	view := PoolView{Database: a.database}
	r, ok := a.pools[name]
	if !ok {
		return view
	}
	view.Row = r.outcome()
	if a.snapshot == nil {
		return view
	}
	if state, ok := a.snapshot.Pools[r.desired.Pool]; ok {
		view.State = &state
		view.CompletedPerMinute = a.rates[r.desired.Pool].perMinute()
	}
	return view
}

func (a *actor) setConnection(name types.NamespacedName, desired schema.DesiredConnection) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.connections.want(name, desired.Owner, desired, sameConnection) {
		a.wakeUp()
	}
}

func (a *actor) dropConnection(name types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.connections.drop(name, "", time.Now()) {
		a.wakeUp()
	}
}

func (a *actor) connectionView(name types.NamespacedName, id uuid.UUID) ConnectionView {
	a.mu.Lock()
	defer a.mu.Unlock()
	view := a.viewConnection(name, id)
	if r := a.connections[name]; r != nil {
		r.shown.seen(view, nil, time.Now())
	}
	return view
}

// peekConnection is connectionView for those whose look is not the connection's own.
func (a *actor) peekConnection(name types.NamespacedName, id uuid.UUID) ConnectionView {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.viewConnection(name, id)
}

// viewConnection is connectionView for those who hold mu.
func (a *actor) viewConnection(name types.NamespacedName, id uuid.UUID) ConnectionView {
	view := ConnectionView{Database: a.database}
	if r, ok := a.connections[name]; ok {
		view.Row = r.outcome()
	}
	if a.snapshot == nil {
		return view
	}
	if state, ok := a.snapshot.Connections[id]; ok {
		view.State = &state
	}
	return view
}

func (a *actor) sealedCredential(name types.NamespacedName, version string) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := a.connections[name]
	if !ok || !r.standing() || r.desired.CredentialVersion == nil || *r.desired.CredentialVersion != version {
		return nil
	}
	return r.desired.Credential
}

func (a *actor) sealedSecrets(name types.NamespacedName, version string) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := a.pools[name]
	if !ok || !r.standing() || r.desired.SecretsVersion == nil || *r.desired.SecretsVersion != version {
		return nil
	}
	return r.desired.Secrets
}

// sealed says whether a credential or a secret of the namespace is sealed here, or is about to be written; read is false while the
// database has not been read.
func (a *actor) sealed(namespace string) (here, read bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, r := range a.connections {
		if name.Namespace == namespace && r.standing() && r.desired.Credential != nil {
			return true, true
		}
	}
	for name, r := range a.pools {
		if name.Namespace == namespace && r.standing() && r.desired.Secrets != nil {
			return true, true
		}
	}
	if a.snapshot == nil {
		return false, false
	}
	for _, p := range a.snapshot.Pools {
		if p.Sealed && p.Owner.Cluster == a.cfg.Cluster && p.Owner.Namespace == namespace {
			return true, true
		}
	}
	for _, c := range a.snapshot.Connections {
		if c.Sealed && c.Owner.Namespace == namespace {
			return true, true
		}
	}
	return false, true
}

func (a *actor) setSubscription(name types.NamespacedName, desired schema.DesiredSubscription) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.subscriptions.want(name, desired.Owner, desired, sameSubscription) {
		a.wakeUp()
	}
}

// holdsSubscription says whether this database is another one than that with the identity, and holds a row that the
// resource with the uid declared.
func (a *actor) holdsSubscription(id uuid.UUID, uid, identity string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.snapshot == nil || a.database.Identity == identity {
		return false
	}
	state, ok := a.snapshot.Subscriptions[id]
	return ok && !state.Retired && state.Owner.UID == uid
}

// removeSubscription drops a subscription and keeps the answer for the reconcile that waits for it.
func (a *actor) removeSubscription(name types.NamespacedName, owner schema.Owner, policy string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	news := a.subscriptions.adopt(owner, policy, time.Now()) || a.subscriptions.drop(name, policy, time.Now())
	a.subscriptions[name].awaited = true
	if news {
		a.wakeUp()
	}
}

// dropSubscription takes a declaration back; nobody waits for the answer.
func (a *actor) dropSubscription(name types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := a.subscriptions[name]
	switch {
	case !ok:
	case r.gone:
		delete(a.subscriptions, name)
	default:
		r.awaited = false
		a.subscriptions.drop(name, r.desired.DeletionPolicy, time.Now())
		a.wakeUp()
	}
}

func (a *actor) subscriptionView(name types.NamespacedName, id uuid.UUID) SubscriptionView {
	a.mu.Lock()
	defer a.mu.Unlock()
	view := a.viewSubscription(name, id)
	if r := a.subscriptions[name]; r != nil {
		r.shown.seen(significantSubscription(view), view.State, time.Now())
	}
	return view
}

// viewSubscription is subscriptionView for those who hold mu.
func (a *actor) viewSubscription(name types.NamespacedName, id uuid.UUID) SubscriptionView {
	view := SubscriptionView{Database: a.database}
	if r, ok := a.subscriptions[name]; ok {
		view.Row, view.Gone = r.outcome(), r.gone
	}
	if check, ok := a.sinks[id]; ok {
		view.Sink = check.view
	}
	if view.Read = a.snapshot != nil; !view.Read {
		return view
	}
	if state, ok := a.snapshot.Subscriptions[id]; ok {
		view.State = &state
	}
	return view
}

// tell has every resource reconciled that would see something new.
func (a *actor) tell() {
	now := time.Now()
	a.mu.Lock()
	poked := make(map[Kind][]types.NamespacedName)
	for name, r := range a.pools {
		if view := a.viewPool(name); r.shown.news(significantPool(view), gaugesPool(view), now, a.cfg.Rest) {
			poked[KindPool] = append(poked[KindPool], name)
		}
	}
	for name, r := range a.connections {
		if r.shown.news(a.viewConnection(name, r.desired.ID), nil, now, a.cfg.Rest) {
			poked[KindConnection] = append(poked[KindConnection], name)
		}
	}
	for name, r := range a.subscriptions {
		view := a.viewSubscription(name, r.desired.ID)
		if r.shown.news(significantSubscription(view), view.State, now, a.cfg.Rest) {
			poked[KindSubscription] = append(poked[KindSubscription], name)
		}
	}
	a.mu.Unlock()
	for kind, names := range poked {
		for _, name := range names {
			a.peers.Poke(kind, name)
		}
	}
}

// samePool ignores the ciphertext, which differs at each sealing of the same secrets.
func samePool(a, b schema.DesiredPool) bool {
	a.Secrets, b.Secrets = nil, nil
	return reflect.DeepEqual(a, b)
}

// sameConnection ignores the ciphertext, which differs at each sealing of the same secret.
func sameConnection(a, b schema.DesiredConnection) bool {
	a.Credential, b.Credential = nil, nil
	return reflect.DeepEqual(a, b)
}

func sameSubscription(a, b schema.DesiredSubscription) bool { return reflect.DeepEqual(a, b) }
