package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

func (s *Story) firstSync(ctx context.Context) error {
	s.console.Say("The schedule starts a run as soon as the subscription is Ready: 25 pages of 200 tickets, each page one transaction.")
	err := s.console.During("wait for the first run", func() error {
		first, err := s.awaitRun(ctx, time.Time{}, 2*time.Minute)
		if err != nil {
			return err
		}
		return s.awaitShown(ctx, first)
	})
	if err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "integrationsubscriptions", "--namespace", namespace); err != nil {
		return err
	}
	if err := s.query(ctx, `SELECT count(*) AS rows, count(DISTINCT external_id) AS tickets, min(version), max(version) FROM public.tickets`); err != nil {
		return err
	}
	return s.query(ctx, `SELECT external_id, title, state, priority, amount, version FROM public.tickets ORDER BY source_updated_at, external_id LIMIT 3`)
}

// change does the same operation to some of the script's records, syncs, and shows the outcome: what the run that was asked
// for has done and one of the schedule, if that came first.
func (s *Story) change(ctx context.Context, op Operation, writes []lab.Write) (attempt, error) {
	before, err := s.lastEvent(ctx)
	if err != nil {
		return attempt{}, err
	}
	began, err := s.now(ctx)
	if err != nil {
		return attempt{}, err
	}
	records, err := s.source.Apply(ctx, collection, writes)
	if err != nil {
		return attempt{}, err
	}
	if op != "" {
		s.ledger.wrote(op, records...)
	}
	last, err := s.sync(ctx)
	if err != nil {
		return last, err
	}
	a, err := s.outcome(ctx, began, last)
	if err != nil {
		return a, err
	}
	s.console.Say("run %d: found %d, created %d, updated %d, deleted %d, resurrected %d, unchanged %d",
		a.Run, a.Found, a.Created, a.Updated, a.Deleted, a.Resurrected, a.Unchanged)
	return a, s.showEvents(ctx, before)
}

func (s *Story) write(i int, fields map[string]any) lab.Write {
	return lab.Write{ID: s.records[i].ID(), Fields: fields}
}

func (s *Story) edit(ctx context.Context) error {
	a, err := s.change(ctx, Updated, []lab.Write{
		s.write(0, map[string]any{"state": "closed"}),
		s.write(1, map[string]any{"priority": 9, "amount": 1234.56}),
		s.write(firstBulk, map[string]any{"title": "Now with a “quoted” title 🎫"}),
	})
	if err != nil {
		return err
	}
	s.console.Say("Three changes, three events, each with the fields that changed, before and after.")
	return s.expectChanges(a, 3, 0, 0)
}

func (s *Story) touch(ctx context.Context) error {
	s.console.Say("The provider gives it a new time of last update, so it is read again. Nothing that is mapped has changed.")
	a, err := s.change(ctx, "", []lab.Write{s.write(2, map[string]any{"title": s.records[2].Text("title")})})
	if err != nil {
		return err
	}
	s.console.Say("No event, no history, no new version.")
	if a.Unchanged == 0 {
		return fmt.Errorf("run %d saw no unchanged record, want at least the one that was saved", a.Run)
	}
	return s.expectChanges(a, 0, 0, 0)
}

func (s *Story) remove(ctx context.Context) error {
	gone := map[string]any{"deleted": true}
	a, err := s.change(ctx, Deleted, []lab.Write{s.write(3, gone), s.write(4, gone)})
	if err != nil {
		return err
	}
	if err := s.expectChanges(a, 0, 2, 0); err != nil {
		return err
	}
	return s.query(ctx, `SELECT external_id, title, version, deleted_at IS NOT NULL AS deleted
FROM public.tickets WHERE deleted_at IS NOT NULL ORDER BY external_id`)
}

func (s *Story) restore(ctx context.Context) error {
	a, err := s.change(ctx, Resurrected, []lab.Write{s.write(4, map[string]any{"deleted": false, "state": "open"})})
	if err != nil {
		return err
	}
	s.console.Say("It is the same row with the same id: a created event that says resurrected.")
	return s.expectChanges(a, 0, 0, 1)
}
