package reads

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// getSQL finds everything by primary keys; receipts are not looked at.
const getSQL = `
SELECT ` + columns + `,
  CASE WHEN EXISTS (SELECT FROM ready x WHERE x.id = r.id) THEN 'ready'
       WHEN EXISTS (SELECT FROM scheduled x WHERE x.id = r.id) THEN 'scheduled'
       WHEN EXISTS (SELECT FROM blocked x WHERE x.id = r.id) THEN 'blocked'
       WHEN w.kind = 'closing' THEN 'closing'
       WHEN w.id IS NOT NULL THEN 'waiting'
       ELSE '' END,
  coalesce(w.signal, ''), r.input, r.output, p.value, p.updated_at, coalesce(k.pod, ''),
  c.id IS NOT NULL, coalesce(c.requested_by, ''), coalesce(c.reason, '')
FROM run r
LEFT JOIN waiting w ON w.id = r.id
LEFT JOIN progress p ON p.run = r.id
LEFT JOIN worker k ON k.id = r.claimed_by AND r.status = 'running'
LEFT JOIN LATERAL (
  SELECT q.id, q.requested_by, q.reason
  FROM cancel_request q
  WHERE q.run = r.id AND q.replay = r.replays
  ORDER BY q.id
  LIMIT 1) c ON true
WHERE r.id = $1 AND ($2 OR coalesce(r.tenant, '') = $3)`

// Get reads one run. ErrNotFound when there is none of that tenant.
func Get(ctx context.Context, q Querier, tenant Tenant, id int64) (Detail, error) {
	rows, err := q.Query(ctx, getSQL, id, tenant.any, tenant.name)
	if err != nil {
		return Detail{}, fmt.Errorf("read run %d: %w", id, err)
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDetail)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, fmt.Errorf("read run %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return d, fmt.Errorf("read run %d: %w", id, err)
	}
	return d, nil
}

func scanDetail(row pgx.CollectableRow) (Detail, error) {
	var d Detail
	var input, output, progress []byte
	var progressAt *time.Time
	targets, done := d.targets()
	err := row.Scan(append(targets, &d.Place, &d.WaitsFor, &input, &output, &progress, &progressAt, &d.Pod,
		&d.CancelRequested, &d.CancelBy, &d.CancelReason)...)
	done()
	d.Input, d.Output, d.Progress, d.ProgressAt = input, output, progress, value(progressAt)
	return d, err
}

// Step is one memoised step of a run's life.
type Step struct {
	Name string
	// Replay is the life it belongs to, 0 for the first.
	Replay int
	// Seq is the order of first executions in that life, from 1.
	Seq int
	// Status is running, completed or failed.
	Status    string
	Attempts  int
	Output    json.RawMessage
	ErrorCode string
	Error     string
	// Build is that of the worker that wrote it.
	Build      string
	StartedAt  time.Time
	FinishedAt time.Time
}

// stepsSQL uses the unique index (run, replay, seq).
const stepsSQL = `
SELECT s.name, s.replay, s.seq, s.status, s.attempts, s.output, coalesce(s.error_code, ''), coalesce(s.error, ''), s.build,
  s.started_at, s.finished_at
FROM step s
JOIN run r ON r.id = s.run
WHERE s.run = $1 AND ($2 OR coalesce(r.tenant, '') = $3)
ORDER BY s.replay, s.seq`

// Steps reads the steps of all lives of a run, in order. A run of another tenant has none.
func Steps(ctx context.Context, q Querier, tenant Tenant, run int64) ([]Step, error) {
	return collect(ctx, q, fmt.Sprintf("read steps of run %d", run), func(row pgx.CollectableRow) (Step, error) {
		var s Step
		var output []byte
		var finished *time.Time
		err := row.Scan(&s.Name, &s.Replay, &s.Seq, &s.Status, &s.Attempts, &output, &s.ErrorCode, &s.Error, &s.Build,
			&s.StartedAt, &finished)
		s.Output, s.FinishedAt = output, value(finished)
		return s, err
	}, stepsSQL, run, tenant.any, tenant.name)
}

// Attempt is a claim of a run that did not complete it, or the end of a life that a replay put away.
type Attempt struct {
	// Number is the claim's token; below zero for a life that ended without a claim.
	Number int64
	// Replay is the life it belongs to, 0 for the first.
	Replay int
	// Worker and Pod are the incarnation that held the claim.
	Worker int64
	Pod    string
	// Outcome is retried, failed, timed_out, cancelled, snoozed, parked, given_back or lost; completed for a life put away.
	Outcome    string
	Output     json.RawMessage
	ErrorCode  string
	Error      string
	StartedAt  time.Time
	FinishedAt time.Time
}

// attemptsSQL uses the primary key of attempt.
const attemptsSQL = `
SELECT a.number, a.replay, a.worker, a.pod, a.outcome, a.output, coalesce(a.error_code, ''), coalesce(a.error, ''), a.started_at, a.finished_at
FROM attempt a
JOIN run r ON r.id = a.run
WHERE a.run = $1 AND ($2 OR coalesce(r.tenant, '') = $3)
ORDER BY a.replay, a.finished_at, a.number`

// Attempts reads the history of a run, oldest first. The claim that completed it is the run itself.
func Attempts(ctx context.Context, q Querier, tenant Tenant, run int64) ([]Attempt, error) {
	return collect(ctx, q, fmt.Sprintf("read attempts of run %d", run), func(row pgx.CollectableRow) (Attempt, error) {
		var a Attempt
		var output []byte
		err := row.Scan(&a.Number, &a.Replay, &a.Worker, &a.Pod, &a.Outcome, &output, &a.ErrorCode, &a.Error, &a.StartedAt, &a.FinishedAt)
		a.Output = output
		return a, err
	}, attemptsSQL, run, tenant.any, tenant.name)
}

func collect[T any](ctx context.Context, q Querier, what string, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return list, nil
}
