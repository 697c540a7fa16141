package jobpool

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/credential"
	"github.com/syncline-dev/syncline/internal/controller/database"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// scope is what one reconcile knows: read once, then only judged.
type scope struct {
	pool *v1alpha1.JobPool
	name types.NamespacedName
	// tuning is what the pool's row should say.
	tuning spec.Pool
	// unresolved says why the database is not known, nil when it is.
	unresolved *condition.Verdict
	// handlers judges the signing secrets of the handlers; the zero value while the database is not known.
	handlers condition.Verdict
	// rotated says that the Secret has got another value since the last reconcile.
	rotated bool
	// view is what the database's actor knows.
	view database.PoolView
	// deployment is the pool's, nil when there is none; foreign says that one of its name belongs to somebody else.
	deployment *appsv1.Deployment
	foreign    bool
	// refused says why the API server refuses the Deployment, nil when it does not.
	refused *condition.Verdict
}

// gather reads everything and declares the pool's row.
func (r *Reconciler) gather(ctx context.Context, pool *v1alpha1.JobPool) (*scope, error) {
	s := &scope{
		pool: pool, tuning: Tuning(&pool.Spec),
		name: types.NamespacedName{Namespace: pool.Namespace, Name: pool.Name},
	}
	if err := r.readDeployment(ctx, r.Client, s); err != nil {
		return nil, err
	}
	target, err := r.target(ctx, s)
	if err != nil || s.unresolved != nil {
		return s, err
	}
	secrets, err := r.resolveHandlers(ctx, s, target.Key())
	if err != nil {
		return nil, err
	}
	return s, r.declare(s, target, secrets)
}

func (r *Reconciler) readDeployment(ctx context.Context, from client.Reader, s *scope) error {
	var d appsv1.Deployment
	err := from.Get(ctx, types.NamespacedName{Namespace: s.pool.Namespace, Name: WorkloadName(s.pool)}, &d)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read deployment: %w", err)
	case !metav1.IsControlledBy(&d, s.pool):
		s.foreign = true
		return nil
	}
	s.deployment = &d
	return nil
}

// target resolves the database reference, or notes in the scope what is missing.
func (r *Reconciler) target(ctx context.Context, s *scope) (database.Target, error) {
	ref := s.pool.Spec.Database.SecretRef
	secret, err := credential.Read(ctx, r.API, types.NamespacedName{Namespace: s.pool.Namespace, Name: ref.Name})
	if err != nil {
		return database.Target{}, err
	}
	uri, missing := secret.Key(ref.Key)
	if missing != nil {
		s.unresolved = missing
		return database.Target{}, nil
	}
	target := database.Target{URI: strings.TrimSpace(uri), Schema: s.pool.Spec.Database.Schema}
	if err := target.Validate(); err != nil {
		s.unresolved = new(condition.Stall(v1alpha1.ReasonInvalidURI,
			fmt.Sprintf("the value of key %q in secret %q is %v", ref.Key, ref.Name, err)))
	}
	return target, nil
}

func (r *Reconciler) declare(s *scope, target database.Target, secrets signing) error {
	tuning, err := document(s.tuning)
	if err != nil {
		return err
	}
	before, bound := r.Databases.PoolDatabase(s.name)
	s.rotated = bound && before != target.Key()
	s.view = r.Databases.SetPool(s.name, target, schema.DesiredPool{
		Owner: schema.Owner{
			Cluster: r.Cluster, Namespace: s.pool.Namespace, Name: s.pool.Name,
			UID: string(s.pool.UID), Generation: s.pool.Generation,
		},
		Pool:   PoolName(s.pool),
		Tuning: tuning, Secrets: secrets.sealed, SecretsVersion: secrets.version,
	})
	return nil
}

// taken says that another resource owns the pool's name in the database.
func (s *scope) taken() bool {
	return s.view.Row != nil && s.view.Row.Outcome == schema.OutcomeTaken
}

// admitted says that workers may exist: the pool's row is the pool's own. A Deployment that stands already is kept in
// shape while the database cannot be asked.
func (s *scope) admitted() bool {
	if s.foreign {
		return false
	}
	owned := s.view.Row != nil && s.view.Row.Outcome == schema.OutcomeApplied
	return owned || s.deployment != nil
}

// replicas is how many workers there should be: none when they would take another pool's runs.
func (s *scope) replicas() int32 {
	switch {
	case s.taken():
		return 0
	case s.pool.Spec.Replicas == nil:
		return 1
	}
	return *s.pool.Spec.Replicas
}
