package http

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// busy is a table whose first record changes before request n is answered, so that all behind it move up.
func busy(items []item, limit, n int) *table {
	u := &table{items: items, limit: limit, clock: noon}
	u.before = func(request int, items []item) []item {
		u.clock = u.clock.Add(time.Second)
		if request == n {
			items[0].Updated = u.clock
		}
		return items
	}
	return u
}

func TestUnorderedWalkGoesBackOverWhatMoved(t *testing.T) {
	for name, edit := range map[string]func(*Config){"pages": numbered(10), "links": linkedTable} {
		t.Run(name, func(t *testing.T) {
			u := busy(minutes(25), 10, 2)
			u.links = name == "links"
			s, _ := serve(t, u.ServeHTTP, edit)
			pages, err := readAll(t, s.Walk(nil))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want(u.items), seen(pages)); diff != "" {
				t.Errorf("records (-upstream +read), record 11 moved up to a page that was read before:\n%s", diff)
			}
			for i, p := range pages[:len(pages)-1] {
				if p.Checkpoint != nil {
					t.Errorf("page %d has a checkpoint before the way back is done", i+1)
				}
			}
			if got := value(pages[len(pages)-1].Checkpoint); got != noon.Add(time.Second).Format(time.RFC3339Nano) {
				t.Errorf("the walk ends at %s, want the clock of its first answer", got)
			}
		})
	}
}

func TestUnorderedWalkOfAQuietListDoesNotGoBack(t *testing.T) {
	u := busy(minutes(25), 10, 1) // changed before the first answer
	s, _ := serve(t, u.ServeHTTP, edits(numbered(10), func(c *Config) { c.Spec.Cursor.Timestamp.SettleSeconds = 0 }))
	u.items[0].Updated = noon.Add(-time.Second)
	u.before = nil
	if _, err := readAll(t, s.Walk(nil)); err != nil || len(u.requests) != 4 {
		t.Errorf("%d requests, %v; want three pages and an empty one", len(u.requests), err)
	}
}

func TestSettleWidensWhatCountsAsMoved(t *testing.T) {
	for settle, requests := range map[int64]int{0: 4, 60: 6} {
		u := &table{items: minutes(25), limit: 10, clock: noon}
		u.items[24].Updated = noon.Add(-30 * time.Second)
		s, _ := serve(t, u.ServeHTTP, edits(numbered(10), func(c *Config) { c.Spec.Cursor.Timestamp.SettleSeconds = settle }))
		if _, err := readAll(t, s.Walk(nil)); err != nil || len(u.requests) != requests {
			t.Errorf("settle %d s: %d requests, %v; want %d", settle, len(u.requests), err, requests)
		}
	}
}

// TestUnorderedWalksCoverAChangingTable plays tables that are sorted by time without the source saying so. Each request
// may move a record to the end; walks are killed at random and go on from the last checkpoint.
func TestUnorderedWalksCoverAChangingTable(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			u := &table{items: minutes(40), limit: 2 + r.IntN(8), links: r.IntN(2) == 0, clock: noon}
			u.before = func(_ int, items []item) []item {
				u.clock = u.clock.Add(time.Duration(1+r.IntN(1500)) * time.Millisecond)
				if r.IntN(2) == 0 {
					items[r.IntN(len(items))].Updated = u.clock
				}
				return items
			}
			edit := numbered(2 + r.IntN(8))
			if u.links {
				edit = linkedTable
			}
			s, _ := serve(t, u.ServeHTTP, edit)
			pages := killedWalks(t, s, u, r)
			if diff := cmp.Diff(want(u.items), seen(pages)); diff != "" {
				t.Errorf("records (-upstream +read):\n%s", diff)
			}
		})
	}
}

func TestOrderedWalkGoesBackOverCountedPages(t *testing.T) {
	for name, tc := range map[string]struct{ tie, size int }{"a tie that fills pages": {9, 3}, "pages of one record": {1, 1}} {
		t.Run(name, func(t *testing.T) {
			items := minutes(14)
			for i := range tc.tie {
				items[i].Updated = items[0].Updated
			}
			u := busy(items, tc.size, 2)
			s, _ := serve(t, u.ServeHTTP, edits(numbered(tc.size), ascending))
			var pages []source.Page
			for w := s.Walk(nil); ; {
				p, err := w.Next(t.Context())
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, p)
				covered(t, u.items, pages)
			}
			if diff := cmp.Diff(want(u.items), seen(pages)); diff != "" {
				t.Errorf("records (-upstream +read):\n%s", diff)
			}
		})
	}
}

