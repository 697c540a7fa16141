package request

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// paged is a valid source with every placeholder known; edits make variants.
func paged(edit func(*spec.HTTPSource)) spec.HTTPSource {
	s := spec.HTTPSource{
		Request: spec.Request{Path: "/items", Query: []spec.NameValue{
			{Name: "page", Value: "{page}"}, {Name: "per_page", Value: "{pageSize}"}, {Name: "since", Value: "{cursor}"},
		}},
		Pagination: spec.Pagination{Page: &spec.PagePagination{First: 1, Size: 50}},
		Cursor:     &spec.Cursor{Timestamp: &spec.TimestampCursor{From: "updated", Format: spec.FormatRFC3339}},
		Order:      spec.OrderNone,
		Limits:     spec.DefaultLimits(),
	}
	if edit != nil {
		edit(&s)
	}
	return s
}

func mustBase(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := ParseBase(raw)
	if err != nil {
		t.Fatalf("ParseBase(%q): %v", raw, err)
	}
	return u
}

func TestRenderEncodesForThePlace(t *testing.T) {
	cursor := "a&b=c d/é+'\"?#%"
	for name, tc := range map[string]struct {
		base    string
		edit    func(*spec.HTTPSource)
		cursor  *string
		want    string
		headers http.Header
	}{
		"cursor left out while there is none": {
			base: "https://api.example.com/v1", want: "https://api.example.com/v1/items?page=7&per_page=50",
		},
		"cursor encoded in a query value": {
			base: "https://api.example.com/v1/", cursor: &cursor,
			want: "https://api.example.com/v1/items?page=7&per_page=50&since=a%26b%3Dc%20d%2F%C3%A9%2B%27%22%3F%23%25",
		},
		"page in a path, literals kept as they are encoded": {
			base: "https://api.example.com", edit: func(s *spec.HTTPSource) {
				s.Request = spec.Request{Path: "/a%2Fb/ü x/{page}/", Query: []spec.NameValue{{Name: "c d", Value: "{cursor}"}}}
			},
			want: "https://api.example.com/a%2Fb/%C3%BC%20x/7/",
		},
		"an encoded base path stays": {
			base: "https://api.example.com/t%2F1", want: "https://api.example.com/t%2F1/items?page=7&per_page=50",
		},
		"an empty path is the base itself": {
			base: "https://api.example.com/v1", edit: func(s *spec.HTTPSource) { s.Request.Path = "" },
			want: "https://api.example.com/v1?page=7&per_page=50",
		},
		"braces of JSON are literal": {
			base: "http://h", cursor: new("x"), edit: func(s *spec.HTTPSource) {
				s.Request.Query = []spec.NameValue{{Name: "f", Value: `{"gt":"{cursor}","p":{ page }}`}}
			},
			want: "http://h/items?f=%7B%22gt%22%3A%22x%22%2C%22p%22%3A7%7D",
		},
		"headers, with and without a cursor": {
			base: "http://h", edit: func(s *spec.HTTPSource) {
				s.Request.Headers = []spec.NameValue{{Name: "x-since", Value: "{cursor}"}, {Name: "x-page", Value: "p{page}"}}
			},
			want: "http://h/items?page=7&per_page=50", headers: http.Header{"X-Page": {"p7"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tmpl, problems := Compile(paged(tc.edit))
			if len(problems) > 0 {
				t.Fatalf("problems: %v", problems)
			}
			u, h, err := tmpl.Render(mustBase(t, tc.base), Values{Cursor: tc.cursor, Page: 7, PageSize: 50})
			if err != nil {
				t.Fatal(err)
			}
			if u.String() != tc.want {
				t.Errorf("URL\n got %s\nwant %s", u, tc.want)
			}
			if tc.headers != nil {
				if diff := cmp.Diff(tc.headers, h); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestRenderRefusesACursorThatAHeaderCannotCarry(t *testing.T) {
	tmpl, problems := Compile(paged(func(s *spec.HTTPSource) {
		s.Request.Headers = []spec.NameValue{{Name: "x-since", Value: "{cursor}"}}
	}))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	_, _, err := tmpl.Render(mustBase(t, "http://h"), Values{Cursor: new("a\r\nX-Evil: 1")})
	if err == nil || !strings.Contains(err.Error(), "X-Since") || strings.Contains(err.Error(), "Evil") {
		t.Errorf("got %v, want an error that names the header and not the value", err)
	}
}

func TestCompileReportsMistakes(t *testing.T) {
	query := func(name, value string) func(*spec.HTTPSource) {
		return func(s *spec.HTTPSource) {
			s.Request.Query = append(s.Request.Query, spec.NameValue{Name: name, Value: value})
		}
	}
	header := func(name, value string) func(*spec.HTTPSource) {
		return func(s *spec.HTTPSource) { s.Request.Headers = []spec.NameValue{{Name: name, Value: value}} }
	}
	path := func(p string) func(*spec.HTTPSource) { return func(s *spec.HTTPSource) { s.Request.Path = p } }
	for name, tc := range map[string]struct {
		edit        func(*spec.HTTPSource)
		field, says string
	}{
		"unknown placeholder":      {query("q", "{crusor}"), "source.http.request.query[3].value", "{crusor}: known here are {cursor}, {page}, {pageSize}"},
		"placeholder of no cursor": {func(s *spec.HTTPSource) { s.Cursor = nil }, "source.http.request.query[2].value", "it needs a cursor"},
		"placeholder of no pages":  {func(s *spec.HTTPSource) { s.Pagination.Page = nil }, "source.http.request.query[0].value", "it needs pagination by page"},
		"placeholder in a name":    {query("{page}", "1"), "source.http.request.query[3].name", "only in values"},
		"empty name":               {query("", "1"), "source.http.request.query[3].name", "empty"},
		"path without slash":       {path("items"), "source.http.request.path", "begin with a slash"},
		"absolute URL as path":     {path("https://evil.example/"), "source.http.request.path", "begin with a slash"},
		"query in the path":        {path("/items?x=1"), "source.http.request.path", "under query"},
		"dots in the path":         {path("/a/../b"), "source.http.request.path", `".."`},
		"encoded dots in the path": {path("/a/%2e%2E/b"), "source.http.request.path", `".."`},
		"percent in the path":      {path("/100%/b"), "source.http.request.path", "%25"},
		"cursor in the path":       {path("/since/{cursor}"), "source.http.request.path", "the first walk has none"},
		"credential header":        {header("authorization", "Bearer x"), "source.http.request.headers[0].name", "the connection's auth"},
		"compression header":       {header("Accept-Encoding", "br"), "source.http.request.headers[0].name", "negotiated"},
		"bad header name":          {header("a b", "x"), "source.http.request.headers[0].name", "not the name"},
		"bad header value":         {header("a", "x\ny"), "source.http.request.headers[0].value", "cannot carry"},
		"cursor never sent":        {func(s *spec.HTTPSource) { s.Request.Query = s.Request.Query[:2] }, "source.http.cursor", "never names {cursor}"},
		"page never sent":          {func(s *spec.HTTPSource) { s.Request.Query = s.Request.Query[1:] }, "source.http.pagination.page", "never names {page}"},
		"ascending without a time": {func(s *spec.HTTPSource) {
			s.Order, s.Cursor = spec.OrderAscending, &spec.Cursor{Token: &spec.TokenCursor{From: "t"}}
		}, "source.http.order", "timestamp cursor"},
		"unknown order":            {func(s *spec.HTTPSource) { s.Order = "Descending" }, "source.http.order", "None or Ascending"},
		"two cursors":              {func(s *spec.HTTPSource) { s.Cursor.Token = &spec.TokenCursor{From: "t"} }, "source.http.cursor", "exactly one"},
		"token without field":      {func(s *spec.HTTPSource) { s.Cursor = &spec.Cursor{Token: &spec.TokenCursor{}} }, "source.http.cursor.token.from", "empty"},
		"timestamp without field":  {func(s *spec.HTTPSource) { s.Cursor.Timestamp.From = "" }, "source.http.cursor.timestamp.from", "empty"},
		"unknown timestamp format": {func(s *spec.HTTPSource) { s.Cursor.Timestamp.Format = "Julian" }, "source.http.cursor.timestamp.format", "want one of"},
		"negative lookback":        {func(s *spec.HTTPSource) { s.Cursor.Timestamp.LookbackSeconds = -1 }, "source.http.cursor.timestamp", "at least 0"},
		"two paginations":          {func(s *spec.HTTPSource) { s.Pagination.LinkHeader = &spec.LinkHeader{} }, "source.http.pagination", "at most one"},
		"page size of nothing":     {func(s *spec.HTTPSource) { s.Pagination.Page.Size = 0 }, "source.http.pagination.page", "at least 1"},
		"limits of nothing":        {func(s *spec.HTTPSource) { s.Limits.MaxRunBytes = 0 }, "source.http.limits", "at least 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := Compile(paged(tc.edit))
			for _, p := range problems {
				if p.Field == tc.field && strings.Contains(p.Message, tc.says) {
					return
				}
			}
			t.Errorf("got problems %v, want one at %s that says %q", problems, tc.field, tc.says)
		})
	}
}

func TestParseBase(t *testing.T) {
	for raw, says := range map[string]string{
		"ftp://h":                 "https://",
		"h/path":                  "https://",
		"https:///x":              "no host",
		"https://user:hunter2@h/": "use auth",
		"https://h/?key=hunter2":  "request's query",
		"https://h/#hunter2":      "fragment",
		"https://h hunter2/":      "does not parse",
		"https://%zzhunter2/":     "does not parse",
	} {
		_, err := ParseBase(raw)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("ParseBase(%q): got %v, want an error that says %q and not the URL", raw, err, says)
		}
	}
	if u := mustBase(t, "https://bücher.example/x"); u.Host != "xn--bcher-kva.example" {
		t.Errorf("host is %q, want it in ASCII", u.Host)
	}
}

func TestSameOrigin(t *testing.T) {
	for _, tc := range []struct {
		base, other string
		want        bool
	}{
		{"https://h/api", "https://h/other?x", true},
		{"https://h", "https://h:443/x", true},
		{"http://h:80", "http://h/x", true},
		{"https://Api.Example.com", "https://api.example.COM/x", true},
		{"https://bücher.example", "https://xn--bcher-kva.example/x", true},
		{"http://[::1]:8080", "http://[::1]:8080/x", true},
		{"https://h", "http://h/x", false},
		{"https://h", "https://h:8443/x", false},
		{"https://h", "https://h.evil.example/x", false},
		{"https://h", "https://evil.example/h", false},
		{"https://h", "https://user@h/x", false},
		{"https://h", "https:h", false},
		{"https://h", "javascript:alert(1)", false},
	} {
		u, err := url.Parse(tc.other)
		if err != nil {
			t.Fatal(err)
		}
		if got := SameOrigin(mustBase(t, tc.base), u); got != tc.want {
			t.Errorf("SameOrigin(%s, %s) = %t, want %t", tc.base, tc.other, got, tc.want)
		}
	}
}

// FuzzTemplate holds that a value never leaves its place: whatever the cursor, the request keeps its origin, path and
// parameters, and the server reads exactly the value.
func FuzzTemplate(f *testing.F) {
	f.Add("/items/{page}", "pre {cursor} post", "x&y=z#?/../\r\n\x00%zz{page}")
	f.Add("/a%2Fb/é", "{cursor}", "2024-01-01T00:00:00Z")
	f.Add("/{", "}{cursor}{", "{cursor}")
	f.Fuzz(func(t *testing.T, path, value, cursor string) {
		s := paged(func(s *spec.HTTPSource) {
			s.Request.Path = path
			s.Request.Query = append(s.Request.Query, spec.NameValue{Name: "v", Value: value})
		})
		tmpl, problems := Compile(s)
		if len(problems) > 0 {
			return
		}
		base := mustBase(t, "https://api.example.com/v1")
		u, _, err := tmpl.Render(base, Values{Cursor: &cursor, Page: 3, PageSize: 50})
		if err != nil {
			t.Fatalf("render: %v", err)
		}
		again, err := url.Parse(u.String())
		if err != nil || !SameOrigin(base, again) {
			t.Fatalf("%s parses as %v (%v), want the base's origin", u, again, err)
		}
		if again.EscapedPath() != u.EscapedPath() || !strings.HasPrefix(again.EscapedPath(), "/v1") {
			t.Fatalf("path is %s after parsing %s", again.EscapedPath(), u)
		}
		got, err := url.ParseQuery(again.RawQuery)
		if err != nil {
			t.Fatalf("query of %s: %v", u, err)
		}
		want := split(value).render(Values{Cursor: &cursor, Page: 3, PageSize: 50}, verbatim)
		if got.Get("since") != cursor || got.Get("v") != want || got.Get("page") != "3" {
			t.Fatalf("query of %s reads as %v", u, got)
		}
	})
}
