// Package schedule says when subscriptions run, and starts their runs.
//
// The slots of a schedule are pure (slots.go); Tick asks the database which subscriptions are due and starts their runs in
// the same transaction (tick.go). Workers call Tick for their pool; the control plane calls it for pools without workers.
package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// tickBatch is how many subscriptions one transaction of a tick handles.
const tickBatch = 200

const (
	// dueSQL locks what a tick has to look at. Subscriptions that a run or another tick holds are met next time. A run
	// that is pending, be it for its first attempt or for a retry, answers whatever is wanted now.
	dueSQL = `
SELECT s.id::text, COALESCE(s.spec->'schedule', 'null'), s.spec_generation, s.schedule_generation IS DISTINCT FROM s.spec_generation,
       COALESCE(s.schedule_in_force, 'null'), s.next_run_at, s.suspended, s.last_attempt_at IS NULL,
       CASE WHEN s.run_requested IS DISTINCT FROM s.run_handled THEN s.run_requested END,
       EXISTS (SELECT FROM run r WHERE r.id IN (s.pending_run, s.active_run) AND r.status = 'pending'), clock_timestamp()
FROM subscription s
WHERE s.pool = $1 AND s.retired_at IS NULL
  AND ((s.run_requested IS NOT NULL AND s.run_requested IS DISTINCT FROM s.run_handled)
    OR s.schedule_generation IS DISTINCT FROM s.spec_generation
    OR (NOT s.suspended AND s.next_run_at <= clock_timestamp()))
ORDER BY s.id
LIMIT $2
FOR NO KEY UPDATE OF s SKIP LOCKED`

	// startSQL starts what is wanted and writes when to look again, in one statement.
	startSQL = `
WITH due AS (
  SELECT * FROM unnest($2::text[], $3::bool[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[], $8::text[], $9::text[])
    AS d (id, wanted, action, ref, next_run_at, generation, in_force, handled)),
started AS MATERIALIZED (
  SELECT d.id, r.run
  FROM due d
  CROSS JOIN LATERAL start($10,
    jsonb_build_object('subscription', d.id, 'action', d.action),
    jsonb_build_object('pool', $1::text, 'lane', 'integration/' || d.id, 'scope', 'integration/' || d.id,
                       'trigger_source', d.action, 'trigger_ref', d.ref)) AS r
  WHERE d.wanted)
UPDATE subscription s
SET next_run_at = d.next_run_at, schedule_generation = d.generation, schedule_in_force = d.in_force::jsonb,
    run_handled = COALESCE(d.handled, s.run_handled), pending_run = COALESCE(started.run, s.pending_run)
FROM due d
LEFT JOIN started ON started.id = d.id
WHERE s.id = d.id::uuid`
)

// Tick starts the runs of a pool's subscriptions that are due or asked for, and says how many. At most one run of a
// subscription waits: further slots and requests are answered by it. Missed slots collapse into one run. Any number of
// processes may call it at the same time. An error about one subscription does not keep the others from their runs.
func Tick(ctx context.Context, db *pgxpool.Pool, pool string) (started int, err error) {
	var problems []error
	for {
		n, full, found, err := tickOnce(ctx, db, pool)
		problems = append(problems, found...)
		started += n
		if err != nil {
			return started, fmt.Errorf("start due runs of pool %q: %w", pool, err)
		}
		if !full {
			return started, errors.Join(problems...)
		}
	}
}

func tickOnce(ctx context.Context, db *pgxpool.Pool, pool string) (started int, full bool, problems []error, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, dueSQL, pool, tickBatch)
		if err != nil {
			return err
		}
		due, err := pgx.CollectRows(rows, scanDue)
		if err != nil || len(due) == 0 {
			return err
		}
		full = len(due) == tickBatch
		var p plans
		for _, s := range due {
			plan, err := s.plan()
			if err != nil {
				problems = append(problems, fmt.Errorf("schedule of subscription %s: %w", s.id, err))
			}
			p.add(s, plan)
			if plan.start {
				started++
			}
		}
		_, err = tx.Exec(ctx, startSQL, pool, p.ids, p.wanted, p.actions, p.refs, p.next, p.generations, p.inForce, p.handled, jobs.SyncType)
		return err
	})
	if err != nil {
		started = 0
	}
	return started, full, problems, err
}

