package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// The records that are edited for the killed run, and how many pages must be committed before the kill.
const (
	firstBulk    = 1000
	bulk         = 2000
	chunksBefore = 3
)

// takeover is what became of the killed run.
type takeover struct {
	run int64
	// edited are the external ids that the run had to update.
	edited map[string]bool
	// applied is the number of records that were committed before the kill.
	applied int64
}

func (s *Story) kill(ctx context.Context) error {
	if err := s.slowDown(ctx); err != nil {
		return err
	}
	if err := s.editInBulk(ctx); err != nil {
		return err
	}
	workers, err := s.workers(ctx)
	if err != nil {
		return err
	}
	before, err := s.requestRun(ctx)
	if err != nil {
		return err
	}
	var running attempt
	err = s.console.During(fmt.Sprintf("wait until a worker has committed %d pages", chunksBefore), func() (err error) {
		running, err = s.awaitMiddle(ctx, before)
		return err
	})
	if err != nil {
		return err
	}
	pod, err := s.holder(ctx, running.Run)
	if err != nil {
		return err
	}
	if err := s.killWorker(pod, workers[pod]); err != nil {
		return err
	}
	if s.killed.applied, err = s.appliedBy(ctx, running.ID); err != nil {
		return err
	}
	if err := s.showAttempts(ctx, running.Run); err != nil {
		return err
	}
	err = s.console.During("wait until the lease is over and another worker has finished the run", func() error {
		last, err := s.awaitRun(ctx, before, 90*time.Second)
		if err == nil && last.Run != running.Run {
			return fmt.Errorf("run %d completed, want run %d, the killed one, to go on", last.Run, running.Run)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.killed.run = running.Run
	if err := s.showAttempts(ctx, running.Run); err != nil {
		return err
	}
	if err := s.console.During("wait until the pod has another container", func() error { return s.awaitReplaced(ctx, workers[pod]) }); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "pods", "--namespace", namespace); err != nil {
		return err
	}
	return s.speedUp(ctx)
}

// slowDown makes the next run long enough to be hit in its middle, and the lease short enough to watch: both by what a
// user can set on running workers. The schedule pauses, so that the run is this one.
func (s *Story) slowDown(ctx context.Context) error {
	s.console.Say("To hit a run in its middle its connection is limited to 2 requests a second; to see the takeover soon the lease is")
	s.console.Say("set to 10 s. Both reach the running workers without a restart. The schedule pauses, so that only one run is due.")
	for _, p := range [][3]string{
		{"integrationconnection", connection, `{"spec":{"http":{"rateLimit":{"requestsPerSecond":2,"burst":1}}}}`},
		{"jobpool", pool, `{"spec":{"lease":{"staleThresholdSeconds":10,"sweepPeriodSeconds":2}}}`},
		{"integrationsubscription", subscription, `{"spec":{"suspend":true}}`},
	} {
		if err := s.patch(ctx, p[0], p[1], p[2]); err != nil {
			return err
		}
	}
	return s.console.During("wait until all of it is in force", func() error { return s.awaitInForce(ctx) })
}

func (s *Story) patch(ctx context.Context, kind, name, change string) error {
	return s.kubectl(ctx, "patch", kind, name, "--namespace", namespace, "--type=merge", "--patch", change)
}

// speedUp applies the samples again, which takes back what slowDown set.
func (s *Story) speedUp(ctx context.Context) error {
	s.console.Say("The samples once more, and the schedule goes on: everything as it was.")
	if err := s.kubectl(ctx, "apply", "--namespace", namespace, "-k", s.overlayDir()); err != nil {
		return err
	}
	return s.patch(ctx, "integrationsubscription", subscription, `{"spec":{"suspend":false}}`)
}

// inForce is true when the rows say what the patches said, every worker of the pool runs the pool's newest tuning, and the
// schedule's last run is over.
const inForce = `SELECT c.spec->>'milliRequestsPerSecond' = '2000' AND s.suspended AND w.workers > 0 AND w.current
  AND NOT EXISTS (SELECT FROM syncline.run WHERE job_type = 'integration.sync' AND status IN ('pending', 'running'))
FROM (SELECT spec->'http' AS spec FROM syncline.connection WHERE provider = 'pocketbase') AS c,
  (SELECT suspended FROM syncline.subscription WHERE id = $1) AS s,
  (SELECT count(*) AS workers, bool_and(w.tuning_generation = p.tuning_generation AND (p.tuning->>'leaseMillis')::bigint = 10000) AS current
   FROM syncline.worker AS w JOIN syncline.pool AS p ON p.name = w.pool) AS w`

func (s *Story) awaitInForce(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 40*time.Second, errors.New("not in force after 40 s"))
	defer cancel()
	return lab.Await(ctx, "tuning", 100*time.Millisecond, func() (ok bool, err error) {
		err = s.db.QueryRow(ctx, inForce, s.subscriptionID).Scan(&ok)
		return ok, err
	})
}

func (s *Story) editInBulk(ctx context.Context) error {
	writes := make([]lab.Write, bulk)
	for i := range writes {
		writes[i] = s.write(firstBulk+i, map[string]any{"priority": 7, "state": "waiting"})
	}
	var records []lab.Record
	err := s.console.During(fmt.Sprintf("edit %d tickets at the provider", bulk), func() (err error) {
		records, err = s.source.Apply(ctx, collection, writes)
		return err
	})
	if err != nil {
		return err
	}
	s.ledger.wrote(Updated, records...)
	s.killed.edited = make(map[string]bool, len(records))
	for _, r := range records {
		s.killed.edited[r.ID()] = true
	}
	return nil
}

// awaitMiddle waits for a run that has committed some of its pages and is still going.
func (s *Story) awaitMiddle(ctx context.Context, after time.Time) (attempt, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 40*time.Second, errors.New("no run came that far within 40 s"))
	defer cancel()
	var found attempt
	err := lab.Await(ctx, "a run in its middle", 50*time.Millisecond, func() (bool, error) {
		all, err := s.attempts(ctx, after)
		if err != nil || len(all) == 0 {
			return false, err
		}
		found = all[len(all)-1]
		if found.Outcome != "running" {
			return false, &lab.FatalError{Err: fmt.Errorf("run %d is %s already (%s): too quick to be killed", found.Run, found.Outcome, found.Error)}
		}
		return found.Chunks >= chunksBefore, nil
	})
	return found, err
}

