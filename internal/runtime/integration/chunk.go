package integration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/sink"
	"github.com/syncline-dev/syncline/internal/runtime/source"
)

// maxRaces is how often a chunk is tried again because somebody else wrote one of its rows first.
const maxRaces = 5

// commitChunk applies a chunk and adds it to the progress once it is committed. A record that the database refuses
// makes the chunk start over in a way that finds the offender; anything else ends the run at the last checkpoint.
func (r *run) commitChunk(ctx context.Context, c *chunk) error {
	sel := choose(r.shape, c.records)
	careful := false
	for races := 0; ; {
		t := &chunkTx{run: r, chunk: c, selection: sel, careful: careful, next: r.progress}
		err := t.do(ctx)
		_, refused := recordFault(err)
		switch {
		case err == nil:
			r.progress = t.next
			r.ended = t.concluded
			if t.tooManyBad {
				return errTooManyBad
			}
			return nil
		case refused && !careful:
			careful = true
		case errors.Is(err, errRaced) && races < maxRaces:
			races++
		default:
			return fmt.Errorf("chunk %d: %w", r.chunks+1, err)
		}
	}
}

// chunkTx is one try of one chunk.
type chunkTx struct {
	run       *run
	chunk     *chunk
	selection selection
	// careful writes under savepoints and halves what the database refuses until the offenders stand alone.
	careful bool

	tx       pgx.Tx
	changes  []change
	failures []failure
	tally    counts
	// next is the progress once this is committed.
	next progress
	// concluded says that the attempt was closed in this transaction.
	concluded bool
	// tooManyBad says that the run ends after this chunk, with the cursor held.
	tooManyBad bool
}

// do is the transaction. Its order matters: the fence first, so that nothing is done for a claim that is lost; the rows
// before the decisions, locked in key order; the subscription last, so that others wait for it a moment only.
func (t *chunkTx) do(ctx context.Context) error {
	tx, err := t.run.handler.cfg.DB.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer rollback(ctx, tx)
	t.tx = tx
	if err := jobs.Fence(ctx, tx, t.run.claim); err != nil {
		return err
	}
	if err := t.decide(ctx); err != nil {
		return err
	}
	if err := t.apply(ctx); err != nil {
		return err
	}
	if err := t.keepFailures(ctx); err != nil {
		return err
	}
	if err := t.advance(ctx); err != nil {
		return err
	}
	if err := t.conclude(ctx); err != nil {
		return err
	}
	return t.commit(ctx)
}

// rollback also works when the context has ended: an open transaction would keep the run's row locked.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), concludeTimeout)
	defer cancel()
	// After a commit there is nothing to roll back; on a broken connection the server does it.
	_ = tx.Rollback(ctx)
}

// decide locks and reads the rows and compares.
func (t *chunkTx) decide(ctx context.Context) error {
	t.tally, t.failures = t.selection.counts, t.selection.failures
	rows := map[string]row{}
	if len(t.selection.good) > 0 {
		found, err := t.readRows(ctx)
		if err != nil {
			return fmt.Errorf("read rows of %s: %w", sink.Name(t.run.sub.Sink), err)
		}
		if rows, err = t.run.shape.readRows(found); err != nil {
			return fmt.Errorf("read rows of %s: %w", sink.Name(t.run.sub.Sink), err)
		}
	}
	t.changes, t.tally = decide(t.run.shape, t.selection, rows, newLocalID)
	return nil
}

func (t *chunkTx) readRows(ctx context.Context) ([]sink.Row, error) {
	var found []sink.Row
	b := &pgx.Batch{}
	t.run.writer.Read(b, t.run.connectionID.String(), t.selection.ids()).Query(func(rows pgx.Rows) (err error) {
		found, err = sink.ScanRows(rows)
		return err
	})
	return found, t.tx.SendBatch(ctx, b).Close()
}

// newLocalID makes a UUIDv7: rows that are made together lie together in the index.
func newLocalID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// apply writes the changes.
func (t *chunkTx) apply(ctx context.Context) error {
	if !t.careful {
		return t.write(ctx, t.tx, t.changes)
	}
	// Constraints that wait for the commit would fail where no offender can be named.
	if _, err := t.tx.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return fmt.Errorf("make constraints immediate: %w", err)
	}
	return t.isolate(ctx, t.changes)
}

// isolate writes changes under a savepoint. When the database refuses a value it halves them until the offenders stand
// alone: one bad record in a chunk of n costs about 2 log2(n) tries.
func (t *chunkTx) isolate(ctx context.Context, changes []change) error {
	refusal, err := t.attempt(ctx, changes)
	if refusal == nil || err != nil {
		return err
	}
	if len(changes) == 1 {
		t.refuse(changes[0], refusal)
		return nil
	}
	half := len(changes) / 2
	if err := t.isolate(ctx, changes[:half]); err != nil {
		return err
	}
	return t.isolate(ctx, changes[half:])
}

