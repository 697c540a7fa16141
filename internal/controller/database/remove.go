package database

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"k8s.io/apimachinery/pkg/types"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// purgeBatch is how many audit rows of a deleted subscription go in one round.
const purgeBatch = 5000

// removal is a row whose resource is gone from here, on its way out of the database.
type removal struct {
	kind   Kind
	name   types.NamespacedName
	owner  schema.Owner
	policy string
	since  time.Time
}

// removeRows removes or retires the rows whose resources were deleted or moved away, and a part of the audit of
// subscriptions deleted before.
func (a *actor) removeRows(ctx context.Context, db *pgxpool.Pool) error {
	for _, r := range a.removals() {
		done, err := a.remove(ctx, db, r)
		if err != nil {
			return err
		}
		if done {
			a.removed(r)
		}
	}
	return a.purge(ctx, db)
}

func (a *actor) removals() []removal {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []removal
	for _, name := range a.pools.removable() {
		r := a.pools[name]
		all = append(all, removal{kind: KindPool, name: name, owner: r.owner, since: r.dropped})
	}
	// Subscriptions before connections: a connection's row goes with the last that uses it.
	for _, name := range a.subscriptions.removable() {
		r := a.subscriptions[name]
		all = append(all, removal{kind: KindSubscription, name: name, owner: r.owner, policy: r.policy, since: r.dropped})
	}
	for _, name := range a.connections.removable() {
		r := a.connections[name]
		all = append(all, removal{kind: KindConnection, name: name, owner: r.owner, since: r.dropped})
	}
	return all
}

// remove does one removal and says whether it is over with.
func (a *actor) remove(ctx context.Context, db *pgxpool.Pool, r removal) (done bool, err error) {
	identity, declared := a.peers.elsewhere(r.kind, r.name, a.key)
	switch {
	case declared && identity == "":
		return time.Since(r.since) > removalPatience, nil
	case declared && identity == a.databaseView().Identity:
		return true, nil // the same database by another URI: the row is the other actor's now
	}
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		switch r.kind {
		case KindPool:
			done, err = a.removePool(ctx, tx, r)
		case KindConnection:
			done, err = true, schema.RemoveConnection(ctx, tx, r.owner)
		case KindSubscription:
			done, err = true, a.removeSubscriptionRow(ctx, tx, r)
		}
		return err
	})
	return done, err
}

// removePool waits for the pool's workers to leave; after a while it lets go of the row instead.
func (a *actor) removePool(ctx context.Context, tx pgx.Tx, r removal) (done bool, err error) {
	done, err = schema.RemovePool(ctx, tx, r.owner)
	if err != nil || done || time.Since(r.since) < removalPatience {
		return done, err
	}
	return true, schema.DisownPool(ctx, tx, r.owner)
}

func (a *actor) removeSubscriptionRow(ctx context.Context, tx pgx.Tx, r removal) error {
	if r.policy != schema.PolicyDelete {
		return schema.RetireSubscription(ctx, tx, r.owner)
	}
	ids, err := schema.DeleteSubscription(ctx, tx, r.owner)
	a.purges = append(a.purges, ids...)
	return err
}

// purge removes a part of the audit of deleted subscriptions, so that no round becomes long. What is left at the end of
// the process is removed by the workers' audit retention.
func (a *actor) purge(ctx context.Context, db *pgxpool.Pool) error {
	if len(a.purges) == 0 {
		return nil
	}
	rest, err := schema.PurgeSubscription(ctx, db, a.purges[0], purgeBatch)
	if err == nil && !rest {
		a.purges = a.purges[1:]
	}
	return err
}

// removed notes that a removal is over with.
func (a *actor) removed(r removal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.kind {
	case KindPool:
		finish(a.pools, r.name)
	case KindConnection:
		finish(a.connections, r.name)
	case KindSubscription:
		finish(a.subscriptions, r.name)
	}
}

// finish forgets a row that is gone, unless somebody waits to hear of it or it was declared again.
func finish[R any](t rows[R], name types.NamespacedName) {
	r, ok := t[name]
	switch {
	case !ok || r.standing():
	case r.awaited:
		r.gone = true
	default:
		delete(t, name)
	}
}

// giveUpRemovals lets go of removals that a database did not take for so long that nobody should wait any more. The rows
// are found again as orphans when the database is back and named.
func (a *actor) giveUpRemovals() {
	a.mu.Lock()
	defer a.mu.Unlock()
	abandon(a.pools)
	abandon(a.connections)
	abandon(a.subscriptions)
}

func abandon[R any](t rows[R]) {
	for _, name := range t.removable() {
		if time.Since(t[name].dropped) > removalPatience {
			delete(t, name)
		}
	}
}
