package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// resource is what the story reads of a subscription.
type resource struct {
	Status struct {
		SubscriptionID        string `json:"subscriptionID"`
		LastHandledRunRequest string `json:"lastHandledRunRequest"`
		LastRun               struct {
			ID      int64  `json:"id"`
			Outcome string `json:"outcome"`
		} `json:"lastRun"`
	} `json:"status"`
}

func (s *Story) readSubscription(ctx context.Context) (resource, error) {
	return lab.Get[resource](ctx, s.env, "integrationsubscription", subscription, "--namespace", namespace)
}

// attempt is one row of syncline.sync_run: one worker's part of a run.
type attempt struct {
	ID, Run, Token                                           int64
	Outcome                                                  string
	Chunks                                                   int32
	Found, Created, Updated, Deleted, Resurrected, Unchanged int64
	Error                                                    string
}

const selectAttempts = `
SELECT id, run_id, token, outcome, chunks, found, created, updated, deleted, resurrected, unchanged, coalesce(error, '')
FROM syncline.sync_run
WHERE subscription_id = $1 AND started_at > $2
ORDER BY id`

func scanAttempt(row pgx.CollectableRow) (attempt, error) {
	var a attempt
	err := row.Scan(&a.ID, &a.Run, &a.Token, &a.Outcome, &a.Chunks, &a.Found, &a.Created, &a.Updated, &a.Deleted, &a.Resurrected, &a.Unchanged, &a.Error)
	return a, err
}

func (a attempt) done() bool { return a.Outcome == "succeeded" || a.Outcome == "noChanges" }

// attempts are those that began after a moment of the database's clock, in order.
func (s *Story) attempts(ctx context.Context, after time.Time) ([]attempt, error) {
	rows, err := s.db.Query(ctx, selectAttempts, s.subscriptionID, after)
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	return pgx.CollectRows(rows, scanAttempt)
}

// outcome is what has been done since a moment, up to the last of the runs: the sum over the attempts that were not over then.
func (s *Story) outcome(ctx context.Context, since time.Time, last attempt) (attempt, error) {
	sum := last
	err := s.db.QueryRow(ctx, `
SELECT sum(found)::bigint, sum(created)::bigint, sum(updated)::bigint, sum(deleted)::bigint, sum(resurrected)::bigint, sum(unchanged)::bigint
FROM syncline.sync_run WHERE subscription_id = $1 AND finished_at > $2 AND id <= $3`, s.subscriptionID, since, last.ID).
		Scan(&sum.Found, &sum.Created, &sum.Updated, &sum.Deleted, &sum.Resurrected, &sum.Unchanged)
	if err != nil {
		return sum, fmt.Errorf("read what the runs did: %w", err)
	}
	return sum, nil
}

// now is the database's clock, which runs are dated by.
func (s *Story) now(ctx context.Context) (time.Time, error) {
	var t time.Time
	if err := s.db.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&t); err != nil {
		return t, fmt.Errorf("read the database's clock: %w", err)
	}
	return t, nil
}

// requestRun asks for a run as a user would, and returns the moment before.
func (s *Story) requestRun(ctx context.Context) (time.Time, error) {
	before, err := s.now(ctx)
	if err != nil {
		return before, err
	}
	_, err = s.env.Run(ctx, "kubectl", "annotate", "integrationsubscription", subscription, "--namespace", namespace, "--overwrite",
		"syncline.dev/run-requested-at="+before.UTC().Format(time.RFC3339Nano))
	return before, err
}

// sync asks for a run and waits for one that began after everything that the script did so far and read it all.
func (s *Story) sync(ctx context.Context) (attempt, error) {
	var last attempt
	err := s.console.During("ask for a run (kubectl annotate ... syncline.dev/run-requested-at) and wait for it", func() error {
		before, err := s.requestRun(ctx)
		if err != nil {
			return err
		}
		if last, err = s.awaitRun(ctx, before, time.Minute); err != nil {
			return err
		}
		return s.awaitShown(ctx, last)
	})
	return last, err
}

// awaitShown waits until the subscription's status tells of a run that has ended, which takes it a few seconds at most.
func (s *Story) awaitShown(ctx context.Context, a attempt) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("not shown after 30 s"))
	defer cancel()
	return lab.Await(ctx, fmt.Sprintf("run %d in the subscription's status", a.Run), 200*time.Millisecond, func() (bool, error) {
		sub, err := s.readSubscription(ctx)
		run := sub.Status.LastRun
		shown := run.ID > a.Run || run.ID == a.Run && (run.Outcome == "Succeeded" || run.Outcome == "NoChanges")
		return shown, errors.Join(err, fmt.Errorf("it shows run %d %s", run.ID, run.Outcome))
	})
}

// awaitRun waits for a run that began after a moment to read everything. A run that failed is an error at once.
func (s *Story) awaitRun(ctx context.Context, after time.Time, limit time.Duration) (attempt, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no run completed within %s", limit))
	defer cancel()
	var last attempt
	err := lab.Await(ctx, "a completed run", 100*time.Millisecond, func() (bool, error) {
		all, err := s.attempts(ctx, after)
		if err != nil || len(all) == 0 {
			return false, errors.Join(err, errors.New("none has started"))
		}
		last = all[len(all)-1]
		if last.Outcome == "failed" {
			return false, &lab.FatalError{Err: fmt.Errorf("run %d failed: %s", last.Run, last.Error)}
		}
		return last.done(), fmt.Errorf("run %d is %s after %d chunks", last.Run, last.Outcome, last.Chunks)
	})
	return last, err
}

// lastEvent is the newest change event, so that a step can show what came after it.
func (s *Story) lastEvent(ctx context.Context) (int64, error) {
	return s.count(ctx, `SELECT coalesce(max(seq), 0) FROM syncline.outbox`)
}

// showEvents shows the change events after one.
func (s *Story) showEvents(ctx context.Context, after int64) error {
	return s.query(ctx, fmt.Sprintf(`SELECT seq, type, payload->>'externalId' AS ticket, version,
  payload->'changedFields' AS changed_fields, payload->'resurrected' AS resurrected
FROM syncline.outbox WHERE seq > %d ORDER BY seq`, after))
}

// expectChanges holds the figures of a change against the script, which makes no record after the first sync.
func (s *Story) expectChanges(a attempt, updated, deleted, resurrected int64) error {
	got := [4]int64{a.Created, a.Updated, a.Deleted, a.Resurrected}
	want := [4]int64{0, updated, deleted, resurrected}
	if got != want {
		return fmt.Errorf("the runs up to %d created, updated, deleted, resurrected %v, want %v", a.Run, got, want)
	}
	return nil
}