// attempt writes changes under a savepoint, and gives the database's refusal of a value apart from other errors.
func (t *chunkTx) attempt(ctx context.Context, changes []change) (refusal *pgconn.PgError, err error) {
	err = pgx.BeginFunc(ctx, t.tx, func(savepoint pgx.Tx) error { return t.write(ctx, savepoint, changes) })
	refusal, refused := recordFault(err)
	if refused {
		err = nil
	}
	return refusal, err
}

// refuse turns a change into a failure.
func (t *chunkTx) refuse(c change, pg *pgconn.PgError) {
	t.tally.add(c.op, -1)
	t.failures = append(t.failures, failure{
		key: recordKey(c.externalID, c.raw), externalID: usableID(c.externalID),
		code: "sqlstate_" + pg.Code, message: describeFault(pg), raw: c.raw,
	})
}

// advance counts the chunk and moves the cursor, unless a record is held. It comes after everything that may change the
// numbers, and fails when the subscription is not the one that the run began with.
func (t *chunkTx) advance(ctx context.Context) error {
	r := t.run
	t.next.counts = r.counts.plus(t.tally)
	t.next.chunks = r.chunks + 1
	t.tooManyBad = r.stopRatio.exceeded(t.next.counts)
	cursor := cursorJSON(t.checkpoint())
	n := t.tally
	b := &pgx.Batch{}
	b.Queue(countSQL, r.syncRun, n.found(), n.created, n.updated, n.deleted, n.resurrected, n.unchanged, n.stale, n.filtered,
		n.quarantined, cursor, r.chunks).Exec(exactly(1, errors.New("the attempt's row is not as this run left it")))
	b.Queue(advanceSQL, r.input.Subscription.String(), r.generation, cursor, n.changed() > 0).Exec(exactly(1, errSpecChanged))
	if err := t.tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("advance: %w", err)
	}
	return nil
}

// checkpoint is the position that this chunk may store: none while a record before it is neither applied nor set aside,
// and none in the chunk that ends a run of too many bad records.
func (t *chunkTx) checkpoint() *source.Cursor {
	if t.next.held || t.tooManyBad {
		return nil
	}
	return t.chunk.checkpoint
}

// exactly makes a number of affected rows a condition.
func exactly(n int64, otherwise error) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != n {
			return otherwise
		}
		return nil
	}
}

// conclude closes the attempt and ends the run with the last chunk.
func (t *chunkTx) conclude(ctx context.Context) error {
	if !t.chunk.last || t.tooManyBad {
		return nil
	}
	end := drained(t.next)
	t.next.outcome = end.outcome
	t.concluded = true
	return t.run.close(ctx, t.tx, end, t.next)
}

// drained is how a run ends whose source was read to its end.
func drained(p progress) ending {
	end := ending{outcome: succeeded, settle: complete, drained: true}
	switch {
	case p.held:
		end.outcome, end.code = partial, codeBarrier
		end.err = errors.New("bad records are tried again before the cursor passes them (onRecordError.quarantineAfter)")
	case p.counts.quarantined > 0:
		end.outcome, end.code = partial, codeQuarantined
		end.err = fmt.Errorf("%d records were set aside, see the quarantine", p.counts.quarantined)
	case p.counts.changed() == 0:
		end.outcome = noChanges
	}
	return end
}

// commit ends the transaction. When its outcome is unknown the database is asked, never guessed; only the last chunk,
// which ended the run, is left to the worker, who asks in its own way.
func (t *chunkTx) commit(ctx context.Context) error {
	err := t.tx.Commit(ctx)
	if err == nil {
		return nil
	}
	if definite(err) || t.concluded {
		return fmt.Errorf("commit: %w", err)
	}
	return t.run.ask(ctx, t.next.chunks, err)
}

// definite says whether a failed commit is known to have changed nothing: the server answered with an error that did
// not end the connection.
func definite(err error) bool {
	if errors.Is(err, pgx.ErrTxCommitRollback) || errors.Is(err, pgx.ErrTxClosed) {
		return true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Severity == "ERROR"
}

// askFor is how long a run tries to learn what became of a commit, and askEvery the time between two tries.
const (
	askFor   = 30 * time.Second
	askEvery = 200 * time.Millisecond
)

// ask finds out whether the commit of chunk n took place. The fence waits until the transaction in doubt has ended.
func (r *run) ask(ctx context.Context, n int, unknown error) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	for {
		chunks, err := r.committedChunks(ctx)
		switch {
		case err == nil && chunks >= n:
			return nil
		case err == nil:
			return fmt.Errorf("the commit did not take place: %w", unknown)
		case errors.Is(err, jobs.ErrLeaseLost):
			return err
		}
		select {
		case <-time.After(askEvery):
		case <-ctx.Done():
			return fmt.Errorf("outcome of the commit is unknown: %w", unknown)
		}
	}
}

func (r *run) committedChunks(ctx context.Context) (int, error) {
	var chunks int
	err := pgx.BeginFunc(ctx, r.handler.cfg.DB, func(tx pgx.Tx) error {
		if err := jobs.Fence(ctx, tx, r.claim); err != nil {
			return err
		}
		return tx.QueryRow(ctx, chunksSQL, r.syncRun).Scan(&chunks)
	})
	return chunks, err
}
