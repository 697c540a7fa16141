package database

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// row is one declared row and what became of it. It is guarded by its actor's mutex.
type row[R any] struct {
	desired R
	owner   schema.Owner
	// revision grows with every change of desired; settled is the revision that written is about.
	revision, settled uint64
	written           schema.Written
	// doubted has the row written again although the declaration is the same.
	doubted bool
	// dropped is when the declaration was taken back, zero while it stands.
	dropped time.Time
	// policy is the deletion policy of a dropped subscription.
	policy string
	// awaited says that a reconcile waits for gone before it lets its resource go.
	awaited bool
	// gone says that the row no longer belongs to the resource.
	gone bool
	// shown is what the last reconcile could have seen.
	shown shown
}

// standing says that the declaration stands.
func (r *row[R]) standing() bool { return r.dropped.IsZero() }

// pending says that the declaration stands and is not written yet.
func (r *row[R]) pending() bool { return r.standing() && (r.doubted || r.settled != r.revision) }

// outcome is what became of the newest declaration, nil while that is not known.
func (r *row[R]) outcome() *schema.Written {
	if !r.standing() || r.settled != r.revision {
		return nil
	}
	return new(r.written)
}

// rows holds the rows of one kind by the resource that declares them.
type rows[R any] map[types.NamespacedName]*row[R]

// want declares a row and says whether that is news.
func (t rows[R]) want(name types.NamespacedName, owner schema.Owner, desired R, same func(a, b R) bool) bool {
	r, ok := t[name]
	if ok && r.standing() && same(r.desired, desired) {
		return false
	}
	if !ok || !r.standing() {
		r = &row[R]{}
		t[name] = r
	}
	r.desired, r.owner = desired, owner
	r.revision++
	return true
}

// drop takes a declaration back at the given time and says whether that is news.
func (t rows[R]) drop(name types.NamespacedName, policy string, now time.Time) bool {
	r, ok := t[name]
	if !ok || !r.standing() {
		return false
	}
	r.dropped, r.policy = now, policy
	return true
}

// adopt makes the removal of a row that no resource declares this table's business.
func (t rows[R]) adopt(owner schema.Owner, policy string, now time.Time) bool {
	name := types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}
	if _, ok := t[name]; ok {
		return false
	}
	t[name] = &row[R]{owner: owner, dropped: now, policy: policy}
	return true
}

// unwritten lists the declarations that have to be written.
func (t rows[R]) unwritten() []types.NamespacedName {
	var names []types.NamespacedName
	for name, r := range t {
		if r.pending() {
			names = append(names, name)
		}
	}
	return names
}

// removable lists the rows that have to be removed.
func (t rows[R]) removable() []types.NamespacedName {
	var names []types.NamespacedName
	for name, r := range t {
		if !r.standing() && !r.gone {
			names = append(names, name)
		}
	}
	return names
}
