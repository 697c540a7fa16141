package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// tuned is what a change of tuning is followed by.
type tuned struct {
	Metadata struct {
		Generation int64 `json:"generation"`
	} `json:"metadata"`
	Status struct {
		Tuning struct {
			ObservedGeneration     int64 `json:"observedGeneration"`
			WorkersCurrent         int   `json:"workersCurrent"`
			HeartbeatPeriodSeconds int   `json:"heartbeatPeriodSeconds"`
		} `json:"tuning"`
	} `json:"status"`
}

// inForce reports whether the newest spec runs in every worker, as the status says it.
func (t tuned) inForce(workers int) bool {
	return t.Status.Tuning.ObservedGeneration == t.Metadata.Generation && t.Status.Tuning.WorkersCurrent == workers
}

// retune edits what running workers apply, and wants it in force and shown without any container being replaced.
func (s *Story) retune(ctx context.Context) error {
	return s.keepContainers(ctx, pool, func() error {
		return s.tune(ctx, pool, 2, "merge", `{"spec":{"concurrency":7}}`)
	})
}

// tune patches a pool and waits until its status shows the new spec in force in all of its workers, for two heartbeats.
func (s *Story) tune(ctx context.Context, pool string, workers int, kind, change string) error {
	if err := s.kubectl(ctx, "patch", "jobpool", pool, "--namespace", namespace, "--type="+kind, "--patch", change); err != nil {
		return err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not in force after a minute"))
	defer cancel()
	var t tuned
	err := lab.Await(ctx, "tuning", 100*time.Millisecond, func() (ok bool, err error) {
		t, err = lab.Get[tuned](ctx, s.env, "jobpool", pool, "--namespace", namespace)
		return t.inForce(workers), err
	})
	if err != nil {
		return err
	}
	took, limit := time.Since(began), 2*time.Duration(t.Status.Tuning.HeartbeatPeriodSeconds)*time.Second
	s.console.Say("In force and shown %.1f s after the edit.", took.Seconds())
	if took > limit {
		return fmt.Errorf("in force after %s, want two heartbeats (%s) at most", took, limit)
	}
	return nil
}

// keepContainers does something to a pool and wants its containers to be the same afterwards.
func (s *Story) keepContainers(ctx context.Context, pool string, do func() error) error {
	before, err := s.containers(ctx, pool)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	after, err := s.containers(ctx, pool)
	if err != nil {
		return err
	}
	if len(before) == 0 || !slices.Equal(before, after) {
		return fmt.Errorf("containers %v became %v: an edit of the tuning replaced workers", before, after)
	}
	return nil
}

// containers are the ids of a pool's containers, in order.
func (s *Story) containers(ctx context.Context, pool string) ([]string, error) {
	list, err := lab.Get[pods](ctx, s.env, "pods", "--namespace", namespace, "--selector", "syncline.dev/pool="+pool)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, p := range list.Items {
		for _, c := range p.Status.ContainerStatuses {
			ids = append(ids, c.ContainerID)
		}
	}
	slices.Sort(ids)
	return ids, nil
}
