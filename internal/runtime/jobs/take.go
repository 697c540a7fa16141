package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

const claimSQL = `
SELECT receipt, run, token, job_type, tenant, scope, attempts, max_attempts, lease_losses, parent, root,
       trigger_source, trigger_ref, tags, input, remaining_ms, lane, retry_ms, next_from, next_run
FROM claim($1, $2, $3, $4, $5, $6)`

// Claim takes up to slots due runs, in order, in one statement. The claims may be handed out: the statement has ended
// and so the claim has committed. When a limit of the pool, and not a lack of due runs, may be why there are not more,
// again is when it is worth asking again, sooner when a run of the pool ends; otherwise it is 0. Claim returns ErrLeaseLost
// when the incarnation's row is gone or expired. When it returns any other error the outcome is unknown: the caller
// reconciles before it claims again.
//
// A run that comes to stand before those that are being claimed may be passed over for a tenth of a second, or for the ten
// times that a claim from the head took, while claims come back full.
func (s *Store) Claim(ctx context.Context, inc *Incarnation, slots int) (claims []*Claim, again time.Duration, err error) {
	sent := time.Now()
	from := inc.place(sent)
	rows, err := s.db.Query(ctx, claimSQL, pgx.QueryResultFormats{pgx.BinaryFormatCode},
		inc.ID, inc.Pool, inc.serving(), slots, from.at, from.run)
	if err != nil {
		return nil, 0, fmt.Errorf("claim runs of pool %q: %w", inc.Pool, typed(err))
	}
	answer, err := readClaims(rows, inc, sent)
	if err != nil {
		return nil, 0, fmt.Errorf("claim runs of pool %q: %w", inc.Pool, typed(err))
	}
	inc.claimed(answer.claims)
	inc.went(from, answer.next, sent, time.Now())
	return answer.claims, answer.again, nil
}

// place is where a claim begins in claim order; the zero value is the head.
type place struct {
	at  pgtype.Timestamptz
	run int64
}

const (
	// headEvery is how long claims may begin further on than at the head.
	headEvery = 100 * time.Millisecond
	// headShare bounds what claims from the head may cost, when they are slow, to one part in so many.
	headShare = 10
)

// place says where the next claim begins: where the last one ended, or from time to time at the head.
func (i *Incarnation) place(now time.Time) place {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now.After(i.headAt) {
		return place{}
	}
	return i.next
}

// went notes where a claim has ended.
func (i *Incarnation) went(from, to place, sent, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !from.at.Valid {
		i.headAt = now.Add(max(headEvery, headShare*now.Sub(sent)))
	}
	i.next = to
}

// answer is what one claim statement has returned.
type answer struct {
	claims []*Claim
	again  time.Duration
	next   place
}

// readClaims reads the rows as they came over the wire: a claim is short, and looking for the way to scan each of its
// columns would cost as much as everything else that a worker does for a run.
func readClaims(rows pgx.Rows, inc *Incarnation, sent time.Time) (a answer, err error) {
	defer rows.Close()
	var last *Claim
	for rows.Next() {
		r := row{values: rows.RawValues()}
		c := &Claim{Worker: inc.ID, Pool: inc.Pool, access: inc.access}
		if err := r.claim(c, last, sent); err != nil {
			return a, err
		}
		if c.RunID == 0 { // no claim: what the statement says about itself
			a.again, a.next = r.millis(), place{at: r.instant(), run: r.int64()}
			continue
		}
		a.claims, last = append(a.claims, c), c
	}
	return a, rows.Err()
}

// value is what p points to, the zero value for SQL null.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// claimed notes how many settles each receipt waits for.
func (i *Incarnation) claimed(claims []*Claim) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range claims {
		i.receipts[c.receipt]++
	}
}

// Forget says that claims were never handed out and that their return was not confirmed. From now on a beat that finds one of
// their receipts asks for a reconcile, however many it takes: one may have to pass over what somebody else has locked.
func (i *Incarnation) Forget(claims ...*Claim) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range claims {
		i.confirm(c)
	}
}

const reconcileSQL = `SELECT given_back FROM reconcile($1, $2, $3)`

// Reconcile gives back what the database says this incarnation runs and the process does not hold, without spending an
// attempt or a lease loss, and deletes receipts in which nothing runs any more. It first waits out a claim in flight.
// The caller makes sure that no claim of this incarnation is under way that it has not given up. It returns the number
// of runs given back, and ErrLeaseLost when the incarnation has no row any more.
func (s *Store) Reconcile(ctx context.Context, inc *Incarnation, held []Held) (int, error) {
	runs, tokens := make([]int64, len(held)), make([]int64, len(held))
	for i, h := range held {
		runs[i], tokens[i] = h.RunID, h.Token
	}
	var n int
	if err := s.db.QueryRow(ctx, reconcileSQL, inc.ID, runs, tokens).Scan(&n); err != nil {
		return 0, fmt.Errorf("reconcile worker %d: %w", inc.ID, typed(err))
	}
	return n, nil
}
