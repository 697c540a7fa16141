package http

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	nethttp "net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestWalkReadsTheWholeList(t *testing.T) {
	for name, tc := range map[string]struct {
		items, limit int
		links        bool
		edit         func(*Config)
		requests     int
	}{
		"one short page":             {5, 100, false, numbered(10), 2},
		"full pages and a short one": {25, 100, false, numbered(10), 4},
		"only full pages":            {20, 100, false, numbered(10), 3},
		"nothing":                    {0, 100, false, numbered(10), 1},
		"the server caps the page":   {25, 4, false, numbered(10), 8},
		"ascending, one short page":  {5, 100, false, edits(numbered(10), ascending), 2},
		"ascending, full pages":      {25, 100, false, edits(numbered(10), ascending), 4},
		"ascending, nothing":         {0, 100, false, edits(numbered(10), ascending), 1},
		"ascending, the server caps": {25, 4, false, edits(numbered(10), ascending), 11},
		"ascending, a page of one":   {3, 1, false, edits(numbered(1), ascending), 6},
		"links":                      {25, 10, true, linkedTable, 3},
		"links, one page":            {5, 10, true, linkedTable, 1},
		"links, ascending":           {25, 10, true, edits(linkedTable, ascending), 3},
	} {
		t.Run(name, func(t *testing.T) {
			u := &table{items: minutes(tc.items), limit: tc.limit, links: tc.links}
			s, _ := serve(t, u.ServeHTTP, tc.edit)
			pages, err := readAll(t, s.Walk(nil))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want(u.items), seen(pages)); diff != "" {
				t.Errorf("records (-upstream +read):\n%s", diff)
			}
			if len(u.requests) != tc.requests {
				t.Errorf("%d requests, want %d: %v", len(u.requests), tc.requests, u.requests)
			}
			if last := pages[len(pages)-1]; tc.items > 0 && value(last.Checkpoint) != u.items[tc.items-1].Updated.Format(time.RFC3339Nano) {
				t.Errorf("the walk ends at %s, want the newest time", value(last.Checkpoint))
			}
		})
	}
}

// linkedTable follows the Link headers of table.
func linkedTable(c *Config) {
	numbered(10)(c)
	c.Spec.Pagination = spec.Pagination{LinkHeader: &spec.LinkHeader{}}
	c.Spec.Request.Query = []spec.NameValue{{Name: "size", Value: "10"}, {Name: "since", Value: "{cursor}"}}
}

func TestWalkWithoutPaginationIsOneRequest(t *testing.T) {
	requests := 0
	s, _ := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		requests++
		answerJSON(w, `{"items":[{"id":1},{"id":2}]}`)
	}, nil)
	pages, err := readAll(t, s.Walk(nil))
	if err != nil || len(pages) != 1 || len(pages[0].Records) != 2 || requests != 1 {
		t.Errorf("got %v, %v in %d requests; want one page of two records", pages, err, requests)
	}
}

func TestOrderedWalkLosesNoRecordThatMovesUp(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"pages": edits(numbered(3), ascending),
		"links": edits(linkedTable, ascending, func(c *Config) { c.Spec.Request.Query[0].Value = "3" }),
	} {
		t.Run(name, func(t *testing.T) {
			u := &table{items: minutes(12), limit: 3, links: name == "links"}
			u.before = func(n int, items []item) []item {
				if n == 2 { // records 1 and 2 change after they were read: 4 and 5 move up to where they were
					items[0].Updated, items[1].Updated = noon, noon.Add(time.Second)
				}
				return items
			}
			s, _ := serve(t, u.ServeHTTP, edit)
			pages, err := readAll(t, s.Walk(nil))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want(u.items), seen(pages)); diff != "" {
				t.Errorf("records (-upstream +read):\n%s", diff)
			}
		})
	}
}

func TestOrderedWalkReadsTiesThatFillPages(t *testing.T) {
	u := &table{items: minutes(20), limit: 3}
	for i := 4; i < 15; i++ {
		u.items[i].Updated = u.items[4].Updated
	}
	s, _ := serve(t, u.ServeHTTP, edits(numbered(3), ascending))
	pages, err := readAll(t, s.Walk(nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want(u.items), seen(pages)); diff != "" {
		t.Errorf("records (-upstream +read):\n%s", diff)
	}
}

// TestOrderedWalksCoverAChangingTable plays many tables with ties, a silent cap and changes between the requests,
// kills the walk at random, and goes on from the last checkpoint: in the end each record was read as it is.
func TestOrderedWalksCoverAChangingTable(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			u := randomTable(r)
			s, _ := serve(t, u.ServeHTTP, edits(numbered(2+r.IntN(9)), ascending, func(c *Config) {
				c.Spec.Cursor.Timestamp.LookbackSeconds = int64(r.IntN(2) * 90)
				c.Now = func() time.Time { return noon.Add(time.Hour) }
			}))
			pages := killedWalks(t, s, u, r)
			if diff := cmp.Diff(want(u.items), seen(pages)); diff != "" {
				t.Errorf("records (-upstream +read):\n%s", diff)
			}
		})
	}
}

// killedWalks reads a changing table in three walks, each killed at random, and in a fourth when the table stands still.
func killedWalks(t *testing.T, s *Source, u *table, r *rand.Rand) (pages []source.Page) {
	t.Helper()
	var cursor *source.Cursor
	for attempt := range 4 {
		if attempt == 3 {
			u.before = nil
		}
		got, last, err := readSome(t, s.Walk(cursor), r, attempt == 3)
		if err != nil {
			t.Fatal(err)
		}
		if pages = append(pages, got...); last != nil {
			cursor = last
		}
	}
	return pages
}

