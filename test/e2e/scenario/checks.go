package scenario

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// Verdict is the outcome of a check.
type Verdict struct {
	OK bool
	// Figures says what was counted, whether it is right or wrong.
	Figures string
}

// Check is one promise held against the provider, the script and the database.
type Check struct {
	// Name is a word for test output.
	Name string
	// Title is the promise.
	Title string
	// Run counts. An error means that it could not.
	Run func(context.Context) ([]Verdict, error)
}

// Checks are what must hold once all steps are told.
func (s *Story) Checks() []Check {
	return []Check{
		{"values", "Every row equals its record at the provider", s.checkValues},
		{"versions", "Every row's version is one more than its scripted edits", s.checkVersions},
		{"history", "The history of every record is the script's, in order", s.checkHistory},
		{"audit-outbox", "Audit items and change events match one to one", s.checkAuditOutbox},
		{"events", "The number of change events of each type is the script's", s.checkEvents},
		{"takeover", "The killed run was finished by another worker, and no page was applied twice", s.checkTakeover},
		{"quiet", "Nothing is left over", s.checkQuiet},
	}
}

func verdict(ok bool, format string, args ...any) Verdict {
	return Verdict{OK: ok, Figures: fmt.Sprintf(format, args...)}
}

// checkValues reads the provider anew, so that it also notices a script that lost track.
func (s *Story) checkValues(ctx context.Context) ([]Verdict, error) {
	records, err := s.source.All(ctx, collection)
	if err != nil {
		return nil, err
	}
	rows, err := s.rows(ctx)
	if err != nil {
		return nil, err
	}
	var wrong []string
	compared := 0
	for _, r := range records {
		row, ok := rows[r.ID()]
		if !ok {
			wrong = append(wrong, r.ID()+" has no row")
			continue
		}
		for _, d := range differences(r, s.ledger.records[r.ID()], row) {
			wrong = append(wrong, r.ID()+" "+d)
		}
		compared += mappedFields + 1
	}
	return []Verdict{
		verdict(len(rows) == len(records), "%d rows, %d records at the provider", len(rows), len(records)),
		verdict(len(wrong) == 0, "%d values compared, %d differ%s", compared, len(wrong), sample(wrong)),
	}, nil
}

func (s *Story) checkVersions(ctx context.Context) ([]Verdict, error) {
	rows, err := s.rows(ctx)
	if err != nil {
		return nil, err
	}
	var wrong []string
	perVersion := map[int64]int{}
	for _, id := range s.ledger.ids() {
		want, got := int64(len(s.ledger.records[id].operations)), rows[id].version
		perVersion[got]++
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%s has version %d, want %d", id, got, want))
		}
	}
	var spread []string
	for _, v := range slices.Sorted(maps.Keys(perVersion)) {
		spread = append(spread, fmt.Sprintf("%d at version %d", perVersion[v], v))
	}
	return []Verdict{verdict(len(wrong) == 0, "%s; %d differ%s", strings.Join(spread, ", "), len(wrong), sample(wrong))}, nil
}

