package database

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"k8s.io/apimachinery/pkg/types"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// draft is a declaration on its way into the database.
type draft[R any] struct {
	name     types.NamespacedName
	desired  R
	revision uint64
	written  schema.Written
}

// writeRows writes what was declared since the last round: pools, then connections, then the subscriptions that need
// them.
func (a *actor) writeRows(ctx context.Context, db *pgxpool.Pool) error {
	if err := writeKind(ctx, a, db, a.pools, func(d schema.DesiredPool) string { return d.Pool }, schema.WritePools); err != nil {
		return err
	}
	if err := writeKind(ctx, a, db, a.connections, connectionID, schema.WriteConnections); err != nil {
		return err
	}
	a.retryOrphans()
	return writeKind(ctx, a, db, a.subscriptions, subscriptionID, schema.WriteSubscriptions)
}

func connectionID(d schema.DesiredConnection) uuid.UUID     { return d.ID }
func subscriptionID(d schema.DesiredSubscription) uuid.UUID { return d.ID }

// writer is one of the statements of package schema that write many rows.
type writer[K comparable, R any] func(context.Context, pgx.Tx, []R) (map[K]schema.Written, error)

// writeKind writes what is pending of one kind.
func writeKind[K comparable, R any](ctx context.Context, a *actor, db *pgxpool.Pool, t rows[R], key func(R) K, write writer[K, R]) error {
	drafts := draw(a, t)
	for len(drafts) > 0 {
		batch, rest := distinct(drafts, key)
		if err := writeBatch(ctx, db, batch, key, write); err != nil {
			return err
		}
		settle(a, t, batch)
		drafts = rest
	}
	return nil
}

// draw copies what is pending, in the order of names.
func draw[R any](a *actor, t rows[R]) []draft[R] {
	a.mu.Lock()
	defer a.mu.Unlock()
	var drafts []draft[R]
	for _, name := range t.unwritten() {
		drafts = append(drafts, draft[R]{name: name, desired: t[name].desired, revision: t[name].revision})
	}
	slices.SortFunc(drafts, func(x, y draft[R]) int { return strings.Compare(x.name.String(), y.name.String()) })
	return drafts
}

// distinct splits off the drafts that want the same row as one before: no statement can write a row twice, and the
// second must see that the first has it.
func distinct[K comparable, R any](drafts []draft[R], key func(R) K) (batch, rest []draft[R]) {
	seen := make(map[K]bool, len(drafts))
	for _, d := range drafts {
		if k := key(d.desired); seen[k] {
			rest = append(rest, d)
		} else {
			seen[k] = true
			batch = append(batch, d)
		}
	}
	return batch, rest
}

// writeBatch writes a batch by one statement, or row by row when one of them is refused for what it holds: a bad row
// must not keep the others out.
func writeBatch[K comparable, R any](ctx context.Context, db *pgxpool.Pool, batch []draft[R], key func(R) K, write writer[K, R]) error {
	desired := make([]R, len(batch))
	for i, d := range batch {
		desired[i] = d.desired
	}
	written, err := inTransaction(ctx, db, desired, write)
	switch refusal := refused(err); {
	case refusal != "" && len(batch) == 1:
		batch[0].written = schema.Written{Outcome: schema.OutcomeRejected, Message: refusal}
		return nil
	case refusal != "":
		for i := range batch {
			if err := writeBatch(ctx, db, batch[i:i+1], key, write); err != nil {
				return err
			}
		}
		return nil
	case err != nil:
		return err
	}
	for i, d := range batch {
		batch[i].written = written[key(d.desired)]
	}
	return nil
}

func inTransaction[K comparable, R any](ctx context.Context, db *pgxpool.Pool, desired []R, write writer[K, R]) (written map[K]schema.Written, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		written, err = write(ctx, tx, desired)
		return err
	})
	return written, err
}

// refused is why the database refuses a row for what it holds (a data error or a broken constraint); empty otherwise.
func refused(err error) string {
	server, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || !strings.HasPrefix(server.Code, "22") && !strings.HasPrefix(server.Code, "23") {
		return ""
	}
	return fmt.Sprintf("%s (SQLSTATE %s)", server.Message, server.Code)
}

// settle notes what became of drafts. One whose declaration changed meanwhile stays pending.
func settle[R any](a *actor, t rows[R], batch []draft[R]) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range batch {
		if r, ok := t[d.name]; ok && r.revision == d.revision && d.written.Outcome != "" {
			r.settled, r.written, r.doubted = d.revision, d.written, false
		}
	}
}

// retryOrphans has subscriptions written again that could not be because their connection had no row, if it has one
// now.
func (a *actor) retryOrphans() {
	a.mu.Lock()
	defer a.mu.Unlock()
	there := make(map[uuid.UUID]bool, len(a.connections))
	for _, r := range a.connections {
		if r.standing() && !r.pending() && r.written.Outcome == schema.OutcomeApplied {
			there[r.desired.ID] = true
		}
	}
	for _, r := range a.subscriptions {
		if r.standing() && r.written.Outcome == schema.OutcomeConnectionMissing && there[r.desired.Connection] {
			r.doubt()
		}
	}
}

// distrust has rows written again that the snapshot shows otherwise than they were left: removed or changed by hand,
// taken over, or set free by whoever had them. The caller holds mu.
func (a *actor) distrust() {
	for _, r := range a.pools {
		state, ok := a.snapshot.Pools[r.desired.Pool]
		if r.differs(ok, state.Owner) || ok && r.written.Outcome == schema.OutcomeApplied && state.TuningGeneration != r.written.Generation {
			r.doubt()
		}
	}
	for _, r := range a.connections {
		if state, ok := a.snapshot.Connections[r.desired.ID]; r.differs(ok, state.Owner) {
			r.doubt()
		}
	}
	for _, r := range a.subscriptions {
		if state, ok := a.snapshot.Subscriptions[r.desired.ID]; r.differs(ok, state.Owner) {
			r.doubt()
		}
	}
}

// differs says whether a row in the snapshot is not what its last write left.
func (r *row[R]) differs(there bool, owner schema.Owner) bool {
	switch r.written.Outcome {
	case schema.OutcomeApplied:
		return !there || owner.UID != r.owner.UID
	case schema.OutcomeTaken:
		return !there || !owner.Same(r.written.Owner)
	}
	return false
}

// doubt has a row written again; what is known of it stands until then.
func (r *row[R]) doubt() { r.doubted = true }