func randomTable(r *rand.Rand) *table {
	u := &table{items: minutes(40), limit: 2 + r.IntN(9)}
	for i := range u.items { // ties, some longer than a page
		u.items[i].Updated = u.items[i].Updated.Truncate(time.Duration(1+r.IntN(4)) * time.Minute)
	}
	clock := noon.Add(-time.Hour)
	u.before = func(_ int, items []item) []item {
		if clock = clock.Add(time.Duration(1+r.IntN(3)) * time.Second); r.IntN(2) == 0 {
			items[r.IntN(len(items))].Updated = clock
		}
		return items
	}
	return u
}

// readSome reads pages until the end or, when the walk may be killed, until a throw of the dice says so.
func readSome(t *testing.T, w source.Walker, r *rand.Rand, all bool) (pages []source.Page, last *source.Cursor, err error) {
	t.Helper()
	for all || r.IntN(8) > 0 {
		p, err := w.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return pages, last, err
		}
		if pages = append(pages, p); p.Checkpoint != nil {
			last = p.Checkpoint
		}
	}
	return pages, last, nil
}

func TestWalkWithoutOrderStaysBehindItsBeginning(t *testing.T) {
	u := &table{items: minutes(6), limit: 2}
	begin := noon.Add(-30 * time.Minute)
	u.before = func(n int, items []item) []item {
		switch n {
		case 2:
			items[0].Updated = noon.Add(-20 * time.Minute) // was read, will not be read again
		case 3:
			items[5].Updated = noon.Add(-10 * time.Minute) // will be read with its new time
		}
		return items
	}
	clock := begin
	s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("Date", clock.Format(nethttp.TimeFormat))
		clock = clock.Add(10 * time.Minute)
		u.ServeHTTP(w, r)
	}, numbered(2))
	pages, err := readAll(t, s.Walk(nil))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pages[:len(pages)-1] {
		if p.Checkpoint != nil {
			t.Errorf("page %d of an unordered walk has a checkpoint", i+1)
		}
	}
	if got := value(pages[len(pages)-1].Checkpoint); got != begin.Format(time.RFC3339Nano) {
		t.Errorf("the walk ends at %s, want its beginning %s: record 1 changed after it was read", got, begin)
	}
}

func TestWalkUnderstandsA404BeyondTheLastPage(t *testing.T) {
	for name, tc := range map[string]struct {
		items int
		html  bool
		want  source.Class // "" is a whole walk
	}{
		"JSON after a short page": {items: 5, want: ""},
		"JSON after a full page":  {items: 4, want: source.NotFound},
		"HTML after a short page": {items: 5, html: true, want: source.NotFound},
		"JSON for the first page": {items: 0, want: source.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			u := &table{items: minutes(tc.items), limit: 2}
			s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
				if (atoi(r.URL.Query().Get("page"))-1)*2 < tc.items {
					u.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", map[bool]string{false: "application/json", true: "text/html"}[tc.html])
				w.WriteHeader(nethttp.StatusNotFound)
				_, _ = io.WriteString(w, `{"detail":"Invalid page."}`)
			}, numbered(2))
			pages, err := readAll(t, s.Walk(nil))
			if tc.want == "" {
				if err != nil || len(seen(pages)) != tc.items || pages[len(pages)-1].Checkpoint == nil {
					t.Errorf("read %d of %d records, %v; want all and a checkpoint", len(seen(pages)), tc.items, err)
				}
				return
			}
			if err == nil || source.ClassOf(err) != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestTokenIsSentAndComesAfterTheDrainR1R2(t *testing.T) {
	var sent []string
	s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		sent = append(sent, r.URL.RawQuery)
		if r.URL.Query().Get("p") == "" {
			w.Header().Set("Link", `<?p=2>; rel="next"`)
			answerJSON(w, `{"items":[{"id":1}],"last_seq":41}`)
			return
		}
		answerJSON(w, `{"items":[{"id":2}],"last_seq":42}`)
	}, edits(linked, func(c *Config) {
		c.Spec.Cursor = &spec.Cursor{Token: &spec.TokenCursor{From: "last_seq"}}
		c.Spec.Request.Query = []spec.NameValue{{Name: "since", Value: "{cursor}"}}
	}))
	for _, from := range []*source.Cursor{nil, {Kind: kindToken, Value: "a b&c"}} {
		pages, err := readAll(t, s.Walk(from))
		if err != nil || len(pages) != 2 || pages[0].Checkpoint != nil || value(pages[1].Checkpoint) != "42" {
			t.Errorf("from %v: got %v, %v; want the token at the end only", from, pages, err)
		}
	}
	if diff := cmp.Diff([]string{"", "p=2", "since=a%20b%26c", "p=2"}, sent); diff != "" {
		t.Errorf("queries (-want +got):\n%s", diff)
	}
}

func TestNumbersStayExact(t *testing.T) {
	s, _ := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		answerJSON(w, `{"items":[{"id":9007199254740993,"price":12.3000000000000000001}]}`)
	}, nil)
	pages, err := readAll(t, s.Walk(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(pages[0].Records[0]); got != "map[id:9007199254740993 price:12.3000000000000000001]" {
		t.Errorf("record is %s, want the digits that were sent", got)
	}
}