func (s *Story) checkHistory(ctx context.Context) ([]Verdict, error) {
	rows, err := s.db.Query(ctx, `SELECT external_id, operation, version FROM syncline.sync_item ORDER BY external_id, version`)
	if err != nil {
		return nil, fmt.Errorf("read audit items: %w", err)
	}
	told := map[string][]Operation{}
	var id string
	var op Operation
	var version, items int64
	gaps := 0
	_, err = pgx.ForEachRow(rows, []any{&id, &op, &version}, func() error {
		told[id] = append(told[id], op)
		if version != int64(len(told[id])) {
			gaps++
		}
		items++
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read audit items: %w", err)
	}
	var wrong []string
	for _, id := range s.ledger.ids() {
		if want := s.ledger.records[id].operations; !slices.Equal(told[id], want) {
			wrong = append(wrong, fmt.Sprintf("%s: %v, want %v", id, told[id], want))
		}
	}
	return []Verdict{
		verdict(items == s.ledger.changes(), "%d audit items, %d changes in the script", items, s.ledger.changes()),
		verdict(len(wrong) == 0 && gaps == 0 && len(told) == len(s.ledger.records),
			"%d records with their operations in order, %d differ, %d versions skipped%s", len(told), len(wrong), gaps, sample(wrong)),
	}, nil
}

// auditAgainstOutbox pairs items and events by the event's id and counts pairs, loners, and pairs that tell two stories.
const auditAgainstOutbox = `
SELECT count(i.id), count(o.seq), count(*) FILTER (WHERE i.id IS NOT NULL AND o.seq IS NOT NULL),
  count(*) FILTER (WHERE o.aggregate IS DISTINCT FROM i.local_id OR o.version IS DISTINCT FROM i.version
    OR o.payload->>'externalId' IS DISTINCT FROM i.external_id OR o.payload->>'entityId' IS DISTINCT FROM i.local_id::text
    OR o.type IS DISTINCT FROM CASE i.operation WHEN 'updated' THEN 'ticket_edited' WHEN 'deleted' THEN 'ticket_deleted' ELSE 'ticket_created' END
    OR (o.payload->'resurrected' IS NOT DISTINCT FROM 'true') IS DISTINCT FROM (i.operation = 'resurrected')
    OR (i.operation <> 'deleted' AND o.payload->'changedFields' IS DISTINCT FROM i.changed_fields)
    OR (i.operation = 'deleted' AND o.payload ? 'changedFields'))
FROM syncline.sync_item AS i FULL JOIN syncline.outbox AS o ON o.id = i.event_id`

const eventsWithRow = `
SELECT count(*) FROM syncline.outbox AS o
JOIN public.tickets AS t ON t.id = o.aggregate AND t.external_id = o.payload->>'externalId'`

func (s *Story) checkAuditOutbox(ctx context.Context) ([]Verdict, error) {
	var items, events, pairs, differ int64
	if err := s.db.QueryRow(ctx, auditAgainstOutbox).Scan(&items, &events, &pairs, &differ); err != nil {
		return nil, fmt.Errorf("compare audit and outbox: %w", err)
	}
	rows, err := s.count(ctx, eventsWithRow)
	if err != nil {
		return nil, err
	}
	return []Verdict{
		verdict(items == events && pairs == items && items > 0, "%d audit items, %d events, %d pairs", items, events, pairs),
		verdict(differ == 0, "%d pairs differ in record, version, type or changed fields", differ),
		verdict(rows == events, "%d events lead to their row by its id", rows),
	}, nil
}

func (s *Story) checkEvents(ctx context.Context) ([]Verdict, error) {
	rows, err := s.db.Query(ctx, `SELECT type, count(*) FROM syncline.outbox GROUP BY type`)
	if err != nil {
		return nil, fmt.Errorf("count events: %w", err)
	}
	got := map[string]int64{}
	var kind string
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&kind, &n}, func() error { got[kind] = n; return nil }); err != nil {
		return nil, fmt.Errorf("count events: %w", err)
	}
	want := s.ledger.events()
	var verdicts []Verdict
	for _, k := range slices.Sorted(maps.Keys(want)) {
		verdicts = append(verdicts, verdict(got[k] == want[k], "%s: %d events, %d in the script", k, got[k], want[k]))
	}
	var strange []string
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			strange = append(strange, k)
		}
	}
	return append(verdicts, verdict(len(strange) == 0, "%d types of event that the script did not cause%s", len(strange), sample(strange))), nil
}

