package integration

import (
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// TestSensitiveValuesAreInNeitherAuditNorEventsI20 lets masked and omitted fields be created, changed, cleared and
// deleted, and looks for their values in everything that tells of changes.
func TestSensitiveValuesAreInNeitherAuditNorEventsI20(t *testing.T) {
	for _, mode := range []spec.DeleteMode{spec.SoftDelete, spec.HardDelete} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, func(s *spec.Subscription) {
				s.Mapping[0].History, s.Mapping[1].History, s.Sink.Delete = spec.Masked, spec.Omitted, mode
			})
			give := func(n int, title, extra string) {
				t.Helper()
				w.source.give(page(t, day(n), ticket("a", title, day(n), extra)))
				w.sync()
			}
			give(1, "planted-one", `"amount":777001`)
			give(2, "planted-two", `"amount":777001`)
			give(3, "planted-two", `"amount":777002`)
			w.source.give(page(t, day(4), `{"id":"a","title":null,"amount":null,"updated":"`+day(4)+`"}`))
			w.sync()
			give(5, "planted-three", `"amount":777003`)
			give(6, "planted-three", `"amount":777003,"deleted":true`)
			told := strings.Join(append(w.events(), w.lines("SELECT changed_fields::text AS a FROM sync_item")...), "\n")
			if strings.Contains(told, "planted") || strings.Contains(told, "777") {
				t.Errorf("values of sensitive fields are told:\n%s", told)
			}
			changes := w.lines("SELECT version AS a, operation AS b, (changed_fields - 'source_updated_at')::text AS c FROM sync_item ORDER BY id LIMIT 5")
			same(t, "audit", []string{
				`1 created {"title": {"to": "***", "from": null}}`, `2 updated {"title": {"to": "***", "from": "***"}}`, "3 updated {}",
				`4 updated {"title": {"to": null, "from": "***"}}`, `5 updated {"title": {"to": "***", "from": null}}`,
			}, changes)
			if n := len(w.events()); n != 6 {
				t.Errorf("%d events, want one for each change, what it tells or not", n)
			}
		})
	}
}
