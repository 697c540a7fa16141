//go:build chaos

package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
)

// Rules that a worker of these tests can be told to break. Its code is the real one; what it believes of the queue is not.
const (
	ownClock         = "own clock"
	revivesIDs       = "revives ids"
	neverFences      = "never fences"
	neverReconciles  = "never reconciles"
	handsOutEarly    = "hands out early"
	claimsMeanwhile  = "reconciles during a claim"
	leavesEarly      = "leaves early"
	givesBackRunning = "gives back running"
	guesses          = "guesses"
)

// broken is a queue that makes its worker break a rule.
type broken struct {
	worker.Store
	settings
	db *pgxpool.Pool

	mu   sync.Mutex
	held map[jobs.Held]*jobs.Claim
}

// breaking is the queue of a worker that breaks the rule of its settings, if any.
func breaking(s settings, store worker.Store) worker.Store {
	if s.Broken == "" {
		return store
	}
	return &broken{Store: store, settings: s, db: s.aside(), held: map[jobs.Held]*jobs.Claim{}}
}

func (b *broken) Beat(ctx context.Context, conn *pgx.Conn, inc *jobs.Incarnation, p jobs.BeatParams) (jobs.BeatResult, error) {
	r, err := b.Store.Beat(ctx, conn, inc, p)
	if err != nil {
		return jobs.BeatResult{Confirmed: b.Broken == neverFences}, b.unlessFearless(err)
	}
	switch {
	case b.Broken == neverReconciles:
		r.NeedsReconcile = false
	case b.Broken == ownClock:
		_, err = conn.Exec(ctx, "UPDATE worker SET expires_at = $2 WHERE id = $1", inc.ID, time.Now().Add(p.Lease))
	case b.Broken == revivesIDs && r.Gone:
		return jobs.BeatResult{Confirmed: true}, b.revive(ctx, conn, inc, p)
	case b.Broken == leavesEarly && p.Draining:
		_, err = conn.Exec(ctx, "DELETE FROM worker WHERE id = $1", inc.ID)
		return jobs.BeatResult{Confirmed: true}, err
	case b.Broken == givesBackRunning && p.Draining:
		_, err = b.GiveBack(ctx, inc, b.all()...)
	}
	return r, err
}

// unlessFearless hides that a renewal failed from a worker that does not fence itself.
func (b *broken) unlessFearless(err error) error {
	if b.Broken == neverFences {
		return nil
	}
	return err
}

// revive inserts the row of an incarnation that is gone.
func (b *broken) revive(ctx context.Context, conn *pgx.Conn, inc *jobs.Incarnation, p jobs.BeatParams) error {
	const again = `
INSERT INTO worker (id, pool, pod, types, lease_millis, heartbeat_millis, expires_at, started_at, beat)
OVERRIDING SYSTEM VALUE
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + $5::bigint * interval '1 millisecond', clock_timestamp(), $7)`
	_, err := conn.Exec(ctx, again, inc.ID, inc.Pool, b.Name, b.Types, p.Lease.Milliseconds(), p.Heartbeat.Milliseconds(), p.Number)
	return err
}

func (b *broken) Claim(ctx context.Context, inc *jobs.Incarnation, slots int) ([]*jobs.Claim, time.Duration, error) {
	if b.Broken == handsOutEarly {
		claims, err := b.claimUncommitted(ctx, inc, slots)
		return claims, 0, err
	}
	b.mu.Lock()
	before := slices.Collect(maps.Keys(b.held))
	b.mu.Unlock()
	claims, again, err := b.Store.Claim(ctx, inc, slots)
	if b.Broken == claimsMeanwhile && err == nil {
		_, err = b.Store.Reconcile(ctx, inc, before) // as one whose list was made while the claim was on its way
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range claims {
		b.held[jobs.Held{RunID: c.RunID, Token: c.Token}] = c
	}
	return claims, again, err
}

// claimUncommitted hands claims out whose transaction is committed later.
func (b *broken) claimUncommitted(ctx context.Context, inc *jobs.Incarnation, slots int) ([]*jobs.Claim, error) {
	tx, err := b.db.Begin(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	time.AfterFunc(300*time.Millisecond, func() { _ = tx.Commit(context.Background()) })
	rows, err := tx.Query(ctx, "SELECT run, token, job_type, input, attempts + 1 FROM claim($1, $2, $3, $4) WHERE run > 0", inc.ID, inc.Pool, b.Types, slots)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (*jobs.Claim, error) {
		c := &jobs.Claim{Worker: inc.ID, Pool: inc.Pool}
		var input []byte
		err := r.Scan(&c.RunID, &c.Token, &c.Type, &input, &c.Attempt)
		c.Input = input
		return c, err
	})
}

func (b *broken) Settle(ctx context.Context, inc *jobs.Incarnation, batch []jobs.Settlement) ([]jobs.SettleResult, error) {
	if b.Broken == guesses {
		for i, s := range batch {
			if s.Claim.CompletionAsked() { // the commit will have gone well
				batch[i] = jobs.Settlement{Claim: s.Claim, Outcome: jobs.Completed, Output: json.RawMessage(fmt.Sprintf(`{"token": %d}`, s.Claim.Token))}
			}
		}
	}
	results, err := b.Store.Settle(ctx, inc, batch)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, r := range results {
		if r != jobs.Busy {
			delete(b.held, jobs.Held{RunID: batch[i].Claim.RunID, Token: batch[i].Claim.Token})
		}
	}
	return results, err
}

func (b *broken) Reconcile(ctx context.Context, inc *jobs.Incarnation, held []jobs.Held) (int, error) {
	if b.Broken == neverReconciles {
		return 0, nil
	}
	return b.Store.Reconcile(ctx, inc, held)
}

// all are the claims that have no settle yet.
func (b *broken) all() []*jobs.Claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.held))
}
