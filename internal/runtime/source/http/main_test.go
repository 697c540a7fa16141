package http

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is the credential of all tests; no error may hold it.
const secret = "s3cret/+=value"

// serve starts an upstream on loopback and a source that may reach it, with waits recorded instead of slept.
func serve(t *testing.T, h nethttp.HandlerFunc, edit func(*Config)) (*Source, *[]time.Duration) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return open(t, server.URL, edit)
}

func open(t *testing.T, baseURL string, edit func(*Config)) (*Source, *[]time.Duration) {
	t.Helper()
	cfg := Config{
		Spec: spec.HTTPSource{
			Request: spec.Request{Path: "/items"}, Records: "items", ID: "record.id",
			Order: spec.OrderNone, Limits: spec.DefaultLimits(),
		},
		Connection: spec.HTTP{BaseURL: baseURL, Auth: spec.AuthBearer, TimeoutMillis: 30_000, AllowedCIDRs: []string{"127.0.0.0/8"}},
		Credential: spec.Credential{Token: secret},
	}
	if edit != nil {
		edit(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	waits := &[]time.Duration{}
	s.client.sleep = func(_ context.Context, d time.Duration) error { *waits = append(*waits, d); return nil }
	return s, waits
}

// numbered asks for pages of that size.
func numbered(size int) func(*Config) {
	return func(c *Config) {
		c.Spec.Pagination.Page = &spec.PagePagination{First: 1, Size: size}
		c.Spec.Request.Query = []spec.NameValue{
			{Name: "page", Value: "{page}"}, {Name: "size", Value: "{pageSize}"}, {Name: "since", Value: "{cursor}"},
		}
		c.Spec.Cursor = &spec.Cursor{Timestamp: &spec.TimestampCursor{From: "updated", Format: spec.FormatRFC3339}}
	}
}

func linked(c *Config) { c.Spec.Pagination.LinkHeader = &spec.LinkHeader{} }

func ascending(c *Config) { c.Spec.Order = spec.OrderAscending }

func edits(list ...func(*Config)) func(*Config) {
	return func(c *Config) {
		for _, e := range list {
			e(c)
		}
	}
}

// readAll drains a walk.
func readAll(t *testing.T, w source.Walker) ([]source.Page, error) {
	t.Helper()
	var pages []source.Page
	for {
		p, err := w.Next(t.Context())
		switch {
		case errors.Is(err, io.EOF):
			return pages, nil
		case err != nil:
			return pages, err
		}
		pages = append(pages, p)
	}
}

func answerJSON(w nethttp.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = io.WriteString(w, body)
}

// item is a record of the upstream below.
type item struct {
	ID      int64     `json:"id"`
	Updated time.Time `json:"updated"`
}

// table is an upstream with one list, ordered by time and id, filtered by an inclusive lower bound and cut into
// numbered pages of at most limit records.
type table struct {
	mu       sync.Mutex
	items    []item
	limit    int
	links    bool
	clock    time.Time // the Date of answers, unless zero
	requests []url.Values
	// before, when set, changes the table before request n is answered, from 1.
	before func(n int, items []item) []item
}

func (u *table) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	q := r.URL.Query()
	u.requests = append(u.requests, q)
	if u.before != nil {
		u.items = u.before(len(u.requests), u.items)
	}
	if !u.clock.IsZero() {
		w.Header().Set("Date", u.clock.UTC().Format(nethttp.TimeFormat))
	}
	page, size := max(atoi(q.Get("page")), 1), min(max(atoi(q.Get("size")), 1), u.limit)
	list := u.since(q.Get("since"))
	start, end := min((page-1)*size, len(list)), min(page*size, len(list))
	if u.links && end < len(list) {
		q.Set("page", strconv.Itoa(page+1))
		w.Header().Set("Link", "<?"+q.Encode()+`>; rel="next"`)
	}
	body, _ := json.Marshal(map[string]any{"items": list[start:end]})
	answerJSON(w, string(body))
}

func (u *table) since(bound string) []item {
	from, _ := time.Parse(time.RFC3339Nano, bound)
	list := slices.DeleteFunc(slices.Clone(u.items), func(i item) bool { return i.Updated.Before(from) })
	slices.SortFunc(list, func(a, b item) int { return cmp.Or(a.Updated.Compare(b.Updated), cmp.Compare(a.ID, b.ID)) })
	return list
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// minutes makes n items, one minute apart, the newest an hour before noon.
func minutes(n int) []item {
	items := make([]item, n)
	for i := range items {
		items[i] = item{ID: int64(i + 1), Updated: noon.Add(-time.Hour - time.Duration(n-i)*time.Minute)}
	}
	return items
}

// seen maps each id that was handed over to its newest time.
func seen(pages []source.Page) map[int64]time.Time {
	got := map[int64]time.Time{}
	for _, p := range pages {
		for _, r := range p.Records {
			m := r.(map[string]any)
			id, _ := m["id"].(json.Number).Int64()
			updated, _ := time.Parse(time.RFC3339Nano, m["updated"].(string))
			if updated.After(got[id]) {
				got[id] = updated
			}
		}
	}
	return got
}

// want maps each item of the list to its time.
func want(items []item) map[int64]time.Time {
	m := map[int64]time.Time{}
	for _, i := range items {
		m[i.ID] = i.Updated
	}
	return m
}
