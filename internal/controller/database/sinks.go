package database

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/sink"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// sinkCheck is what stands under a sink's name, as far as somebody has looked.
type sinkCheck struct {
	document []byte
	view     *SinkView
	looked   time.Time
}

// checkSinks plans the tables of subscriptions: at once when they are new or changed, in every round while something is
// missing, and now and then while all is well.
func (a *actor) checkSinks(ctx context.Context, db *pgxpool.Pool) error {
	for id, document := range a.sinksDue(time.Now()) {
		view, err := planSink(ctx, db, document)
		if err != nil {
			return err
		}
		a.mu.Lock()
		if check, ok := a.sinks[id]; ok && reflect.DeepEqual(check.view, view) {
			view = check.view
		}
		a.sinks[id] = &sinkCheck{document: document, view: view, looked: time.Now()}
		a.mu.Unlock()
	}
	return nil
}

// sinksDue lists the documents of the subscriptions whose table has to be looked at, and forgets the others'.
func (a *actor) sinksDue(now time.Time) map[uuid.UUID][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	due := make(map[uuid.UUID][]byte)
	declared := make(map[uuid.UUID]bool, len(a.subscriptions))
	for _, r := range a.subscriptions {
		id, document := r.desired.ID, r.desired.Spec
		if !r.standing() || document == nil {
			continue
		}
		declared[id] = true
		if check, ok := a.sinks[id]; !ok || check.due(document, now, a.cfg.Housekeeping) {
			due[id] = document
		}
	}
	for id := range a.sinks {
		if !declared[id] {
			delete(a.sinks, id)
		}
	}
	return due
}

func (c *sinkCheck) due(document []byte, now time.Time, recheck time.Duration) bool {
	fits := c.view.Failed == "" && len(c.view.Problems) == 0 && len(c.view.Statements) == 0
	return string(document) != string(c.document) || !fits || now.Sub(c.looked) >= recheck
}

// planSink looks at one table. What the server refuses is the table's problem; a broken connection is the database's.
func planSink(ctx context.Context, db *pgxpool.Pool, document []byte) (*SinkView, error) {
	sub, unreadable := spec.Decode[spec.Subscription](document)
	if unreadable != nil {
		return &SinkView{Failed: unreadable.Error()}, nil //nolint:nilerr // it is the document's problem, not the database's
	}
	table, err := sink.Inspect(ctx, db, sub.Sink)
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return &SinkView{Failed: describeServer(server)}, nil
	}
	if err != nil {
		return nil, err
	}
	plan := sink.NewPlan(sub, table)
	return &SinkView{Statements: plan.Statements, Problems: plan.Problems, TableMissing: !table.Exists()}, nil
}