// covered holds that the last checkpoint passes no record that was not read.
func covered(t *testing.T, items []item, pages []source.Page) {
	t.Helper()
	last := pages[len(pages)-1].Checkpoint
	if last == nil {
		return
	}
	at, _ := time.Parse(time.RFC3339Nano, last.Value)
	got := seen(pages)
	for _, i := range items {
		if _, read := got[i.ID]; !read && i.Updated.Before(at) {
			t.Errorf("checkpoint %s passes record %d of %s, which was not read", at, i.ID, i.Updated)
		}
	}
}

func TestGoneLinkOnTheWayBackIsNoExpiredCursor(t *testing.T) {
	u := busy(minutes(25), 10, 2)
	u.links = true
	s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if len(u.requests) == 3 {
			w.WriteHeader(nethttp.StatusGone)
			return
		}
		u.ServeHTTP(w, r)
	}, linkedTable)
	pages, err := readAll(t, s.Walk(stored(24*time.Hour)))
	if source.ClassOf(err) != source.NotFound || len(pages) != 3 || pages[2].Checkpoint != nil {
		t.Errorf("got %d pages, %v; want three without a checkpoint and %s", len(pages), err, source.NotFound)
	}
}

func TestPageThatIsGoneOnTheWayBackIsEmpty(t *testing.T) {
	u := busy(minutes(25), 10, 2)
	s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if len(u.requests) == 4 && r.URL.Query().Get("page") == "2" {
			plain(404, "application/json", "{}")(w, r)
			return
		}
		u.ServeHTTP(w, r)
	}, numbered(10))
	pages, err := readAll(t, s.Walk(nil))
	if err != nil || pages[len(pages)-1].Checkpoint == nil {
		t.Errorf("got %v, %v; want a whole walk", pages, err)
	}
}

func TestWayBackIsBoundedLikeTheRun(t *testing.T) {
	u := busy(minutes(25), 10, 2)
	s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if len(u.requests) == 4 {
			answerJSON(w, `{"items":[{"id":1,"text":"`+strings.Repeat("x", 4000)+`"}]}`)
			return
		}
		u.ServeHTTP(w, r)
	}, edits(numbered(10), func(c *Config) { c.Spec.Limits.MaxRunBytes = 3500 }))
	if _, err := readAll(t, s.Walk(nil)); source.ClassOf(err) != source.LimitExceeded {
		t.Errorf("got %v, want %s", err, source.LimitExceeded)
	}
}

func TestTrailForgetsLinksThatAreTooLong(t *testing.T) {
	long := &url.URL{Path: strings.Repeat("x", maxTrailBytes/2)}
	var few, many trail
	for range 2 {
		few.add(position{page: 1})
	}
	for range 3 {
		many.add(position{link: long})
	}
	if stops, err := few.end(); err != nil || len(stops) != 1 {
		t.Errorf("got %v, %v; want all but the last", stops, err)
	}
	if many.stops != nil {
		t.Errorf("%d links are remembered, want none beyond %d bytes", len(many.stops), maxTrailBytes)
	}
	if _, err := many.end(); source.ClassOf(err) != source.LimitExceeded {
		t.Errorf("got %v, want %s", err, source.LimitExceeded)
	}
}

func TestIgnoredLowerBoundIsNoticed(t *testing.T) {
	requests := 0
	s, _ := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		requests++ // a body that is never the same
		answerJSON(w, `{"items":[{"id":1,"n":`+strconv.Itoa(requests)+`,"updated":"2024-05-01T10:00:00Z"},{"id":2,"updated":"2024-05-01T10:01:00Z"}]}`)
	}, edits(numbered(2), ascending, func(c *Config) { c.Spec.Limits.MaxPages = 20 }))
	_, err := readAll(t, s.Walk(nil))
	if e, ok := errors.AsType[*source.Error](err); !ok || e.Class != source.BadAnswer || requests != 2 || !strings.Contains(err.Error(), "ignores {cursor}") {
		t.Errorf("got %v after %d requests, want %s at the second", err, requests, source.BadAnswer)
	}
}

