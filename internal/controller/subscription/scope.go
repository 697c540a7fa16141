package subscription

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/controller/jobpool"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// scope is what one reconcile knows: read once, then only judged.
type scope struct {
	sub  *v1alpha1.IntegrationSubscription
	name types.NamespacedName
	id   uuid.UUID
	// pool and connection are what the spec refers to, nil when they do not exist.
	pool       *v1alpha1.JobPool
	connection *v1alpha1.IntegrationConnection
	compiled   compiled
	// bound says that the pool's database is known; poolView is what its actor knows of the pool.
	bound    bool
	poolView database.PoolView
	home     home
	// view is what the database's actor knows of the subscription, connectionView of its connection there.
	view           database.SubscriptionView
	connectionView database.ConnectionView
}

// home is where a subscription's row belongs.
type home int

const (
	// homeUnknown: the pool is missing or its database not known; a row that stands is left alone.
	homeUnknown home = iota
	// homeUndecided: it is not known yet whether the pool's database is the one that holds the row.
	homeUndecided
	// homeHere: the row belongs into the pool's database.
	homeHere
	// homeElsewhere: the row stands in another database than the pool's.
	homeElsewhere
)

// gather reads everything and declares the subscription's row.
func (r *Reconciler) gather(ctx context.Context, sub *v1alpha1.IntegrationSubscription) (*scope, error) {
	s := &scope{
		sub: sub, name: client.ObjectKeyFromObject(sub),
		id: spec.ID(r.Cluster, v1alpha1.KindIntegrationSubscription, sub.Namespace, sub.Name),
	}
	var err error
	if s.pool, err = get[v1alpha1.JobPool](ctx, r.Client, sub.Namespace, sub.Spec.PoolRef.Name); err != nil {
		return nil, err
	}
	if s.connection, err = get[v1alpha1.IntegrationConnection](ctx, r.Client, sub.Namespace, sub.Spec.ConnectionRef.Name); err != nil {
		return nil, err
	}
	if s.compiled, err = r.compilations.of(sub); err != nil {
		return nil, err
	}
	r.settle(s)
	return s, nil
}

// object is a pointer to a custom resource.
type object[T any] interface {
	*T
	client.Object
}

// get reads a resource from the cache, nil when it does not exist.
func get[T any, P object[T]](ctx context.Context, c client.Reader, namespace, name string) (P, error) {
	o := P(new(T))
	err := c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, o)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %T %q: %w", o, name, err)
	}
	return o, nil
}

// settle finds the row's home, declares it there and takes in what is known.
func (r *Reconciler) settle(s *scope) {
	here, bound := r.poolKey(s)
	before, declared := r.Databases.SubscriptionDatabase(s.name)
	s.bound = bound
	s.home = r.findHome(s, here, bound, before, declared)
	key := here
	if declared && s.home != homeHere {
		key = before
	}
	s.view = r.Databases.Subscription(key, s.name, s.id)
	switch {
	case s.home == homeHere && s.declarable():
		s.view = r.Databases.SetSubscription(s.name, key, s.desired(r.Cluster, s.compiled.document))
	case declared || s.home == homeHere && s.rowStands():
		// The row stays as it is; only its switches follow the spec.
		s.view = r.Databases.SetSubscription(s.name, key, s.desired(r.Cluster, nil))
	}
	if s.connection != nil {
		id := spec.ID(r.Cluster, v1alpha1.KindIntegrationConnection, s.name.Namespace, s.connection.Name)
		s.connectionView = r.Databases.PeekConnection(key, client.ObjectKeyFromObject(s.connection), id)
	}
	s.disownForeign()
}

// poolKey is the database of the subscription's pool, false while it has none.
func (r *Reconciler) poolKey(s *scope) (database.Key, bool) {
	if s.pool == nil {
		return "", false
	}
	name := client.ObjectKeyFromObject(s.pool)
	key, ok := r.Databases.PoolDatabase(name)
	if ok {
		s.poolView, ok = r.Databases.Pool(name)
	}
	return key, ok
}

// findHome decides whether the row belongs into the pool's database. A row that this resource declared in another
// database keeps it from moving: neither table nor cursor would come along. What the actors cannot tell, because the
// process has just started or no pool names the other database any more, the status remembers.
func (r *Reconciler) findHome(s *scope, here database.Key, bound bool, before database.Key, declared bool) home {
	switch {
	case !bound:
		return homeUnknown
	case declared && before == here:
		return homeHere
	}
	db := r.Databases.Database(here)
	if db.Identity == "" {
		return homeUndecided
	}
	found := r.Databases.Subscription(here, s.name, s.id)
	switch {
	case found.State != nil && found.State.Owner.UID == string(s.sub.UID):
		return homeHere // it moved with its database, or is reached by another URI
	case s.remembersOther(db.Identity) && !found.Read:
		return homeUndecided
	case s.remembersOther(db.Identity):
		return homeElsewhere
	case declared && !differs(r.Databases.Database(before).Identity, db.Identity):
		return homeHere
	case r.Databases.SubscriptionElsewhere(s.id, string(s.sub.UID), db.Identity):
		return homeElsewhere
	}
	return homeHere
}

// remembersOther says that the rows stood in another database than that with the identity when the status was written.
func (s *scope) remembersOther(identity string) bool {
	return differs(s.sub.Status.DatabaseID, identity)
}

// differs says whether two identities are of two databases; an unknown one may be any.
func differs(a, b string) bool { return a != "" && b != "" && a != b }

// declarable says that a whole row may be written: the spec compiles and the pool's name is the pool's own.
func (s *scope) declarable() bool {
	row := s.poolView.Row
	foreign := row != nil && row.Outcome == schema.OutcomeTaken
	return s.compiled.document != nil && s.connection != nil && !foreign
}

// rowStands says that this resource has declared a row before.
func (s *scope) rowStands() bool {
	return s.view.State != nil && s.view.State.Owner.UID == string(s.sub.UID)
}

// desired is the row; without a document, only its switches.
func (s *scope) desired(cluster string, document []byte) schema.DesiredSubscription {
	d := schema.DesiredSubscription{
		Owner:          s.owner(cluster),
		ID:             s.id,
		Connection:     spec.ID(cluster, v1alpha1.KindIntegrationConnection, s.name.Namespace, s.sub.Spec.ConnectionRef.Name),
		Spec:           document,
		Suspended:      orZero(s.sub.Spec.Suspend),
		RunRequested:   s.sub.Annotations[v1alpha1.RunRequestedAnnotation],
		DeletionPolicy: string(s.sub.Spec.DeletionPolicy),
	}
	if s.pool != nil {
		d.Pool = jobpool.PoolName(s.pool)
	}
	return d
}

func (s *scope) owner(cluster string) schema.Owner {
	return schema.Owner{
		Cluster: cluster, Namespace: s.name.Namespace, Name: s.name.Name,
		UID: string(s.sub.UID), Generation: s.sub.Generation,
	}
}

// disownForeign forgets what the snapshot says of a row that an earlier resource of this name left behind.
func (s *scope) disownForeign() {
	if s.view.State != nil && s.view.State.Owner.UID != string(s.sub.UID) {
		s.view.State = nil
	}
}
