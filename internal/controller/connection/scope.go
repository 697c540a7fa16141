package connection

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/credential"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// scope is what one reconcile knows: read once, then only judged.
type scope struct {
	connection *v1alpha1.IntegrationConnection
	name       types.NamespacedName
	id         uuid.UUID
	// subscriptions is how many use the connection; keys are their databases; homeless says that some of them have none
	// yet although their pool exists.
	subscriptions int
	keys          []database.Key
	homeless      bool
	// credentials judges the credential.
	credentials condition.Verdict
	// views is what each database says of the row.
	views map[database.Key]database.ConnectionView
}

// gather reads everything and declares the connection's row where it is needed.
func (r *Reconciler) gather(ctx context.Context, c *v1alpha1.IntegrationConnection) (*scope, error) {
	s := &scope{
		connection: c,
		name:       client.ObjectKeyFromObject(c),
		id:         spec.ID(r.Cluster, v1alpha1.KindIntegrationConnection, c.Namespace, c.Name),
	}
	if err := r.findDatabases(ctx, s); err != nil {
		return nil, err
	}
	desired, err := r.desire(ctx, s)
	if err != nil {
		return nil, err
	}
	if desired != nil {
		s.views = r.Databases.SetConnection(s.name, s.keys, *desired)
		return s, nil
	}
	// The credential is not at hand: rows that stand keep the one they have.
	r.Databases.KeepConnection(s.name, s.keys)
	s.views = make(map[database.Key]database.ConnectionView, len(s.keys))
	for _, key := range s.keys {
		s.views[key] = r.Databases.Connection(key, s.name, s.id)
	}
	return s, nil
}

// findDatabases finds the databases of the subscriptions that use the connection.
func (r *Reconciler) findDatabases(ctx context.Context, s *scope) error {
	var list v1alpha1.IntegrationSubscriptionList
	err := r.Client.List(ctx, &list, client.InNamespace(s.name.Namespace), client.MatchingFields{IndexConnection: s.name.Name})
	if err != nil {
		return fmt.Errorf("list the connection's subscriptions: %w", err)
	}
	s.subscriptions = len(list.Items)
	seen := make(map[database.Key]bool)
	for i := range list.Items {
		key, ok := r.databaseOf(&list.Items[i])
		if !ok {
			s.homeless = true
			continue
		}
		if !seen[key] {
			seen[key] = true
			s.keys = append(s.keys, key)
		}
	}
	return nil
}

// databaseOf is where a subscription's row is, or will be.
func (r *Reconciler) databaseOf(sub *v1alpha1.IntegrationSubscription) (database.Key, bool) {
	if key, ok := r.Databases.SubscriptionDatabase(client.ObjectKeyFromObject(sub)); ok {
		return key, true
	}
	return r.Databases.PoolDatabase(types.NamespacedName{Namespace: sub.Namespace, Name: sub.Spec.PoolRef.Name})
}

// desire puts the row together; nil while the credential is not at hand.
func (r *Reconciler) desire(ctx context.Context, s *scope) (*schema.DesiredConnection, error) {
	text, err := document(Translate(&s.connection.Spec))
	if err != nil {
		return nil, err
	}
	desired := &schema.DesiredConnection{
		Owner: schema.Owner{
			Cluster: r.Cluster, Namespace: s.name.Namespace, Name: s.name.Name,
			UID: string(s.connection.UID), Generation: s.connection.Generation,
		},
		ID: s.id, Provider: s.connection.Spec.Provider, Spec: text,
	}
	a := auth(&s.connection.Spec)
	if a == nil {
		s.credentials = condition.Pass(v1alpha1.ReasonNoCredential, "requests carry no credential")
		return desired, nil
	}
	secret, err := credential.Read(ctx, r.API, types.NamespacedName{Namespace: s.name.Namespace, Name: secretName(&s.connection.Spec)})
	if err != nil {
		return nil, err
	}
	plain, missing := extract(a, secret)
	if missing != nil {
		s.credentials = *missing
		return nil, nil
	}
	if len(s.keys) == 0 {
		s.credentials = condition.Pass(v1alpha1.ReasonSealed, "the credential is there; it is sealed as soon as a subscription uses it")
		return nil, nil
	}
	return r.seal(ctx, s, desired, plain, secret.Version())
}

// seal puts the sealed credential into the row. The same version of the secret is sealed once per key: sealing it again
// would give other bytes and change nothing.
func (r *Reconciler) seal(
	ctx context.Context, s *scope, desired *schema.DesiredConnection, plain spec.Credential, secretVersion string,
) (*schema.DesiredConnection, error) {
	sealed, known, err := r.sealedAnywhere(ctx, s)
	if err != nil {
		return nil, err
	}
	keyset, missing, err := credential.Keyset(ctx, r.API, r.Client, s.name.Namespace, sealed, known)
	if err != nil {
		return nil, err
	}
	if missing != nil {
		s.credentials = *missing
		return nil, nil
	}
	version := secretVersion + "/" + strconv.FormatUint(uint64(keyset.PrimaryKeyID()), 10)
	desired.CredentialVersion = &version
	desired.Credential = r.sealedBefore(s, version)
	if desired.Credential == nil {
		if desired.Credential, err = encrypt(keyset, plain, s.id); err != nil {
			return nil, err
		}
	}
	s.credentials = condition.Pass(v1alpha1.ReasonSealed, "the credential is read from its secret and sealed")
	return desired, nil
}

// sealedAnywhere says whether any database of the namespace holds a sealed credential. To know that none does, the
// connection's own databases must have been read.
func (r *Reconciler) sealedAnywhere(ctx context.Context, s *scope) (sealed, known bool, err error) {
	var pools v1alpha1.JobPoolList
	if err := r.Client.List(ctx, &pools, client.InNamespace(s.name.Namespace)); err != nil {
		return false, false, fmt.Errorf("list the namespace's pools: %w", err)
	}
	for i := range pools.Items {
		key, ok := r.Databases.PoolDatabase(client.ObjectKeyFromObject(&pools.Items[i]))
		if !ok {
			continue
		}
		if sealed, _ := r.Databases.Sealed(s.name.Namespace, []database.Key{key}); sealed {
			return true, true, nil
		}
	}
	sealed, known = r.Databases.Sealed(s.name.Namespace, s.keys)
	return sealed, known, nil
}

func (r *Reconciler) sealedBefore(s *scope, version string) []byte {
	for _, key := range s.keys {
		if sealed := r.Databases.SealedCredential(key, s.name, version); sealed != nil {
			return sealed
		}
	}
	return nil
}

func encrypt(keyset *sealing.Keyset, plain spec.Credential, id uuid.UUID) ([]byte, error) {
	text, err := json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("encode the credential: %w", err)
	}
	return keyset.Seal(text, id, spec.CredentialColumn)
}
