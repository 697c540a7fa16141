package integration

import (
	"testing"
)

func TestI19RetentionRemovesOldAuditInParts(t *testing.T) {
	w := newWorld(t)
	w.source.give(scripted{records: many(t, 40, "x"), checkpoint: day(1)})
	w.sync()
	w.source.give(scripted{records: many(t, 40, "y"), checkpoint: day(1)}, page(t, day(1), ticket("bad", "x", day(1), `"amount":"much"`)))
	w.sync()
	w.source.give(page(t, day(1), ticket("bad", "x", day(1))))
	w.sync()
	w.exec(`INSERT INTO sync_run (subscription_id, run_id, token, attempt, action, generation, full_walk)
		VALUES (gen_random_uuid(), -1, 1, 1, 'manual', 1, true)`)
	w.exec(`INSERT INTO quarantine (subscription_id, record_key, attempts, error_code, error, last_sync_run)
		VALUES (gen_random_uuid(), 'x', 1, 'x', 'x', 1)`)
	if n, err := Retain(t.Context(), w.pool); err != nil || n != 2 {
		t.Errorf("removed %d rows, %v; want the two of a subscription that is gone", n, err)
	}
	w.exec("UPDATE sync_run SET started_at = started_at - interval '2 hours'")
	w.exec("UPDATE quarantine SET resolved_at = resolved_at - interval '2 hours'")
	parts := 0
	for {
		n, err := retainOnce(t.Context(), w.pool, 7)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		if n > 3*7 {
			t.Errorf("one part removed %d rows, want at most 7 of each kind", n)
		}
		parts++
	}
	if parts < 80/7 {
		t.Errorf("80 items went in %d parts of 7", parts)
	}
	same(t, "attempts left", []string{"3"}, w.lines("SELECT id FROM sync_run"))
	same(t, "items left", []string{"bad"}, w.lines("SELECT external_id FROM sync_item"))
	if len(w.quarantine()) != 0 || len(w.rows()) != 41 {
		t.Errorf("quarantine %v and %d rows, want none and all 41", w.quarantine(), len(w.rows()))
	}
}