const selectHolder = `
SELECT w.pod FROM syncline.run AS r JOIN syncline.worker AS w ON w.id = r.claimed_by
WHERE r.id = $1 AND r.status = 'running'`

// holder is the pod whose worker holds a run.
func (s *Story) holder(ctx context.Context, run int64) (string, error) {
	var pod string
	err := s.db.QueryRow(ctx, selectHolder, run).Scan(&pod)
	if err != nil {
		return "", fmt.Errorf("find the worker of run %d: %w", run, err)
	}
	return pod, nil
}

// podShape is what the story reads of a pod.
type podShape struct {
	Status struct {
		ContainerStatuses []struct {
			Name        string `json:"name"`
			ContainerID string `json:"containerID"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

// workerShape is a worker as the node knows it.
type workerShape struct {
	container string
	pid       int
}

// workers are the pool's workers by their pods. They are looked up before there is a run to be hit in its middle, which does
// not wait for the answers.
func (s *Story) workers(ctx context.Context) (map[string]workerShape, error) {
	list, err := lab.Get[pods](ctx, s.env, "pods", "--namespace", namespace, "--selector", "syncline.dev/pool="+pool)
	if err != nil {
		return nil, err
	}
	workers := map[string]workerShape{}
	for _, p := range list.Items {
		for _, c := range p.Status.ContainerStatuses {
			if c.Name != "worker" {
				continue
			}
			pid, err := s.process(ctx, strings.TrimPrefix(c.ContainerID, "containerd://"))
			if err != nil {
				return nil, err
			}
			workers[p.Metadata.Name] = workerShape{c.ContainerID, pid}
		}
	}
	return workers, nil
}

// killWorker ends the pod's worker process with SIGKILL, from the node: no signal handler runs, no lease is given back.
func (s *Story) killWorker(pod string, w workerShape) error {
	if w.pid == 0 {
		return fmt.Errorf("pod %s had no container named worker", pod)
	}
	s.console.Say("$ kill -KILL %d   # the worker process of pod %s", w.pid, pod)
	if err := syscall.Kill(w.pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d of pod %s: %w", w.pid, pod, err)
	}
	return nil
}

// awaitReplaced waits until the cluster shows another container where the killed one was: later chapters want containers
// to stay as they are.
func (s *Story) awaitReplaced(ctx context.Context, killed workerShape) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not restarted after a minute"))
	defer cancel()
	return lab.Await(ctx, "the killed worker's container", 200*time.Millisecond, func() (bool, error) {
		ids, err := s.containers(ctx, pool)
		return len(ids) == 2 && !slices.Contains(ids, killed.container), err
	})
}

// process is a container's first process, by containerd's own list: lines of TASK, PID, STATUS.
func (s *Story) process(ctx context.Context, container string) (int, error) {
	out, err := s.env.Run(ctx, "ctr", "--namespace", "k8s.io", "tasks", "list")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != container {
			continue
		}
		pid, err := strconv.Atoi(f[1])
		if err != nil || pid <= 1 || pid == os.Getpid() {
			return 0, fmt.Errorf("containerd lists container %s with process %q", container, f[1])
		}
		return pid, nil
	}
	return 0, fmt.Errorf("containerd lists no process of container %s", container)
}

// appliedBy counts the records that one attempt has committed.
func (s *Story) appliedBy(ctx context.Context, attempt int64) (int64, error) {
	return s.count(ctx, `SELECT count(*) FROM syncline.sync_item WHERE sync_run_id = $1`, attempt)
}

// attemptsOfRun lists who held a run: attempts that did not succeed keep their worker in syncline.attempt, the last one in
// syncline.run.
const attemptsOfRun = `SELECT r.run_id AS run, r.token AS claim, coalesce(a.pod, w.pod) AS worker, r.outcome, r.chunks AS pages, r.updated, r.unchanged
FROM syncline.sync_run AS r
LEFT JOIN syncline.attempt AS a ON a.run = r.run_id AND a.number = r.token
LEFT JOIN syncline.run AS j ON j.id = r.run_id AND j.claim_token = r.token
LEFT JOIN syncline.worker AS w ON w.id = j.claimed_by
WHERE r.run_id = %d ORDER BY r.token`

func (s *Story) showAttempts(ctx context.Context, run int64) error {
	return s.query(ctx, fmt.Sprintf(attemptsOfRun, run))
}
