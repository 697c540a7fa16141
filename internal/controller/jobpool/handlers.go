package jobpool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/credential"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// maxSigning is how many secrets may sign a request at once.
const maxSigning = 4

// signing are the secrets of a pool's handlers as they go into its row.
type signing struct {
	// sealed is nil when there is nothing to seal.
	sealed []byte
	// version is nil when the row shall keep what it has.
	version *string
}

// resolveHandlers keeps in the tuning what can be served, and seals the secrets of that. What is missing leaves only its
// own handler out: that one's runs wait.
func (r *Reconciler) resolveHandlers(ctx context.Context, s *scope, key database.Key) (signing, error) {
	if len(s.pool.Spec.Handlers) == 0 {
		s.handlers = condition.Pass(v1alpha1.ReasonNoHandlers, "spec.handlers declares none")
		return signing{version: new("")}, nil
	}
	secrets, read, err := r.readSecrets(ctx, s)
	if err != nil {
		return signing{}, err
	}
	if len(secrets) == 0 {
		return signing{version: new("")}, nil
	}
	keyset, missing, err := r.keyset(ctx, s, key)
	if err != nil {
		return signing{}, err
	}
	if missing != nil {
		s.handlers = *missing
		return signing{}, nil
	}
	version := read + "/" + strconv.FormatUint(uint64(keyset.PrimaryKeyID()), 10)
	if sealed := r.Databases.SealedSecrets(key, s.name, version); sealed != nil {
		return signing{sealed: sealed, version: &version}, nil
	}
	sealed, err := encrypt(keyset, secrets, PoolName(s.pool))
	return signing{sealed: sealed, version: &version}, err
}

// readSecrets reads the signing secrets of all handlers, and drops from the tuning those without. The version changes
// whenever another secret, another key of one or another value of one is named.
func (r *Reconciler) readSecrets(ctx context.Context, s *scope) (secrets spec.SigningSecrets, version string, err error) {
	s.handlers = condition.Pass(v1alpha1.ReasonHandlersSealed, "every handler has its signing secret")
	secrets, sum := spec.SigningSecrets{}, sha256.New()
	read := make(map[string]credential.Secret)
	var served []spec.Handler
	for i, h := range s.pool.Spec.Handlers {
		ref := h.SigningSecretRef
		secret, ok := read[ref.Name]
		if !ok {
			if secret, err = credential.Read(ctx, r.API, types.NamespacedName{Namespace: s.name.Namespace, Name: ref.Name}); err != nil {
				return nil, "", err
			}
			read[ref.Name] = secret
		}
		list, missing := signingSecrets(secret, ref)
		if missing != nil {
			if s.handlers.Holds() {
				missing.Message = fmt.Sprintf("spec.handlers: type %q is not served: %s", h.Type, missing.Message)
				s.handlers = *missing
			}
			continue
		}
		secrets[h.Type] = list
		served = append(served, s.tuning.Handlers[i])
		_, _ = fmt.Fprintf(sum, "%q %q %q %q\n", h.Type, ref.Name, ref.Key, secret.Version()) // a hash takes everything
	}
	s.tuning.Handlers = served
	return secrets, hex.EncodeToString(sum.Sum(nil)), nil
}

// signingSecrets takes the secrets out of a Secret's key, or says what is missing there. It never quotes them.
func signingSecrets(secret credential.Secret, ref v1alpha1.SigningSecretRef) ([]string, *condition.Verdict) {
	value, missing := secret.Key(ref.Key)
	if missing != nil {
		return nil, missing
	}
	list := strings.Fields(value)
	fault := ""
	if len(list) == 0 || len(list) > maxSigning {
		fault = fmt.Sprintf("it holds %d secrets, want 1 to %d", len(list), maxSigning)
	}
	for _, text := range list {
		if _, err := spec.ParseSigningSecret(text); err != nil {
			fault = err.Error()
		}
	}
	if fault != "" {
		return nil, new(condition.Wait(v1alpha1.ReasonInvalidSecret, fmt.Sprintf(
			"the value under key %q of secret %q cannot sign: %s: write what printf 'whsec_%%s' \"$(openssl rand -base64 32)\" gives",
			ref.Key, ref.Name, fault)))
	}
	return list, nil
}

// keyset is the namespace's, made when nothing is sealed there yet.
func (r *Reconciler) keyset(ctx context.Context, s *scope, key database.Key) (*sealing.Keyset, *condition.Verdict, error) {
	sealed, known := r.Databases.Sealed(s.name.Namespace, append(r.Databases.NamespaceDatabases(s.name.Namespace), key))
	return credential.Keyset(ctx, r.API, r.Client, s.name.Namespace, sealed, known)
}

func encrypt(keyset *sealing.Keyset, secrets spec.SigningSecrets, pool string) ([]byte, error) {
	text, err := json.Marshal(secrets)
	if err != nil {
		return nil, fmt.Errorf("encode the signing secrets: %w", err)
	}
	return keyset.Seal(text, spec.PoolID(pool), spec.SecretsColumn)
}
