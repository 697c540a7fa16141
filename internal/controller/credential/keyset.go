package credential

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
)

const (
	// KeysetSecret is the Secret of each namespace that holds the key of its sealed credentials. Workers mount it.
	KeysetSecret = "syncline-sealing"
	// KeysetKey is the key in that Secret.
	KeysetKey = "keyset.json"
)

// Keyset reads a namespace's keyset. When there is none it makes one, but only where nothing is sealed yet: a second key
// would make everything that the first one sealed unreadable, and the loss of the first one has to be seen. Known is
// false while it is not known whether something is sealed; the verdict says what to wait for.
func Keyset(ctx context.Context, api client.Reader, writer client.Writer, namespace string, sealed, known bool) (*sealing.Keyset, *condition.Verdict, error) {
	name := types.NamespacedName{Namespace: namespace, Name: KeysetSecret}
	found, err := Read(ctx, api, name)
	if err != nil {
		return nil, nil, err
	}
	text, missing := found.Key(KeysetKey)
	switch {
	case missing == nil:
		keyset, unreadable := parseKeyset(text)
		return keyset, unreadable, nil
	case sealed:
		return nil, new(lost("is missing")), nil
	case !known:
		return nil, new(condition.Unknown(v1alpha1.ReasonPending, "waiting for the database to say whether credentials are sealed in this namespace already")), nil
	case missing.Reason == v1alpha1.ReasonSecretKeyMissing:
		return nil, missing, nil
	}
	return createKeyset(ctx, writer, name)
}

// parseKeyset reads a keyset; one that cannot be read is as good as lost.
func parseKeyset(text string) (*sealing.Keyset, *condition.Verdict) {
	keyset, err := sealing.Parse([]byte(text))
	if err != nil {
		return nil, new(lost("holds no keyset that can be read"))
	}
	return keyset, nil
}

// lost says how to get over a lost key.
func lost(what string) condition.Verdict {
	return condition.Stall(v1alpha1.ReasonSealingKeyLost, fmt.Sprintf(
		"the secret %q %s, but credentials in the database are sealed with its key: restore it from a "+
			"backup; if it is gone for good, delete it, delete all IntegrationConnections of the namespace and empty "+
			"spec.handlers of its JobPools, wait until their rows are gone, and apply them again",
		KeysetSecret, what))
}

// createKeyset makes a new keyset. Two reconciles may try: the one that comes second waits for its next turn.
func createKeyset(ctx context.Context, writer client.Writer, name types.NamespacedName) (*sealing.Keyset, *condition.Verdict, error) {
	keyset, err := sealing.NewKeyset()
	if err != nil {
		return nil, nil, err
	}
	text, err := keyset.JSON()
	if err != nil {
		return nil, nil, err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: name.Namespace, Name: name.Name,
			Labels: map[string]string{"app.kubernetes.io/managed-by": "syncline", "app.kubernetes.io/part-of": "syncline"},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{KeysetKey: text},
	}
	switch err := writer.Create(ctx, secret, client.DisableReadYourWritesConsistency); {
	case apierrors.IsAlreadyExists(err):
		return nil, new(condition.Unknown(v1alpha1.ReasonProgressing, "the sealing key is being made")), nil
	case err != nil:
		return nil, nil, fmt.Errorf("create secret %s: %w", name, err)
	}
	return keyset, nil, nil
}
