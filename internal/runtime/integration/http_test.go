package integration

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// upstream is a real HTTP server whose behaviour a test sets.
type upstream struct {
	*httptest.Server
	handler http.HandlerFunc
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { u.handler(w, r) }))
	t.Cleanup(u.Close)
	return u
}

// connect points the world's connection at the server and its handler at the real HTTP source.
func (u *upstream) connect(w *world) {
	w.t.Helper()
	w.config.Sources = HTTPSources()
	w.writeConnection(spec.Connection{Version: spec.Version, Provider: "acme", HTTP: &spec.HTTP{
		BaseURL: u.URL, Auth: spec.AuthNone, TimeoutMillis: 10_000, AllowedCIDRs: []string{"127.0.0.0/8"},
	}})
}

func answer(w http.ResponseWriter, status int, contentType, body string) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// list answers with records as JSON.
func list(records ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "application/json", "["+strings.Join(records, ",")+"]")
	}
}

func withCursor(s *spec.Subscription) {
	s.Source.HTTP.Request.Query = []spec.NameValue{{Name: "since", Value: "{cursor}"}, {Name: "page", Value: "{page}"}}
	s.Source.HTTP.Pagination = spec.Pagination{LinkHeader: &spec.LinkHeader{}}
	s.Source.HTTP.Request.Query = s.Source.HTTP.Request.Query[:1]
	s.Source.HTTP.Limits = spec.Limits{MaxPages: 20, MaxPageBytes: 1 << 20, MaxRunBytes: 8 << 20}
}

// TestBadInputOfTheUpstream runs every kind of bad answer from a real server through a whole run: each ends in an
// attempt that says what and where, and moves neither rows nor cursor.
func TestBadInputOfTheUpstream(t *testing.T) {
	newWorld := reusable(t)
	u := newUpstream(t)
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			answer(w, code, "application/json", `{"message":"no"}`)
		}
	}
	for name, tc := range map[string]struct {
		handler       http.HandlerFunc
		outcome, code string
		run, text     string
		forgotten     bool
	}{
		"HTML": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 200, "text/html", "<html><body>Please log in</body></html>")
		}, "failed", "BadAnswer", "failed", "page 1", false},
		"truncated JSON": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			answer(w, 200, "application/json", `[{"id":"x","title":"half`)
		}, "failed", "Transient", "pending", "page 1", false},
		"JSON of another shape": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 200, "application/json", `{"error":"no list here"}`)
		}, "failed", "BadAnswer", "failed", "page 1", false},
		"401": {status(401), "failed", "Unauthorized", "failed", "401", false},
		"403": {status(403), "failed", "Unauthorized", "failed", "403", false},
		"404": {status(404), "failed", "NotFound", "failed", "404", false},
		"410": {status(410), "partial", "CursorExpired", "completed", "410", true},
		"429": {status(429, "Retry-After", "3600"), "partial", "RateLimited", "completed", "429", false},
		"400": {status(400), "failed", "Rejected", "failed", "400", false},
		"redirect to another host": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:1/elsewhere", http.StatusFound)
		}, "failed", "Refused", "failed", "page 1", false},
		"next link to another host": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", `<https://api.example.com/next>; rel="next"`)
			answer(w, 200, "application/json", `[]`)
		}, "failed", "Refused", "failed", "page 1", false},
		"endless pagination": {func(w http.ResponseWriter, r *http.Request) {
			n := len(r.URL.Query().Get("n"))
			w.Header().Set("Link", fmt.Sprintf(`<%s/tickets?n=%s>; rel="next"`, u.URL, strings.Repeat("x", n+1)))
			answer(w, 200, "application/json", fmt.Sprintf(`[{"id":"a","title":"one","updated":"2024-01-01T00:00:00Z","n":%d}]`, n))
		}, "failed", "LimitExceeded", "failed", "maxPages", false},
		"pagination in a circle": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", fmt.Sprintf(`<%s/tickets?again>; rel="next"`, u.URL))
			answer(w, 200, "application/json", `[{"id":"a","title":"one","updated":"2024-01-01T00:00:00Z"}]`)
		}, "failed", "BadAnswer", "failed", "page", false},
		"a body without end": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			chunk := `[` + strings.Repeat(`{"id":"x"},`, 1000)
			for i := 0; i < 5<<30 && r.Context().Err() == nil; i += len(chunk) {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
			}
		}, "failed", "LimitExceeded", "failed", "maxPageBytes", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, withCursor)
			u.connect(w)
			u.handler = list(ticket("a", "one", day(1)))
			w.sync()
			cursor := w.cursor()
			u.handler = tc.handler
			_ = w.handle(t.Context(), w.start())
			got := w.attempt()
			if got.Outcome != tc.outcome || got.Code != tc.code || !strings.Contains(got.Error, tc.text) {
				t.Errorf("attempt is %+v, want %s with code %s and a message with %q", got, tc.outcome, tc.code, tc.text)
			}
			if run := w.runState(); !strings.HasPrefix(run, tc.run) {
				t.Errorf("run is %s, want %s", run, tc.run)
			}
			if now := w.cursor(); tc.forgotten && now != "" || !tc.forgotten && now != cursor {
				t.Errorf("cursor went from %q to %q", cursor, now)
			}
			same(t, "rows", []string{"a one - alive v1"}, w.rows())
		})
	}
}

// TestBadRecordsOfTheUpstream lets one page hold every kind of record that cannot be applied, among good ones.
func TestBadRecordsOfTheUpstream(t *testing.T) {
	w := newWorld(t, withCursor, func(s *spec.Subscription) { s.OnError.StopRatio = "1" })
	u := newUpstream(t)
	u.connect(w)
	u.handler = list(
		ticket("a", "one", day(1), `"amount":12345678901234567890.123456789012345678901234567890`),
		`{"id":9007199254740993,"title":"64 bits","amount":9223372036854775807,"updated":"2024-01-02T00:00:00Z"}`,
		`{"title":"no id","updated":"2024-01-02T00:00:00Z"}`,
		`{"id":"nul","title":"a\u0000b","updated":"2024-01-02T00:00:00Z"}`,
		ticket("number", "x", day(2), `"amount":"many"`),
		ticket("z", "last", day(3)),
	)
	got := w.sync()
	if got.Outcome != "partial" || got.Counts.quarantined != 3 || got.Counts.created != 3 {
		t.Errorf("attempt is %+v, want 3 created and 3 set aside", got)
	}
	same(t, "rows", []string{
		"9007199254740993 64 bits 9223372036854775807 alive v1",
		"a one 12345678901234567890.123456789012345678901234567890 alive v1", "z last - alive v1",
	}, w.rows())
	open := w.quarantine()
	if len(open) != 3 || open[0] != "nul nul_character 1 open" || open[1] != "number invalid_value 1 open" ||
		!strings.HasPrefix(open[2], "sha256:") {
		t.Errorf("quarantine is %q", open)
	}
	if w.cursor() == "" {
		t.Error("the cursor did not move although every record was applied or set aside")
	}
}