// subscription is what a tick knows of one subscription.
type subscription struct {
	id         uuid.UUID
	schedule   *spec.Schedule
	generation int64
	// changed says that the spec is newer than the one next was checked against, inForce what next was computed from.
	changed bool
	inForce *spec.Schedule
	next    *time.Time
	// suspended stops the schedule, not requests.
	suspended bool
	// untried says that no run was ever attempted.
	untried bool
	// requested is the token of a request that was not answered yet.
	requested *string
	// pending says that a run waits already.
	pending bool
	now     time.Time
}

func scanDue(row pgx.CollectableRow) (subscription, error) {
	var s subscription
	var id string
	var current, inForce []byte
	err := row.Scan(&id, &current, &s.generation, &s.changed, &inForce, &s.next, &s.suspended, &s.untried, &s.requested, &s.pending, &s.now)
	if err != nil {
		return s, err
	}
	if s.id, err = uuid.Parse(id); err != nil {
		return s, err
	}
	return s, errors.Join(json.Unmarshal(current, &s.schedule), json.Unmarshal(inForce, &s.inForce))
}

// plan is what a tick does about one subscription.
type plan struct {
	start  bool
	action string
	ref    string
	next   *time.Time
}

// plan decides. A schedule that reads as nothing runnable leaves the subscription without a next slot, and says so.
func (s subscription) plan() (plan, error) {
	p := plan{next: s.next}
	var err error
	if s.changed && !s.overdue() {
		p.next, err = s.first()
	}
	due := !s.suspended && p.next != nil && !p.next.After(s.now)
	if due {
		p.action, p.ref = "schedule", p.next.UTC().Format(time.RFC3339Nano)
		p.next, err = s.following()
	}
	if s.requested != nil {
		p.action, p.ref = "manual", *s.requested
	}
	p.start = (due || s.requested != nil) && !s.pending
	return p, err
}

func (s subscription) overdue() bool { return s.next != nil && !s.next.After(s.now) }

// first gives the slot after the spec changed: the one at hand when the schedule is the same, at once for a period that
// never ran, the next one otherwise.
func (s subscription) first() (*time.Time, error) {
	switch {
	case s.schedule == nil && s.inForce == nil:
		return s.next, nil
	case s.schedule != nil && s.inForce != nil && *s.schedule == *s.inForce && s.next != nil:
		return s.next, nil
	case s.schedule != nil && s.untried && s.schedule.PeriodSeconds > 0 && Validate(*s.schedule) == nil:
		return &s.now, nil
	}
	return s.following()
}

func (s subscription) following() (*time.Time, error) {
	if s.schedule == nil {
		return nil, nil
	}
	next, err := Next(*s.schedule, s.id, s.now)
	if err != nil {
		return nil, err
	}
	return &next, nil
}

// plans are the arrays that one statement takes.
type plans struct {
	ids, actions, refs, inForce []string
	wanted                      []bool
	next                        []*time.Time
	generations                 []int64
	handled                     []*string
}

func (p *plans) add(s subscription, d plan) {
	inForce, _ := json.Marshal(s.schedule)
	p.ids = append(p.ids, s.id.String())
	p.wanted = append(p.wanted, d.start)
	p.actions = append(p.actions, d.action)
	p.refs = append(p.refs, d.ref)
	p.next = append(p.next, d.next)
	p.generations = append(p.generations, s.generation)
	p.inForce = append(p.inForce, string(inForce))
	p.handled = append(p.handled, s.requested)
}