// killedRun sums up the attempts of the killed run and what they applied; the first attempt has the smallest token.
const killedRun = `
WITH attempts AS (SELECT id, token, outcome FROM syncline.sync_run WHERE run_id = $1),
items AS (SELECT i.local_id, a.token FROM syncline.sync_item AS i JOIN attempts AS a ON a.id = i.sync_run_id)
SELECT (SELECT count(*) FROM attempts),
  (SELECT count(*) FROM attempts WHERE outcome = 'abandoned'),
  (SELECT count(*) FROM attempts WHERE outcome IN ('succeeded', 'noChanges')),
  (SELECT count(*) FROM items),
  (SELECT count(DISTINCT local_id) FROM items),
  (SELECT count(*) FROM items WHERE token = (SELECT min(token) FROM attempts))`

// killedJob is how the queue tells of it.
const killedJob = `
SELECT status, lease_losses, (SELECT count(DISTINCT worker) FROM (
  SELECT worker FROM syncline.attempt WHERE run = $1 UNION SELECT claimed_by FROM syncline.run WHERE id = $1) AS w)
FROM syncline.run WHERE id = $1`

func (s *Story) checkTakeover(ctx context.Context) ([]Verdict, error) {
	var attempts, abandoned, completed, items, records, first int64
	err := s.db.QueryRow(ctx, killedRun, s.killed.run).Scan(&attempts, &abandoned, &completed, &items, &records, &first)
	if err != nil {
		return nil, fmt.Errorf("read the killed run: %w", err)
	}
	var status string
	var losses, holders int64
	if err := s.db.QueryRow(ctx, killedJob, s.killed.run).Scan(&status, &losses, &holders); err != nil {
		return nil, fmt.Errorf("read the killed run: %w", err)
	}
	edited := int64(len(s.killed.edited))
	return []Verdict{
		verdict(attempts == 2 && abandoned == 1 && completed == 1, "run %d: %d attempts, %d abandoned, %d completed", s.killed.run, attempts, abandoned, completed),
		verdict(status == "completed" && losses == 1 && holders == 2, "run %d is %s after %d lost lease, held by %d workers", s.killed.run, status, losses, holders),
		verdict(first > 0 && first < edited && first >= s.killed.applied, "%d of %d edits were committed before the kill, %d after it", first, edited, items-first),
		verdict(items == edited && records == edited, "%d edits, %d applied, to %d different records", edited, items, records),
	}, nil
}

// leftovers counts what must be gone once everything has ended.
const leftovers = `
SELECT (SELECT count(*) FROM syncline.ready) + (SELECT count(*) FROM syncline.scheduled) + (SELECT count(*) FROM syncline.blocked),
  (SELECT count(*) FROM syncline.run WHERE status = 'running'), (SELECT count(*) FROM syncline.lane_hold),
  (SELECT count(*) FROM syncline.quarantine WHERE resolved_at IS NULL), (SELECT count(*) FROM syncline.subscription WHERE cursor IS NULL)`

func (s *Story) checkQuiet(ctx context.Context) ([]Verdict, error) {
	var pending, running, lanes, quarantined, withoutCursor int64
	count := func() error {
		return s.db.QueryRow(ctx, leftovers).Scan(&pending, &running, &lanes, &quarantined, &withoutCursor)
	}
	// The schedule goes on, and a run of it may be under way for a moment: what is wrong is one that stays.
	wait, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := lab.Await(wait, "quiet", 100*time.Millisecond, func() (bool, error) {
		err := count()
		return err == nil && pending+running+lanes == 0, err
	})
	if err != nil && wait.Err() == nil {
		return nil, fmt.Errorf("count leftovers: %w", err)
	}
	return []Verdict{
		verdict(pending == 0 && running == 0 && lanes == 0, "%d runs pending, %d running, %d lanes held", pending, running, lanes),
		verdict(quarantined == 0, "%d records quarantined", quarantined),
		verdict(withoutCursor == 0, "%d subscriptions without a cursor", withoutCursor),
	}, nil
}

// sample shows the first few of what is wrong.
func sample(wrong []string) string {
	if len(wrong) == 0 {
		return ""
	}
	return ": " + strings.Join(wrong[:min(5, len(wrong))], "; ")
}