func TestServerThatComparesWholeSecondsDoesNotIgnoreTheBound(t *testing.T) {
	track := newTracker(timeSource(spec.OrderAscending, 0, 0), nil).(*timeTracker)
	if _, err := track.observe(nil, at(time.Hour, 100*time.Millisecond), noon); err != nil {
		t.Fatal(err)
	}
	track.rewind()
	if _, err := track.observe(nil, at(900*time.Millisecond, 100*time.Millisecond), noon); err != nil {
		t.Errorf("%v: the record lies in the second that was asked for", err)
	}
}

func TestClockOfACheckpointIsAWholeSecond(t *testing.T) {
	track := newTracker(timeSource(spec.OrderAscending, 0, 0), nil)
	if _, err := track.observe(nil, at(0), noon.Add(-time.Second+300*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got, _ := track.checkpoint(true); value(got) != value(stored(time.Second)) {
		t.Errorf("checkpoint %s, want %s: a record that changes later in that second may show the second alone", value(got), value(stored(time.Second)))
	}
}

func TestPageBeyondTheLastKeepsTheClock(t *testing.T) {
	u := &table{items: minutes(5), limit: 2, clock: noon.Add(-24 * time.Hour)} // a clock that is behind ours
	s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.URL.Query().Get("page") == "2" {
			plain(404, "application/json", "{}")(w, r)
			return
		}
		u.ServeHTTP(w, r)
	}, edits(numbered(10), ascending))
	u.limit = 10
	pages, err := readAll(t, s.Walk(nil))
	if err != nil || value(pages[len(pages)-1].Checkpoint) != u.clock.Format(time.RFC3339Nano) {
		t.Errorf("got %v, %v; want the walk to end at the upstream's clock %s", pages, err, u.clock)
	}
}

// mangled serves a table that shows no readable time for some of its times.
func mangled(u *table, hidden func() []time.Time) nethttp.HandlerFunc {
	return func(w nethttp.ResponseWriter, r *nethttp.Request) {
		rec := httptest.NewRecorder()
		u.ServeHTTP(rec, r)
		body := rec.Body.String()
		for _, at := range hidden() {
			body = strings.ReplaceAll(body, at.Format(time.RFC3339), "soon")
		}
		w.Header().Set("Date", rec.Header().Get("Date"))
		answerJSON(w, body)
	}
}

// TestUnreadableTimeBehindTheFirstPageCountsAsMoved holds that a record that moved away with a time that cannot be read
// hides none that moved up, and that the pages read again say what is wrong with their records too.
func TestUnreadableTimeBehindTheFirstPageCountsAsMoved(t *testing.T) {
	u := &table{items: minutes(25), limit: 10, clock: noon}
	late := noon.Add(-10 * time.Minute)
	u.before = func(n int, items []item) []item {
		if n == 2 { // record 1 moves to the end
			items[0].Updated = late
		}
		return items
	}
	s, _ := serve(t, mangled(u, func() []time.Time {
		if len(u.requests) < 2 {
			return nil
		}
		return []time.Time{late, u.items[4].Updated} // record 5 is on the first page, which is read again
	}), numbered(10))
	pages, err := readAll(t, s.Walk(nil))
	if err != nil {
		t.Fatal(err)
	}
	ids, faulty := map[string]bool{}, map[string]bool{}
	for _, p := range pages {
		for i, r := range p.Records {
			id := r.(map[string]any)["id"].(json.Number).String()
			ids[id] = true
			faulty[id] = faulty[id] || p.Faults[i] != nil
		}
	}
	if len(ids) != 25 {
		t.Errorf("read %d of 25 records: record 11 moved up to a page that was read before", len(ids))
	}
	for id, got := range faulty {
		if want := id == "1" || id == "5"; got != want {
			t.Errorf("record %s at fault: %t, want %t", id, got, want)
		}
	}
}
