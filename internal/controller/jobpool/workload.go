package jobpool

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/apply"
	"github.com/syncline-dev/syncline/internal/controller/condition"
)

// rendering is a Deployment as it was last applied: while both stay, applying it again would change nothing.
type rendering struct {
	sum        [sha256.Size]byte
	generation int64
}

// makeWorkers brings ServiceAccount and Deployment to what the pool wants, as soon as workers may exist.
func (r *Reconciler) makeWorkers(ctx context.Context, s *scope) error {
	if !s.admitted() {
		return nil
	}
	if s.deployment == nil {
		// The cache knows only what carries our label. Before one is made, make sure that the name is free.
		if err := r.readDeployment(ctx, r.API, s); err != nil || s.foreign {
			return err
		}
	}
	wanted, err := Deployment(s.pool, s.replicas(), r.Options)
	if err != nil {
		return err
	}
	sum, err := fingerprint(wanted)
	if err != nil {
		return err
	}
	if s.allReady() && r.rendered(s.pool.UID) == (rendering{sum, s.deployment.Generation}) {
		return nil
	}
	if err := apply.Uncached(ctx, r.Client, ServiceAccount(s.pool)); err != nil {
		return fmt.Errorf("apply the service account: %w", err)
	}
	return r.applyDeployment(ctx, s, wanted, sum)
}

// allReady says that the Deployment is as it should be. Where it is not, everything is applied again: the reason may be
// that somebody removed the ServiceAccount.
func (s *scope) allReady() bool {
	return s.deployment != nil && s.deployment.Status.ReadyReplicas == s.replicas()
}

// applyDeployment applies the Deployment. What the API server finds wrong with it is the template's fault: everything
// else in it is ours.
func (r *Reconciler) applyDeployment(ctx context.Context, s *scope, wanted *appsv1ac.DeploymentApplyConfiguration, sum [sha256.Size]byte) error {
	err := apply.Object(ctx, r.Client, wanted)
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		s.refused = new(condition.Stall(v1alpha1.ReasonInvalidTemplate,
			"the API server refuses the deployment that spec.template leads to: "+err.Error()))
		return nil
	}
	if err != nil {
		return fmt.Errorf("apply the deployment: %w", err)
	}
	before := s.deployment
	if err := r.readDeployment(ctx, r.Client, s); err != nil || s.deployment == nil {
		return err
	}
	r.remember(s.pool.UID, rendering{sum, s.deployment.Generation})
	r.announceWorkload(s, before)
	return nil
}

// announceWorkload tells what an apply changed of the Deployment.
func (r *Reconciler) announceWorkload(s *scope, before *appsv1.Deployment) {
	if before == nil || before.Generation == s.deployment.Generation {
		return
	}
	was, is := replicasOf(before), replicasOf(s.deployment)
	switch {
	case is > was:
		r.Events.Eventf(s.pool, s.deployment, corev1.EventTypeNormal, v1alpha1.EventScaledUp, "Scale", "from %d to %d workers", was, is)
	case is < was:
		r.Events.Eventf(s.pool, s.deployment, corev1.EventTypeNormal, v1alpha1.EventScaledDown, "Scale", "from %d to %d workers", was, is)
	default:
		r.Events.Eventf(s.pool, s.deployment, corev1.EventTypeNormal, v1alpha1.EventRolloutStarted, "Rollout",
			"the pod template changed: workers are replaced one after the other")
	}
}

func replicasOf(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// fingerprint tells renderings apart.
func fingerprint(d *appsv1ac.DeploymentApplyConfiguration) ([sha256.Size]byte, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encode the deployment: %w", err)
	}
	return sha256.Sum256(text), nil
}

func (r *Reconciler) rendered(uid types.UID) rendering {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied[uid]
}

func (r *Reconciler) remember(uid types.UID, a rendering) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied[uid] = a
}

func (r *Reconciler) forgetRendering(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.applied, uid)
}
