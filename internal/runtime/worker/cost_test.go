package worker

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// C1: beats are one statement a period, whatever is in flight.
func TestBeatsDoNotGrowWithWhatIsInFlight(t *testing.T) {
	count := func(runs int) (n int) {
		q, h := newFakeQueue(t, runs), &blocking{}
		q.tuning.Concurrency = 1000
		inBubble(t, q, h.handle, func(b *bubble) {
			b.at(5 * time.Minute)
			n = q.count("beat")
		})
		return n
	}
	if few, many := count(1), count(1000); few != many || few > 17 {
		t.Errorf("%d beats with one run in flight, %d with a thousand; want the same, one every 20 s", few, many)
	}
}

// C2: a claim asks for all free slots and is repeated while it comes back full; an idle worker looks once a poll.
func TestClaimsAreFewAndFullW44(t *testing.T) {
	q := newFakeQueue(t, 1000)
	q.tuning.Concurrency = 100
	inBubble(t, q, lasting(100*time.Millisecond), func(b *bubble) {
		b.at(1050 * time.Millisecond)
		b.wantStatuses(map[string]int{"completed": 1000})
		for i, a := range q.asks[1:] {
			if waited := a.at.Sub(q.asks[i].at); a.slots < 25 && waited < gatherTime {
				b.Errorf("claim %d asks for %d of a hundred slots %s after the one before", i+2, a.slots, waited)
			}
		}
		before := q.count("claim")
		b.at(time.Minute)
		if n := q.count("claim") - before; n > 70 {
			b.Errorf("%d claims in an idle minute with a poll of 1 s", n)
		}
	})
}

// C2: slots that free one by one are claimed together.
func TestBusyWorkerDoesNotClaimInDribbles(t *testing.T) {
	q := newFakeQueue(t, 2000)
	q.tuning.Concurrency = 100
	handler := func(_ context.Context, c *jobs.Claim) (json.RawMessage, error) {
		<-time.After(50*time.Millisecond + time.Duration(c.RunID%100)*time.Millisecond) // one slot frees every millisecond
		return nil, nil
	}
	inBubble(t, q, handler, func(b *bubble) {
		b.at(500 * time.Millisecond)
		done := q.statuses()["completed"]
		if n := q.count("claim"); done < 300 || n > done/3 {
			b.Errorf("%d claims for %d runs", n, done)
		}
	})
}

// C3: results that gather while a settle is on the wire share the next one; a lone result waits for nobody.
func TestSettlesGatherNaturally(t *testing.T) {
	q := newFakeQueue(t, 101)
	q.tuning.Concurrency = 200
	q.before["settle"] = func(context.Context) error { <-time.After(10 * time.Millisecond); return nil }
	handler := func(_ context.Context, c *jobs.Claim) (json.RawMessage, error) {
		if c.RunID > 1 {
			<-time.After(time.Millisecond)
		}
		return nil, nil
	}
	inBubble(t, q, handler, func(b *bubble) {
		synctest.Wait()
		if n := q.count("settle"); n != 1 {
			b.Fatalf("%d settles at once, want the lone result's", n)
		}
		b.at(21 * time.Millisecond)
		if len(q.batches) != 2 || q.batches[0] != 1 || q.batches[1] != 100 {
			b.Errorf("settles had %v results, want the first alone and the hundred together", q.batches)
		}
	})
}
