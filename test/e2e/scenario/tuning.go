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
			ObservedGeneration int64 `json:"observedGeneration"`
			WorkersCurrent     int   `json:"workersCurrent"`
		} `json:"tuning"`
	} `json:"status"`
}

// inForce reports whether the newest spec runs in every worker, as the status says it.
func (t tuned) inForce() bool {
	return t.Status.Tuning.ObservedGeneration == t.Metadata.Generation && t.Status.Tuning.WorkersCurrent == 2
}

// retune edits what running workers apply, and wants it in force and shown without any container being replaced.
func (s *Story) retune(ctx context.Context) error {
	before, err := s.containers(ctx)
	if err != nil {
		return err
	}
	if err := s.patch(ctx, "jobpool", pool, `{"spec":{"concurrency":7}}`); err != nil {
		return err
	}
	began := time.Now()
	if err := s.console.During("wait until status.tuning shows it in both workers", func() error { return s.awaitTuned(ctx) }); err != nil {
		return err
	}
	s.console.Say("In force and shown %.1f s after the edit.", time.Since(began).Seconds())
	after, err := s.containers(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(before, after) {
		return fmt.Errorf("containers %v became %v: an edit of the tuning replaced workers", before, after)
	}
	return nil
}

func (s *Story) awaitTuned(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 40*time.Second, errors.New("not in force after 40 s"))
	defer cancel()
	return lab.Await(ctx, "tuning", 100*time.Millisecond, func() (bool, error) {
		t, err := lab.Get[tuned](ctx, s.env, "jobpool", pool, "--namespace", namespace)
		return t.inForce(), err
	})
}

// containers are the ids of the pool's containers, in order.
func (s *Story) containers(ctx context.Context) ([]string, error) {
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
