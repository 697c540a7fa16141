package database

import (
	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// SetConnection declares the row of an IntegrationConnection in exactly the given databases and says what is known of
// it in each. Databases that no actor serves are left out of the answer.
func (r *Registry) SetConnection(name types.NamespacedName, keys []Key, desired schema.DesiredConnection) map[Key]ConnectionView {
	r.mu.Lock()
	defer r.mu.Unlock()
	views := make(map[Key]ConnectionView, len(keys))
	for _, key := range keys {
		a, ok := r.actors[key]
		if !ok {
			continue
		}
		a.setConnection(name, desired)
		views[key] = a.connectionView(name, desired.ID)
	}
	r.keepConnection(name, keys)
	return views
}

// KeepConnection narrows the databases that hold a connection's row down to those given, without writing the row anew.
func (r *Registry) KeepConnection(name types.NamespacedName, keys []Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keepConnection(name, keys)
}

// ForgetConnection takes the declaration of an IntegrationConnection back everywhere: it was deleted.
func (r *Registry) ForgetConnection(name types.NamespacedName) { r.KeepConnection(name, nil) }

// keepConnection has every other database drop the connection. The caller holds mu.
func (r *Registry) keepConnection(name types.NamespacedName, keys []Key) {
	keep := make(map[Key]bool, len(keys))
	for _, key := range keys {
		if r.actors[key] != nil {
			keep[key] = true
		}
	}
	for key := range r.connections[name] {
		if a := r.actors[key]; a != nil && !keep[key] {
			a.dropConnection(name)
		}
	}
	if r.connections[name] = keep; len(keep) == 0 {
		delete(r.connections, name)
	}
}

// Connection says what is known of a connection in one database, declared or not.
func (r *Registry) Connection(key Key, name types.NamespacedName, id uuid.UUID) ConnectionView {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.actors[key]; ok {
		return a.connectionView(name, id)
	}
	return ConnectionView{}
}

// PeekConnection is Connection for those that depend on it. It is no look of the connection's own reconcile, which is still
// told what it has not seen.
func (r *Registry) PeekConnection(key Key, name types.NamespacedName, id uuid.UUID) ConnectionView {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.actors[key]; ok {
		return a.peekConnection(name, id)
	}
	return ConnectionView{}
}

// SealedCredential is the credential that was declared for a connection in a database, when it has this version: then
// nothing needs to be sealed anew.
func (r *Registry) SealedCredential(key Key, name types.NamespacedName, version string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.actors[key]; ok {
		return a.sealedCredential(name, version)
	}
	return nil
}

// SealedSecrets is what a pool has sealed of this version for its row, nil when it has not.
func (r *Registry) SealedSecrets(key Key, name types.NamespacedName, version string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.actors[key]; ok {
		return a.sealedSecrets(name, version)
	}
	return nil
}

// NamespaceDatabases are the databases in which pools of a namespace were declared.
func (r *Registry) NamespaceDatabases(namespace string) []Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys []Key
	for name, key := range r.pools {
		if name.Namespace == namespace {
			keys = append(keys, key)
		}
	}
	return keys
}

// Sealed says whether any of the databases holds a credential or a secret sealed for this namespace; known is false when one of
// them has not been read yet and none of the others has one.
func (r *Registry) Sealed(namespace string, keys []Key) (sealed, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known = true
	for _, key := range keys {
		a, ok := r.actors[key]
		if !ok {
			known = false
			continue
		}
		here, read := a.sealed(namespace)
		if here {
			return true, true
		}
		known = known && read
	}
	return false, known
}
