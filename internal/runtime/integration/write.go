package integration

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/events"
	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/sink"
)

// write sends rows, audit items and events of changes in one batch: either all of them stand or none. The number of
// statements depends on neither the changes nor the columns.
func (t *chunkTx) write(ctx context.Context, tx pgx.Tx, changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	told, err := t.run.tell(changes)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	t.queueRows(b, changes)
	t.queueItems(b, changes, told)
	if told != nil {
		t.queueOutbox(b, changes, told)
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("write to %s: %w", sink.Name(t.run.sub.Sink), err)
	}
	return nil
}

// queueRows writes the sink's rows and insists on their number: rows that were locked are there, rows that were not
// there may have come meanwhile.
func (t *chunkTx) queueRows(b *pgx.Batch, changes []change) {
	var inserts, updates []sink.Write
	var removals []sink.Removal
	for _, c := range changes {
		switch c.op {
		case opCreated:
			inserts = append(inserts, c.write())
		case opUpdated, opResurrected:
			updates = append(updates, c.write())
		case opDeleted:
			removals = append(removals, sink.Removal{ID: c.id.String(), Version: c.version, Guard: c.time.Text()})
		}
	}
	w := t.run.writer
	if len(inserts) > 0 {
		w.Insert(b, t.run.connectionID.String(), inserts).Exec(exactly(int64(len(inserts)), errRaced))
	}
	if len(updates) > 0 {
		w.Update(b, updates).Exec(exactly(int64(len(updates)), errRaced))
	}
	if len(removals) > 0 {
		w.Remove(b, removals).Exec(exactly(int64(len(removals)), errRaced))
	}
}

func (c change) write() sink.Write {
	return sink.Write{ID: c.id.String(), ExternalID: c.externalID, Version: c.version, Fields: texts(c.values)}
}

func texts(values []mapping.Value) []*string {
	out := make([]*string, len(values))
	for i, v := range values {
		out[i] = v.Text()
	}
	return out
}

// event is what the outbox gets of one change.
type event struct{ id, typ, payload string }

// tell makes the events of changes, nil when the subscription does not emit.
func (r *run) tell(changes []change) ([]event, error) {
	if !r.sub.EmitChanges {
		return nil, nil
	}
	told := make([]event, len(changes))
	for i, c := range changes {
		e := events.Change{EntityID: c.id, ExternalID: c.externalID, Provider: r.provider, ChangedFields: c.fields}
		switch c.op {
		case opCreated:
			e.Verb = events.Created
		case opResurrected:
			e.Verb, e.Resurrected = events.Created, true
		case opUpdated:
			e.Verb = events.Edited
		case opDeleted:
			e.Verb, e.ChangedFields = events.Deleted, nil
		}
		payload, err := events.Payload(e)
		if err != nil {
			return nil, err
		}
		told[i] = event{
			id:  events.ID(r.input.Subscription, c.id, c.version).String(),
			typ: events.Type(r.sub.Entity, e.Verb), payload: string(payload),
		}
	}
	return told, nil
}

func (t *chunkTx) queueItems(b *pgx.Batch, changes []change, told []event) {
	n := len(changes)
	externalIDs, localIDs, operations, fields := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	versions, eventIDs := make([]int64, n), make([]*string, n)
	for i, c := range changes {
		externalIDs[i], localIDs[i], operations[i], versions[i], fields[i] = c.externalID, c.id.String(), string(c.op), c.version, string(c.fields)
		if told != nil {
			eventIDs[i] = &told[i].id
		}
	}
	b.Queue(itemsSQL, t.run.syncRun, t.run.input.Subscription.String(), t.run.chunks+1,
		externalIDs, localIDs, operations, versions, fields, eventIDs)
}

func (t *chunkTx) queueOutbox(b *pgx.Batch, changes []change, told []event) {
	n := len(changes)
	ids, types, aggregates, payloads := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	versions := make([]int64, n)
	for i, c := range changes {
		ids[i], types[i], aggregates[i], versions[i], payloads[i] = told[i].id, told[i].typ, c.id.String(), c.version, told[i].payload
	}
	b.Queue(outboxSQL, t.run.sub.Entity, t.run.input.Subscription.String(), t.run.connectionID.String(),
		ids, types, aggregates, versions, payloads)
}

// keepFailures resolves the quarantine of records that apply now, then sets aside those that do not. A record that has
// not been tried often enough yet holds the cursor.
func (t *chunkTx) keepFailures(ctx context.Context) error {
	if t.next.quarantineOpen {
		if ids := t.applied(); len(ids) > 0 {
			if _, err := t.tx.Exec(ctx, resolveSQL, t.run.input.Subscription.String(), ids); err != nil {
				return fmt.Errorf("resolve quarantine: %w", err)
			}
		}
	}
	if len(t.failures) == 0 {
		return nil
	}
	failures := distinct(t.failures)
	t.tally.quarantined += int64(len(failures))
	t.tally.stale += int64(len(t.failures) - len(failures))
	t.next.quarantineOpen = true
	return t.quarantine(ctx, failures)
}

// applied are the ids of records that are right now: applied, unchanged or left out on purpose.
func (t *chunkTx) applied() []string {
	bad := make(map[string]bool, len(t.failures))
	for _, f := range t.failures {
		bad[f.key] = true
	}
	var ids []string
	for _, id := range append(t.selection.ids(), t.selection.filtered...) {
		if !bad[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// distinct keeps the last failure of each key: one statement must not meet a row twice.
func distinct(failures []failure) []failure {
	at := map[string]int{}
	var out []failure
	for _, f := range failures {
		if i, again := at[f.key]; again {
			out[i] = f
			continue
		}
		at[f.key] = len(out)
		out = append(out, f)
	}
	return out
}

func (t *chunkTx) quarantine(ctx context.Context, failures []failure) error {
	n := len(failures)
	keys, codes, messages := make([]string, n), make([]string, n), make([]string, n)
	externalIDs, records := make([]*string, n), make([][]byte, n)
	for i, f := range failures {
		keys[i], codes[i], records[i] = f.key, f.code, recordJSON(f.raw)
		messages[i] = presentable(f.message, t.run.credential)
		if f.externalID != "" {
			externalIDs[i] = &failures[i].externalID
		}
	}
	rows, err := t.tx.Query(ctx, quarantineSQL, t.run.input.Subscription.String(), t.run.syncRun, keys, externalIDs, codes, messages, records)
	if err != nil {
		return fmt.Errorf("set records aside: %w", err)
	}
	attempts, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return fmt.Errorf("set records aside: %w", err)
	}
	for _, a := range attempts {
		t.next.held = t.next.held || a < t.run.sub.OnError.QuarantineAfter
	}
	return nil
}
