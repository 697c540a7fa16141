package scenario

import (
	"maps"
	"slices"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// Operation is what the script did to a record, in the words of the audit (syncline.sync_item.operation).
type Operation string

// What the script does.
const (
	Created     Operation = "created"
	Updated     Operation = "updated"
	Deleted     Operation = "deleted"
	Resurrected Operation = "resurrected"
)

// eventOf is the type of the change event of each operation.
var eventOf = map[Operation]string{
	Created: "ticket_created", Updated: "ticket_edited", Deleted: "ticket_deleted", Resurrected: "ticket_created",
}

// history is what the script did to one record.
type history struct {
	operations []Operation
	// mapped is the provider's time of the last of them: what the row must show. A write that changed nothing is none.
	mapped string
}

// Ledger is the script's own account of what it did at the provider, which the product's is held against.
type Ledger struct {
	records map[string]*history
}

func newLedger() *Ledger { return &Ledger{records: map[string]*history{}} }

// wrote notes that the script did op to each of the records, as the provider answered them.
func (l *Ledger) wrote(op Operation, records ...lab.Record) {
	for _, r := range records {
		h := l.records[r.ID()]
		if h == nil {
			h = &history{}
			l.records[r.ID()] = h
		}
		h.operations = append(h.operations, op)
		h.mapped = r.Text("updated")
	}
}

// events counts the change events that the script must have caused, by type.
func (l *Ledger) events() map[string]int64 {
	n := map[string]int64{}
	for _, h := range l.records {
		for _, op := range h.operations {
			n[eventOf[op]]++
		}
	}
	return n
}

// changes counts all operations.
func (l *Ledger) changes() int64 {
	var n int64
	for c := range maps.Values(l.events()) {
		n += c
	}
	return n
}

// ids are the external ids in order.
func (l *Ledger) ids() []string { return slices.Sorted(maps.Keys(l.records)) }
