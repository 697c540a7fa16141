package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errStepTx is what a step's function gets that tries to end the transaction it was lent.
var errStepTx = errors.New("the transaction of a step ends with the step: return an error to roll it back")

// stepTx is a transaction that its borrower cannot end. Begin makes a savepoint as usual.
type stepTx struct{ pgx.Tx }

// Commit refuses.
func (stepTx) Commit(context.Context) error { return errStepTx }

// Rollback refuses.
func (stepTx) Rollback(context.Context) error { return errStepTx }

// transaction commits the effects of body together with the memo. The run's row is locked by the last statement before
// the commit only, so nothing that recovers runs waits while body works. When the commit's outcome is unknown, the
// database is asked under the run's lock, which the transaction in doubt holds until it has ended.
func (s *stepRun) transaction(ctx context.Context, body func(tx pgx.Tx) (ending, error)) (memo, error) {
	conn, err := s.c.access.db.Acquire(ctx)
	if err != nil {
		return memo{}, err
	}
	defer conn.Release()
	tx, err := begin(ctx, conn)
	if err != nil {
		return memo{}, err
	}
	defer rollback(ctx, tx)
	e, err := body(tx)
	if err == nil {
		err = s.c.config.storable(e.output)
	}
	if err != nil {
		return memo{}, err
	}
	m, err := s.commit(ctx, tx, e)
	if err == nil {
		return m, nil
	}
	if lost := typed(err); errors.Is(lost, ErrLeaseLost) {
		return memo{}, lost
	}
	rollback(ctx, tx)
	return s.find(ctx, err)
}

// begin has the time that one statement about a memo has, as commit does; waiting for a connection has no limit.
func begin(ctx context.Context, conn *pgxpool.Conn) (pgx.Tx, error) {
	short, end := context.WithTimeout(ctx, memoTimeout)
	defer end()
	return conn.Begin(short)
}

// commit writes the memo and commits, within the time that one statement about a memo has: on a connection that fell
// silent the handler would wait for ever, under a lease that its process renews.
func (s *stepRun) commit(ctx context.Context, tx pgx.Tx, e ending) (memo, error) {
	short, end := context.WithTimeout(ctx, memoTimeout)
	defer end()
	m, err := s.write(short, tx, e, true)
	if err != nil {
		return m, err
	}
	return m, tx.Commit(short)
}

// find asks what a transaction that failed with cause has stored.
func (s *stepRun) find(ctx context.Context, cause error) (m memo, err error) {
	err = s.c.persist(ctx, func(ctx context.Context) (err error) {
		m, err = readMemo(s.c.access.db.QueryRow(ctx, stepFindSQL, s.c.RunID, s.c.Worker, s.c.Token, s.name))
		return err
	})
	switch {
	case err == nil && m.completed():
		return m, nil
	case err == nil || errors.Is(err, pgx.ErrNoRows):
		return memo{}, unstorableMemo(typed(cause))
	}
	return memo{}, errors.Join(cause, err)
}

// rollback gives the connection back at once, also when ctx has ended.
func rollback(ctx context.Context, tx pgx.Tx) {
	short, end := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer end()
	_ = tx.Rollback(short)
}
