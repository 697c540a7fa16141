package scenario

import (
	"fmt"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// Records is the number of records that the provider starts with.
const Records = 5000

const collection = "tickets"

// ticketsCollection is the provider's own schema. It deletes softly: a record that is gone keeps its place with deleted
// set, which is how a list API can tell of a delete at all.
func ticketsCollection() map[string]any {
	field := func(kind, name string) map[string]any { return map[string]any{"type": kind, "name": name} }
	updated := field("autodate", "updated")
	updated["onCreate"], updated["onUpdate"] = true, true
	return map[string]any{
		"name": collection, "type": "base",
		"fields": []any{
			field("text", "title"), field("text", "state"), field("number", "priority"), field("number", "amount"),
			field("bool", "deleted"), updated,
		},
		"indexes": []string{"CREATE INDEX tickets_updated ON tickets (updated, id)"},
	}
}

// seed is the provider's first content; the same every time.
func seed() []lab.Write {
	things := []string{"Printer", "Login page", "Invoice", "Warehouse scanner", "Über-Import", "新しい注文", "VPN", "Payroll export"}
	troubles := []string{"does not answer", "shows the wrong total", "is slow on Mondays", "loses its place", "prints twice"}
	states := []string{"open", "waiting", "closed"}
	writes := make([]lab.Write, Records)
	for i := range writes {
		writes[i].Fields = map[string]any{
			"title":    fmt.Sprintf("%s %s (#%d)", things[i%len(things)], troubles[i%len(troubles)], i+1),
			"state":    states[i%len(states)],
			"priority": i % 5,
			"amount":   float64(i*37%100_000) / 100,
			"deleted":  false,
		}
	}
	return writes
}
