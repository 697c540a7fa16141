// Package apply writes what the controllers own by server-side apply, under one field manager.
package apply

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Owner is the field manager of everything that the manager writes.
const Owner = client.FieldOwner("syncline-manager")

// Convert gives the apply configuration C of a status: the fields that are set, and no others.
func Convert[C any](status any) (*C, error) {
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

// Status writes a whole status. The caller has made sure that it differs from the one that stands.
func Status(ctx context.Context, c client.StatusClient, configuration runtime.ApplyConfiguration) error {
	if err := c.Status().Apply(ctx, configuration, Owner, client.ForceOwnership); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	return nil
}
