// Package credential reads what the control plane needs from Secrets, and keeps the keyset that credentials are sealed
// with.
//
// Secrets are read one by one from the API server, never from a cache: the manager's cache knows their metadata only.
// What is missing is a verdict that names it, not an error. Nothing here logs or returns a secret in a message.
package credential

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
)

// Secret is a Secret as it was read, or the verdict that says what is missing.
type Secret struct {
	name    string
	secret  *corev1.Secret
	missing *condition.Verdict
}

// Read reads a Secret from the API server. An error is one of the API server; a Secret that does not exist is not.
func Read(ctx context.Context, api client.Reader, name types.NamespacedName) (Secret, error) {
	var s corev1.Secret
	err := api.Get(ctx, name, &s)
	if apierrors.IsNotFound(err) {
		missing := condition.Wait(v1alpha1.ReasonSecretMissing, fmt.Sprintf("secret %q does not exist in namespace %q: create it", name.Name, name.Namespace))
		return Secret{name: name.Name, missing: &missing}, nil
	}
	if err != nil {
		return Secret{}, fmt.Errorf("read secret %s: %w", name, err)
	}
	return Secret{name: name.Name, secret: &s}, nil
}

// Key gives the value of a key, or the verdict that says what is missing: the Secret, or the key, or its value.
func (s Secret) Key(key string) (string, *condition.Verdict) {
	if s.missing != nil {
		return "", s.missing
	}
	value := s.secret.Data[key]
	if len(value) == 0 {
		missing := condition.Wait(v1alpha1.ReasonSecretKeyMissing, fmt.Sprintf("secret %q has no value under the key %q: add it, or name another key", s.name, key))
		return "", &missing
	}
	return string(value), nil
}

// Version changes whenever the Secret does; empty when it does not exist.
func (s Secret) Version() string {
	if s.secret == nil {
		return ""
	}
	return string(s.secret.UID) + "/" + s.secret.ResourceVersion
}
