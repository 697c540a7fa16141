package integration

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/google/uuid"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/sink"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// operation is what a record does to its row, as audit items name it.
type operation string

const (
	opCreated     operation = "created"
	opUpdated     operation = "updated"
	opDeleted     operation = "deleted"
	opResurrected operation = "resurrected"
)

// shape is what deciding needs to know of a subscription.
type shape struct {
	fields []spec.Field
	// ignored marks the fields whose change alone is no change.
	ignored []bool
	// guard is the field that carries the record's own time of change, -1 for none.
	guard  int
	delete spec.DeleteMode
}

func newShape(sub spec.Subscription) shape {
	s := shape{fields: sub.Mapping, ignored: make([]bool, len(sub.Mapping)), guard: guardField(sub), delete: sub.Sink.Delete}
	for i, f := range sub.Mapping {
		s.ignored[i] = slices.Contains(sub.Sink.DiffIgnore, f.Name)
	}
	return s
}

// guardName is the column of the guard, empty for none.
func (s shape) guardName() string {
	if s.guard < 0 {
		return ""
	}
	return s.fields[s.guard].Name
}

// older says whether a is of an earlier time than b, by the guard. Unknown times are not older.
func (s shape) older(a, b mapping.Value) bool {
	if s.guard < 0 {
		return false
	}
	order, ok := compare(s.fields[s.guard].Type, a, b)
	return ok && order < 0
}

// row is a row of the sink as it stands, locked.
type row struct {
	id      uuid.UUID
	version int64
	deleted bool
	values  []mapping.Value
}

// record is one record of the source after mapping, or why it could not be mapped.
type record struct {
	raw    any
	mapped mapping.Record
	err    *mapping.RecordError
	// time is the record's own time of change, null when unknown or when there is no guard.
	time mapping.Value
}

// same says whether two records of one id would do the same.
func (r record) same(o record) bool {
	return r.mapped.Deleted == o.mapped.Deleted && slices.EqualFunc(r.mapped.Values, o.mapped.Values, mapping.Value.Equal)
}

// change is one row that must be written, with all that is told about it.
type change struct {
	op         operation
	id         uuid.UUID
	externalID string
	version    int64
	// values are nil when the row is deleted.
	values []mapping.Value
	// time is the record's own time of change, null when unknown.
	time   mapping.Value
	fields json.RawMessage
	raw    any
}

// failure is a record that cannot be applied.
type failure struct {
	key        string
	externalID string
	code       string
	message    string
	raw        any
}

// counts say what became of records; their sum is the number found.
type counts struct {
	created, updated, deleted, resurrected, unchanged, stale, filtered, quarantined int64
}

func (c counts) found() int64 {
	return c.created + c.updated + c.deleted + c.resurrected + c.unchanged + c.stale + c.filtered + c.quarantined
}

func (c counts) changed() int64 { return c.created + c.updated + c.deleted + c.resurrected }

func (c counts) plus(d counts) counts {
	return counts{
		created: c.created + d.created, updated: c.updated + d.updated, deleted: c.deleted + d.deleted,
		resurrected: c.resurrected + d.resurrected, unchanged: c.unchanged + d.unchanged,
		stale: c.stale + d.stale, filtered: c.filtered + d.filtered, quarantined: c.quarantined + d.quarantined,
	}
}

// add counts n more of an operation.
func (c *counts) add(op operation, n int64) {
	switch op {
	case opCreated:
		c.created += n
	case opUpdated:
		c.updated += n
	case opDeleted:
		c.deleted += n
	case opResurrected:
		c.resurrected += n
	}
}

// selection is what is left of a chunk's records: at most one per external id, the last that stands.
type selection struct {
	good     []record
	failures []failure
	// filtered are the ids that the filter left out: nothing is wrong with them any more.
	filtered []string
	counts   counts
}

// choose reduces records to one per external id. Of several, the one that is newer by the guard wins, the later one
// when they are equal or nothing is known; the others count as stale, or as unchanged when they say the same. A record
// that cannot be mapped is set aside, unless a later one of the same id can. The winners are sorted by external id, the
// order in which rows are written.
func choose(s shape, records []record) selection {
	var sel selection
	good, bad := map[string]int{}, map[string]int{}
	for i, r := range records {
		switch {
		case r.err != nil:
			key := recordKey(r.mapped.ExternalID, r.raw)
			if _, again := bad[key]; again {
				sel.counts.stale++
			}
			bad[key] = i
		case r.mapped.Filtered:
			sel.counts.filtered++
			sel.filtered = append(sel.filtered, r.mapped.ExternalID)
		default:
			sel.add(s, records, good, i)
			if _, failed := bad[r.mapped.ExternalID]; failed {
				sel.counts.stale++
				delete(bad, r.mapped.ExternalID)
			}
		}
	}
	sel.collect(records, good, bad)
	return sel
}

