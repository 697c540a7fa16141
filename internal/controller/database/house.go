package database

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"k8s.io/apimachinery/pkg/types"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// orphan is a row of this cluster that no resource declares here.
type orphan struct {
	kind   Kind
	owner  schema.Owner
	policy string
}

// keepHouse looks, now and then, for rows whose resource was deleted while nobody could tell the database: the database
// or the operator was down, or the resource's pool went first. They are removed in the next round.
func (a *actor) keepHouse(ctx context.Context, _ *pgxpool.Pool) error {
	now := time.Now()
	if now.Before(a.houseDue) {
		return nil
	}
	a.houseDue = now.Add(a.cfg.Housekeeping)
	for _, o := range a.orphans() {
		name := types.NamespacedName{Namespace: o.owner.Namespace, Name: o.owner.Name}
		exists, err := a.cfg.Exists(ctx, o.kind, name, o.owner.UID)
		if err != nil {
			a.log.Error(err, "ask whether the owner of a row still exists", "kind", o.kind, "name", name)
			continue
		}
		if !exists {
			a.adopt(o, now)
		}
	}
	return nil
}

// orphans lists the rows in the snapshot that belong to this cluster, are not retired yet and are not declared here.
func (a *actor) orphans() []orphan {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []orphan
	for _, p := range a.snapshot.Pools {
		if p.Owner.Cluster == a.cfg.Cluster && !known(a.pools, p.Owner) {
			all = append(all, orphan{kind: KindPool, owner: p.Owner})
		}
	}
	for _, c := range a.snapshot.Connections {
		if !known(a.connections, c.Owner) {
			all = append(all, orphan{kind: KindConnection, owner: c.Owner})
		}
	}
	for _, s := range a.snapshot.Subscriptions {
		if !s.Retired && !known(a.subscriptions, s.Owner) {
			all = append(all, orphan{kind: KindSubscription, owner: s.Owner, policy: s.DeletionPolicy})
		}
	}
	return all
}

// known says whether a row's owner is declared or being removed here.
func known[R any](t rows[R], owner schema.Owner) bool {
	r, ok := t[types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}]
	return ok && r.owner.UID == owner.UID
}

func (a *actor) adopt(o orphan, now time.Time) {
	a.log.Info("a row has lost its resource", "kind", o.kind, "namespace", o.owner.Namespace, "name", o.owner.Name)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o.kind {
	case KindPool:
		a.pools.adopt(o.owner, "", now)
	case KindConnection:
		a.connections.adopt(o.owner, "", now)
	case KindSubscription:
		a.subscriptions.adopt(o.owner, o.policy, now)
	}
}
