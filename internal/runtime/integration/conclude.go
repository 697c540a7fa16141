package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// conclude closes an attempt that did not close itself, and turns its ending into what the queue makes of the run. The
// context may have ended; the fence still holds, so nothing is written for a claim that is lost.
func (r *run) conclude(ctx context.Context, end ending) (json.RawMessage, error) {
	r.log.Warn("sync ended early", "outcome", end.outcome, "code", end.code, "error", r.message(end))
	r.outcome = end.outcome
	if end.settle == giveBack {
		return nil, jobs.GiveBack(errors.New(r.message(end)))
	}
	if end.code != codeLeaseLost {
		if err := r.record(ctx, end); err != nil {
			r.log.Warn("attempt not closed", "error", err)
			// What could not be written is not claimed: the run goes on with its next attempt.
			if end.settle == complete {
				return nil, err
			}
		}
	}
	switch end.settle {
	case complete:
		return r.output(), nil
	case permanent:
		return nil, jobs.Permanent(end.code, errors.New(r.message(end)))
	case retry:
		return nil, errors.New(r.message(end))
	default:
		return nil, end.err
	}
}

// record writes the ending in a transaction of its own.
func (r *run) record(ctx context.Context, end ending) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), concludeTimeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, r.handler.cfg.DB, func(tx pgx.Tx) error {
		if err := jobs.Fence(ctx, tx, r.claim); err != nil {
			return err
		}
		return r.close(ctx, tx, end, r.progress)
	})
	if err != nil {
		return fmt.Errorf("close the attempt: %w", err)
	}
	return nil
}

// close writes an attempt's end and, when the run ends well, the run's, in the caller's fenced transaction.
func (r *run) close(ctx context.Context, tx pgx.Tx, end ending, p progress) error {
	id, err := r.writeOutcome(ctx, tx, end)
	if err != nil {
		return fmt.Errorf("write the outcome: %w", err)
	}
	var again *float64
	if end.again != nil {
		again = new(end.again.Seconds())
	}
	over := end.settle == complete || end.settle == permanent
	_, err = tx.Exec(ctx, rememberSQL, r.input.Subscription.String(), id, end.outcome == failed, end.drained && !p.held,
		end.clearCursor, again, over, r.claim.RunID)
	if err != nil {
		return fmt.Errorf("remember the outcome: %w", err)
	}
	if end.settle != complete {
		return nil
	}
	return jobs.Complete(ctx, tx, r.claim, outputOf(end.outcome, p.counts))
}

// writeOutcome closes the attempt's row, or writes it when the transaction that would have opened it was rolled back,
// with what that one closed.
func (r *run) writeOutcome(ctx context.Context, tx pgx.Tx, end ending) (int64, error) {
	var code, message *string
	if end.err != nil {
		code, message = &end.code, new(r.message(end))
	}
	if r.syncRun != 0 {
		_, err := tx.Exec(ctx, concludeSQL, r.syncRun, string(end.outcome), code, message, end.clearCursor)
		return r.syncRun, err
	}
	c := r.claim
	subscription := r.input.Subscription.String()
	if _, err := tx.Exec(ctx, abandonSQL, subscription, c.RunID, c.Token); err != nil {
		return 0, err
	}
	var id int64
	err := tx.QueryRow(ctx, stillbornSQL, subscription, c.RunID, c.Token, c.Attempt, r.input.Action, r.generation,
		string(end.outcome), code, message).Scan(&id)
	return id, err
}

// message is the ending's error without anything secret.
func (r *run) message(end ending) string {
	if end.err == nil {
		return ""
	}
	return presentable(end.err.Error(), r.credential)
}

// output is what the queue keeps of a run that ended well.
func (r *run) output() json.RawMessage { return outputOf(r.outcome, r.counts) }

func outputOf(o outcome, c counts) json.RawMessage {
	data, _ := json.Marshal(map[string]any{
		"outcome": o, "found": c.found(), "created": c.created, "updated": c.updated, "deleted": c.deleted, "resurrected": c.resurrected,
		"unchanged": c.unchanged, "stale": c.stale, "filtered": c.filtered, "quarantined": c.quarantined,
	})
	return data
}
