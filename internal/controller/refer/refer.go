// Package refer finds the resources that refer to another one, for the watches of the controllers: an index over the names
// in their specs, and reconcile requests for those that hold a name.
//
// It knows no kind. The controllers beside it say what their resources refer to.
package refer

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/syncline-dev/syncline/internal/controller/credential"
)

// object is a pointer to a resource.
type object[T any] interface {
	*T
	client.Object
}

// Index lets resources of one kind be listed by the names that names gives.
func Index[T any, P object[T]](ctx context.Context, mgr ctrl.Manager, field string, names func(P) []string) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, P(new(T)), field, func(o client.Object) []string { return names(o.(P)) })
	if err != nil {
		return fmt.Errorf("index %T by %s: %w", new(T), field, err)
	}
	return nil
}

// List asks for a reconcile of every resource that a list finds. The list is one of the kind that is meant, empty.
func List(ctx context.Context, c client.Reader, list client.ObjectList, opts ...client.ListOption) []reconcile.Request {
	var requests []reconcile.Request
	err := c.List(ctx, list, opts...)
	if err == nil {
		err = meta.EachListItem(list, func(o runtime.Object) error {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o.(client.Object))})
			return nil
		})
	}
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list the resources that refer to another one")
	}
	return requests
}

// ToSecret asks for a reconcile of the resources that a Secret matters to: those that the index finds by its name, all of
// the namespace when it is the keyset.
func ToSecret(c client.Reader, index string, list func() client.ObjectList) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, secret client.Object) []reconcile.Request {
		opts := []client.ListOption{client.InNamespace(secret.GetNamespace())}
		if secret.GetName() != credential.KeysetSecret {
			opts = append(opts, client.MatchingFields{index: secret.GetName()})
		}
		return List(ctx, c, list(), opts...)
	})
}
