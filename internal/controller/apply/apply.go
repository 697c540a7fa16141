// Package apply writes what the controllers own by server-side apply, under one field manager.
package apply

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Owner is the field manager of everything that the manager writes.
const Owner = client.FieldOwner("syncline-manager")

// convert gives the apply configuration C of a status: the fields that are set, and no others.
func convert[C any](status any) (*C, error) {
	text, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("encode the status: %w", err)
	}
	var configuration C
	if err := json.Unmarshal(text, &configuration); err != nil {
		return nil, fmt.Errorf("decode the status: %w", err)
	}
	return &configuration, nil
}

// Object writes an object's own fields and takes those over that somebody else has changed.
func Object(ctx context.Context, c client.Writer, configuration runtime.ApplyConfiguration) error {
	return c.Apply(ctx, configuration, Owner, client.ForceOwnership)
}

// Uncached is Object for kinds that the manager never reads from its cache: no later read has to wait for the write.
func Uncached(ctx context.Context, c client.Writer, configuration runtime.ApplyConfiguration) error {
	return c.Apply(ctx, configuration, Owner, client.ForceOwnership, client.DisableReadYourWritesConsistency)
}

// Status writes a whole status when it differs from the one that stands; of puts its apply configuration C into that of the
// resource. A resource that is gone needs no status.
func Status[C, S any](ctx context.Context, c client.StatusClient, stands, status S, of func(*C) runtime.ApplyConfiguration) error {
	if equality.Semantic.DeepEqual(stands, status) {
		return nil
	}
	configuration, err := convert[C](status)
	if err != nil {
		return err
	}
	err = c.Status().Apply(ctx, of(configuration), Owner, client.ForceOwnership)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	return nil
}
