package subscription

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

const (
	// Finalizer stands on a subscription whose deletion must remove rows.
	Finalizer = "syncline.dev/rows"
	// patience is how long a deletion waits for a database that does not answer.
	patience = 30 * time.Second
	// releaseRetry is how soon a deletion that waits looks again.
	releaseRetry = time.Second
)

// ensureFinalizer keeps the finalizer exactly while the policy is Delete. It is a merge patch: the user's fields stay the
// user's.
func (r *Reconciler) ensureFinalizer(ctx context.Context, sub *v1alpha1.IntegrationSubscription) error {
	if sub.Spec.DeletionPolicy == v1alpha1.DeletionPolicyDelete {
		return r.patchFinalizer(ctx, sub, controllerutil.AddFinalizer)
	}
	return r.patchFinalizer(ctx, sub, controllerutil.RemoveFinalizer)
}

func (r *Reconciler) patchFinalizer(ctx context.Context, sub *v1alpha1.IntegrationSubscription, change func(client.Object, string) bool) error {
	before := sub.DeepCopy()
	if !change(sub, Finalizer) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, sub, patch, client.FieldOwner("syncline-manager")); err != nil {
		return fmt.Errorf("change the finalizer: %w", err)
	}
	return nil
}

// release lets a deleted subscription go: when its rows are gone, or when waiting for them is over. It never hangs: not
// for a pool, a connection or a database that is gone, and hardly in a namespace that is.
func (r *Reconciler) release(ctx context.Context, sub *v1alpha1.IntegrationSubscription) (ctrl.Result, error) {
	r.compilations.forget(sub.UID)
	if !controllerutil.ContainsFinalizer(sub, Finalizer) {
		return ctrl.Result{}, nil
	}
	name := client.ObjectKeyFromObject(sub)
	key, known, comes, err := r.lastHome(ctx, sub)
	if err != nil {
		return ctrl.Result{}, err
	}
	left := ""
	switch {
	case known:
		view := r.remove(sub, name, key)
		if view.Gone {
			return ctrl.Result{}, r.letGo(ctx, sub, elsewhere(sub, view))
		}
		left = "its database does not answer"
	case !comes:
		return ctrl.Result{}, r.letGo(ctx, sub, "its pool is gone")
	default:
		left = "the database of its pool is not known"
	}
	limit, err := r.limit(ctx, sub)
	if err != nil {
		return ctrl.Result{}, err
	}
	if r.Now().Sub(sub.DeletionTimestamp.Time) < limit {
		return ctrl.Result{RequeueAfter: releaseRetry}, nil
	}
	return ctrl.Result{}, r.letGo(ctx, sub, left)
}

// lastHome is the database that holds the rows; comes says, while it is not known, that it may be soon because the pool
// exists.
func (r *Reconciler) lastHome(ctx context.Context, sub *v1alpha1.IntegrationSubscription) (key database.Key, known, comes bool, err error) {
	if key, ok := r.Databases.SubscriptionDatabase(client.ObjectKeyFromObject(sub)); ok {
		return key, true, true, nil
	}
	pool, err := get[v1alpha1.JobPool](ctx, r.Client, sub.Namespace, sub.Spec.PoolRef.Name)
	if err != nil || pool == nil {
		return "", false, false, err
	}
	key, known = r.Databases.PoolDatabase(client.ObjectKeyFromObject(pool))
	return key, known, true, nil
}

// elsewhere is why rows were left behind although a database did what it was told: they are in another one.
func elsewhere(sub *v1alpha1.IntegrationSubscription, view database.SubscriptionView) string {
	if differs(sub.Status.DatabaseID, view.Database.Identity) {
		return "they are in a database that no JobPool names any more"
	}
	return ""
}

func (r *Reconciler) remove(sub *v1alpha1.IntegrationSubscription, name types.NamespacedName, key database.Key) database.SubscriptionView {
	owner := schema.Owner{
		Cluster: r.Cluster, Namespace: sub.Namespace, Name: sub.Name, UID: string(sub.UID), Generation: sub.Generation,
	}
	id := spec.ID(r.Cluster, v1alpha1.KindIntegrationSubscription, sub.Namespace, sub.Name)
	return r.Databases.RemoveSubscription(key, name, id, owner, string(sub.Spec.DeletionPolicy))
}

// limit is how long this deletion may wait.
func (r *Reconciler) limit(ctx context.Context, sub *v1alpha1.IntegrationSubscription) (time.Duration, error) {
	var ns corev1.Namespace
	switch err := r.API.Get(ctx, types.NamespacedName{Name: sub.Namespace}, &ns); {
	case apierrors.IsNotFound(err), err == nil && ns.Status.Phase == corev1.NamespaceTerminating:
		return r.Patience / 6, nil
	case err != nil:
		return 0, fmt.Errorf("read namespace %q: %w", sub.Namespace, err)
	}
	return r.Patience, nil
}

// letGo removes the finalizer; with a reason, it tells that rows were left behind. They are removed when the database is
// back and a pool names it.
func (r *Reconciler) letGo(ctx context.Context, sub *v1alpha1.IntegrationSubscription, left string) error {
	if left != "" {
		r.Events.Eventf(sub, nil, corev1.EventTypeWarning, v1alpha1.EventDatabaseReleased, "Delete",
			"deleted without its rows, because %s: they are removed when the database answers and a JobPool of this cluster uses it", left)
	}
	return client.IgnoreNotFound(r.patchFinalizer(ctx, sub, controllerutil.RemoveFinalizer))
}