// add lets a record compete with an earlier one of the same id.
func (sel *selection) add(s shape, records []record, good map[string]int, i int) {
	id := records[i].mapped.ExternalID
	before, again := good[id]
	switch {
	case !again:
	case records[i].same(records[before]):
		sel.counts.unchanged++
	case s.older(records[i].time, records[before].time):
		sel.counts.stale++
		return
	default:
		sel.counts.stale++
	}
	good[id] = i
}

// collect sorts what choose decided on.
func (sel *selection) collect(records []record, good, bad map[string]int) {
	for _, id := range sortedKeys(good) {
		sel.good = append(sel.good, records[good[id]])
	}
	for _, key := range sortedKeys(bad) {
		r := records[bad[key]]
		sel.failures = append(sel.failures, failure{
			key: key, externalID: usableID(r.mapped.ExternalID), code: string(r.err.Code), message: r.err.Error(), raw: r.raw,
		})
	}
}

// ids are the external ids of the winners, sorted.
func (sel selection) ids() []string {
	ids := make([]string, len(sel.good))
	for i, r := range sel.good {
		ids[i] = r.mapped.ExternalID
	}
	return ids
}

// decide compares the winners with the rows that stand there and gives the changes, in the order of external ids.
func decide(s shape, sel selection, rows map[string]row, newID func() uuid.UUID) ([]change, counts) {
	var changes []change
	tally := sel.counts
	for _, r := range sel.good {
		var before *row
		if found, ok := rows[r.mapped.ExternalID]; ok {
			before = &found
		}
		c, verdict := s.decideOne(r, before, newID)
		switch verdict {
		case verdictUnchanged:
			tally.unchanged++
		case verdictStale:
			tally.stale++
		case verdictChanged:
			changes = append(changes, c)
			tally.add(c.op, 1)
		}
	}
	return changes, tally
}

type verdict int

const (
	verdictUnchanged verdict = iota
	verdictStale
	verdictChanged
)

func (s shape) decideOne(r record, before *row, newID func() uuid.UUID) (change, verdict) {
	if before != nil && s.guard >= 0 && s.older(r.time, before.values[s.guard]) {
		return change{}, verdictStale
	}
	c := change{externalID: r.mapped.ExternalID, values: r.mapped.Values, time: r.time, raw: r.raw}
	switch {
	case r.mapped.Deleted:
		return s.decideDelete(c, before)
	case before == nil:
		c.op, c.id, c.version = opCreated, newID(), 1
		c.fields, _ = s.difference(nil, c.values)
		return c, verdictChanged
	}
	c.id, c.version = before.id, before.version+1
	var differs bool
	c.fields, differs = s.difference(before.values, c.values)
	switch {
	case before.deleted:
		c.op = opResurrected
	case differs:
		c.op = opUpdated
	default:
		return change{}, verdictUnchanged
	}
	return c, verdictChanged
}

// decideDelete deletes a row that is there and alive; anything else is no change.
func (s shape) decideDelete(c change, before *row) (change, verdict) {
	if before == nil || before.deleted || s.delete == spec.IgnoreDelete {
		return change{}, verdictUnchanged
	}
	c.op, c.id, c.version, c.values = opDeleted, before.id, before.version+1, nil
	c.fields = json.RawMessage("{}")
	if s.delete == spec.HardDelete {
		// Nothing else keeps what stood there.
		c.fields, _ = s.difference(before.values, nil)
	}
	return c, verdictChanged
}

// difference lists the fields that differ, ignored ones left out, as {field: {from, to}}, and says whether any does; a
// nil side is all null. What the history of a field may not tell is masked or left out.
func (s shape) difference(from, to []mapping.Value) (json.RawMessage, bool) {
	var b bytes.Buffer
	differs := false
	b.WriteByte('{')
	for i, f := range s.fields {
		was, is := valueAt(from, i), valueAt(to, i)
		if s.ignored[i] || was.Equal(is) {
			continue
		}
		differs = true
		if f.History == spec.Omitted {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(f.Name)
		b.Write(name)
		b.WriteString(`:{"from":`)
		b.Write(told(f, was))
		b.WriteString(`,"to":`)
		b.Write(told(f, is))
		b.WriteByte('}')
	}
	b.WriteByte('}')
	return b.Bytes(), differs
}

// told is a value as the history of its field tells it.
func told(f spec.Field, v mapping.Value) []byte {
	if f.History == spec.Masked && !v.IsNull() {
		return []byte(`"***"`)
	}
	return v.JSON()
}

func valueAt(values []mapping.Value, i int) mapping.Value {
	if values == nil {
		return mapping.Value{}
	}
	return values[i]
}

// readRows makes typed rows of what the sink read.
func (s shape) readRows(found []sink.Row) (map[string]row, error) {
	rows := make(map[string]row, len(found))
	for _, f := range found {
		id, err := uuid.Parse(f.ID)
		if err != nil {
			return nil, err
		}
		r := row{id: id, version: f.Version, deleted: f.Deleted, values: make([]mapping.Value, len(s.fields))}
		for i, field := range s.fields {
			if r.values[i], err = mapping.ParseText(field.Type, f.Fields[i]); err != nil {
				return nil, err
			}
		}
		rows[f.ExternalID] = r
	}
	return rows, nil
}
