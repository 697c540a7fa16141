package http

import (
	"compress/gzip"
	"errors"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/source"
)

// plain answers with a status, a content type and a body.
func plain(status int, contentType, body string, header ...string) nethttp.HandlerFunc {
	return func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// cutOff promises more bytes than it sends.
func cutOff(w nethttp.ResponseWriter, _ *nethttp.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"items":[{"id":1},`)
}

// TestBadAnswers has a row for each answer that is not a page: its class, how often it is asked for again, and what
// the message says. None of them is an empty page.
func TestBadAnswers(t *testing.T) {
	const js = "application/json"
	long := strings.Repeat("x", maxHeaderBytes+1)
	past := time.Now().Add(-time.Hour).UTC().Format(nethttp.TimeFormat)
	for name, tc := range map[string]struct {
		handler nethttp.HandlerFunc
		want    source.Class
		status  int
		tries   int
		wait    time.Duration
		says    string
	}{
		"HTML":                            {plain(200, "text/html; charset=utf-8", "<html>"), source.BadAnswer, 0, 1, 0, "not JSON but text/html"},
		"HTML that claims to be JSON":     {plain(200, js, "<html>"), source.BadAnswer, 0, 1, 0, "not valid JSON"},
		"plain text":                      {plain(200, "text/plain", "[]"), source.BadAnswer, 0, 1, 0, "text/plain"},
		"a content type that is none":     {plain(200, "; ;", "[]"), source.BadAnswer, 0, 1, 0, "unreadable"},
		"truncated JSON":                  {plain(200, js, `{"items":[{"id":1},`), source.Transient, 0, maxTries, 0, "breaks off"},
		"a connection that is cut off":    {cutOff, source.Transient, 0, maxTries, 0, "the connection broke"},
		"an empty body":                   {plain(200, js, ""), source.Transient, 0, maxTries, 0, "empty"},
		"two JSON values":                 {plain(200, js, `{"items":[]}{"items":[]}`), source.BadAnswer, 0, 1, 0, "not valid JSON"},
		"JSON of another shape":           {plain(200, js, `{"error":"x"}`), source.BadAnswer, 0, 1, 0, "items"},
		"an object for the list":          {plain(200, js, `{"items":{}}`), source.BadAnswer, 0, 1, 0, "array"},
		"a compression not asked for":     {plain(200, js, "x", "Content-Encoding", "br"), source.BadAnswer, 0, 1, 0, "compressed"},
		"no content":                      {plain(204, js, ""), source.BadAnswer, 204, 1, 0, "204"},
		"400":                             {plain(400, js, `{}`), source.Rejected, 400, 1, 0, "400 Bad Request"},
		"401":                             {plain(401, js, `{}`), source.Unauthorized, 401, 1, 0, "credential"},
		"403":                             {plain(403, js, `{}`), source.Unauthorized, 403, 1, 0, "credential"},
		"404":                             {plain(404, js, `{}`), source.NotFound, 404, 1, 0, "base URL"},
		"410 without a cursor":            {plain(410, js, `{}`), source.NotFound, 410, 1, 0, "base URL"},
		"429 without a header":            {plain(429, js, `{}`), source.RateLimited, 429, maxTries, 0, "rate"},
		"429 with few seconds":            {plain(429, js, `{}`, "Retry-After", "7"), source.RateLimited, 429, maxTries, 7 * time.Second, "rate"},
		"429 with many seconds":           {plain(429, js, `{}`, "Retry-After", "3600"), source.RateLimited, 429, 1, time.Hour, "rate"},
		"429 with a date":                 {plain(429, js, `{}`, "Retry-After", "Fri, 01 Jan 2100 00:00:00 GMT"), source.RateLimited, 429, 1, maxRetryAfter, "rate"},
		"429 with a date that has passed": {plain(429, js, `{}`, "Retry-After", past), source.RateLimited, 429, maxTries, 0, "rate"},
		"500":                             {plain(500, js, `{}`), source.Transient, 500, maxTries, 0, "500"},
		"503 with Retry-After":            {plain(503, js, `{}`, "Retry-After", "60"), source.RateLimited, 503, 1, time.Minute, "503"},
		"a redirect to another host":      {plain(302, js, "", "Location", "https://evil.example/?t=x"), source.Refused, 0, 1, 0, "https://evil.example:443"},
		"a redirect to another port":      {plain(307, js, "", "Location", "//127.0.0.1:1/items"), source.Refused, 0, 1, 0, "leads to http://127.0.0.1:1"},
		"a redirect to a file":            {plain(301, js, "", "Location", "file:///etc/passwd"), source.Refused, 0, 1, 0, "leads to"},
		"a redirect to itself":            {plain(302, js, "", "Location", "/items"), source.BadAnswer, 0, 1, 0, "more than 5 redirects"},
		"a redirect to nowhere":           {plain(302, js, ""), source.BadAnswer, 0, 1, 0, "without a target"},
		"a redirect to no URL":            {plain(302, js, "", "Location", "http://[::1/"), source.BadAnswer, 0, 1, 0, "not a URL"},
		"headers without end":             {plain(200, js, "{}", "X-Long", long), source.Transient, 0, maxTries, 0, "connection broke"},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			s, waits := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
				requests++
				tc.handler(w, r)
			}, nil)
			page, err := s.Walk(nil).Next(t.Context())
			e, ok := errors.AsType[*source.Error](err)
			if !ok {
				t.Fatalf("got page %v, error %v; want a source error", page, err)
			}
			if e.Class != tc.want || e.Status != tc.status || e.RetryAfter != tc.wait || e.Page != 1 {
				t.Errorf("got %s, status %d, wait %s, page %d; want %s, %d, %s, 1", e.Class, e.Status, e.RetryAfter, e.Page, tc.want, tc.status, tc.wait)
			}
			if !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "/items") {
				t.Errorf("message %q does not name the request and say %q", err, tc.says)
			}
			if len(*waits) != tc.tries-1 {
				t.Errorf("waited %v, want %d tries", *waits, tc.tries)
			}
			for _, w := range *waits {
				if w <= 0 || w < tc.wait || w > 2*maxWait {
					t.Errorf("waited %s, want more than %s and at most %s", w, tc.wait, 2*maxWait)
				}
			}
		})
	}
}

func TestExpiredCursorIs410AfterAStoredOne(t *testing.T) {
	s, _ := serve(t, plain(410, "application/json", "{}"), numbered(10))
	_, err := s.Walk(stored(time.Hour)).Next(t.Context())
	if source.ClassOf(err) != source.CursorExpired {
		t.Errorf("got %v, want %s", err, source.CursorExpired)
	}
}

func TestWalkSaysTheSameAfterItsEnd(t *testing.T) {
	s, _ := serve(t, plain(404, "application/json", "{}"), nil)
	w := s.Walk(nil)
	_, first := w.Next(t.Context())
	_, second := w.Next(t.Context())
	if first == nil || !errors.Is(second, first) {
		t.Errorf("got %v, then %v; want the same error", first, second)
	}
}

func TestFailuresThatPassAreRetried(t *testing.T) {
	requests := 0
	s, waits := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		switch requests++; requests {
		case 1:
			w.WriteHeader(nethttp.StatusBadGateway)
		case 2:
			plain(429, "application/json", "", "Retry-After", "3")(w, r)
		case 3:
			cutOff(w, r)
		default:
			answerJSON(w, `{"items":[{"id":1}]}`)
		}
	}, nil)
	pages, err := readAll(t, s.Walk(nil))
	if err != nil || len(pages) != 1 || len(pages[0].Records) != 1 {
		t.Fatalf("got %v, %v; want the page of the fourth try", pages, err)
	}
	if (*waits)[1] < 3*time.Second {
		t.Errorf("waited %v, want at least the 3 s that the upstream asked for", *waits)
	}
}

func TestSameOriginRedirectIsFollowedWithTheCredential(t *testing.T) {
	s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+secret:
			w.WriteHeader(nethttp.StatusUnauthorized)
		case r.URL.Path == "/items":
			nethttp.Redirect(w, r, "/v2/items#part", nethttp.StatusPermanentRedirect)
		default:
			answerJSON(w, `{"items":[{"id":1}]}`)
		}
	}, nil)
	pages, err := readAll(t, s.Walk(nil))
	if err != nil || len(pages) != 1 {
		t.Errorf("got %v, %v; want the page behind the redirect", pages, err)
	}
}

func TestCredentialIsNeverSentElsewhere(t *testing.T) {
	for name, answer := range map[string]func(other string) nethttp.HandlerFunc{
		"redirect": func(other string) nethttp.HandlerFunc {
			return plain(302, "application/json", "", "Location", other)
		},
		"next link": func(other string) nethttp.HandlerFunc {
			return plain(200, "application/json", `{"items":[{"id":1}]}`, "Link", "<"+other+`>; rel="next"`)
		},
		"next link with user information": func(string) nethttp.HandlerFunc {
			return func(w nethttp.ResponseWriter, r *nethttp.Request) {
				plain(200, "application/json", `{"items":[{"id":1}]}`, "Link", "<http://u:p@"+r.Host+`/>; rel="next"`)(w, r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var reached atomic.Int32
			other := httptest.NewServer(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) { reached.Add(1) }))
			t.Cleanup(other.Close)
			s, _ := serve(t, answer(other.URL+"/items?page=2"), linked)
			_, err := readAll(t, s.Walk(nil))
			if err == nil || source.ClassOf(err) != source.Refused || reached.Load() > 0 {
				t.Errorf("got %v and %d requests at the other server, want %s and none", err, reached.Load(), source.Refused)
			}
		})
	}
}

func TestPaginationThatGoesInCircles(t *testing.T) {
	for name, tc := range map[string]struct {
		edit    func(*Config)
		handler nethttp.HandlerFunc
		says    string
	}{
		"a link to itself": {linked, plain(200, "application/json", `{"items":[]}`, "Link", `</items>; rel="next"`), "in circles"},
		"links in turn": {linked, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			w.Header().Set("Link", `<?p=`+strconv.Itoa(1-atoi(r.URL.Query().Get("p")))+`>; rel="next"`)
			answerJSON(w, `{"items":[]}`)
		}, "in circles"},
		"a page number that is ignored": {numbered(2), func(w nethttp.ResponseWriter, r *nethttp.Request) {
			answerJSON(w, `{"at":"`+r.URL.RawQuery+`","items":[{"id":1,"updated":"2024-05-01T10:00:00Z"},{"id":2,"updated":"2024-05-01T10:00:01Z"}]}`)
		}, "same records"},
		"page number and cursor ignored, ascending": {edits(numbered(2), ascending), func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			answerJSON(w, `{"items":[{"id":1,"updated":"2024-05-01T10:00:00Z"},{"id":2,"updated":"2024-05-01T10:00:01Z"}]}`)
		}, "same records"},
		"a broken Link header": {linked, plain(200, "application/json", `{"items":[]}`, "Link", `<?p=2; rel="next"`), "Link header"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := serve(t, tc.handler, tc.edit)
			_, err := readAll(t, s.Walk(nil))
			if err == nil || source.ClassOf(err) != source.BadAnswer || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %s that says %q", err, source.BadAnswer, tc.says)
			}
		})
	}
}

func TestEndlessPaginationIsCutOff(t *testing.T) {
	requests := 0
	s, _ := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		requests++
		w.Header().Set("Link", `<?p=`+strconv.Itoa(requests)+`>; rel="next"`)
		answerJSON(w, `{"items":[{"id":`+strconv.Itoa(requests)+`}]}`)
	}, edits(linked, func(c *Config) { c.Spec.Limits.MaxPages = 7 }))
	pages, err := readAll(t, s.Walk(nil))
	if source.ClassOf(err) != source.LimitExceeded || !strings.Contains(err.Error(), "maxPages (7)") || len(pages) != 7 || requests != 7 {
		t.Errorf("got %d pages in %d requests, %v; want %s after 7", len(pages), requests, err, source.LimitExceeded)
	}
}

// endless writes records until the reader goes away, at most 5 GB, and counts what it wrote.
func endless(w io.Writer, written *atomic.Int64) {
	chunk := []byte(strings.Repeat(`{"id":1,"text":"0123456789abcdef"},`, 1000))
	_, _ = io.WriteString(w, `{"items":[`)
	for written.Load() < 5<<30 {
		n, err := w.Write(chunk)
		written.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func TestBodyOf5GBIsCutOffWhileItStreams(t *testing.T) {
	const limit = 1 << 20
	for name, tc := range map[string]struct {
		handler func(nethttp.ResponseWriter, *atomic.Int64)
		most    int64
	}{
		// What the sockets buffer is beyond the reader's control; it is far from 5 GB.
		"plain": {func(w nethttp.ResponseWriter, n *atomic.Int64) { endless(w, n) }, limit + 32<<20},
		"gzip bomb": {func(w nethttp.ResponseWriter, n *atomic.Int64) {
			w.Header().Set("Content-Encoding", "gzip")
			z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
			endless(z, n)
		}, 4 << 30},
		"size announced": {func(w nethttp.ResponseWriter, n *atomic.Int64) {
			w.Header().Set("Content-Length", strconv.Itoa(5<<30))
			endless(w, n)
		}, limit + 32<<20},
	} {
		t.Run(name, func(t *testing.T) {
			var written atomic.Int64
			done := make(chan struct{})
			s, waits := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				defer close(done)
				w.Header().Set("Content-Type", "application/json")
				tc.handler(w, &written)
			}, func(c *Config) { c.Spec.Limits.MaxPageBytes = limit })
			_, err := s.Walk(nil).Next(t.Context())
			if source.ClassOf(err) != source.LimitExceeded || !strings.Contains(err.Error(), "maxPageBytes (1048576)") || len(*waits) > 0 {
				t.Errorf("got %v after %v, want %s at once", err, *waits, source.LimitExceeded)
			}
			<-done
			if n := written.Load(); n > tc.most {
				t.Errorf("the server got rid of %d bytes, want it stopped soon after %d", n, limit)
			}
		})
	}
}

func TestPageOfTinyValuesIsNotDecoded(t *testing.T) {
	const limit = 1 << 20
	page := func(values int) string { return `{"items":[` + strings.Repeat("0,", values-1) + `{"text":"\",[{:"}]}` }
	for values, want := range map[int]source.Class{limit/bytesPerValue - 6: "", limit/bytesPerValue + 1: source.LimitExceeded} {
		s, _ := serve(t, plain(200, "application/json", page(values)), func(c *Config) { c.Spec.Limits.MaxPageBytes = limit })
		p, err := s.Walk(nil).Next(t.Context())
		if want == "" && (err != nil || len(p.Records) != values) || want != "" && source.ClassOf(err) != want {
			t.Errorf("%d values: got %d records, %v; want %q", values, len(p.Records), err, want)
		}
	}
}

func TestRunBytesAreBounded(t *testing.T) {
	requests := 0
	s, _ := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		requests++
		w.Header().Set("Link", `<?p=`+strconv.Itoa(requests)+`>; rel="next"`)
		answerJSON(w, `{"items":[{"id":`+strconv.Itoa(requests)+`,"text":"`+strings.Repeat("x", 1000)+`"}]}`)
	}, edits(linked, func(c *Config) { c.Spec.Limits.MaxRunBytes = 3500 }))
	pages, err := readAll(t, s.Walk(nil))
	if source.ClassOf(err) != source.LimitExceeded || !strings.Contains(err.Error(), "maxRunBytes") || len(pages) != 3 {
		t.Errorf("got %d pages, %v; want %s after 3", len(pages), err, source.LimitExceeded)
	}
}

func TestMisorderedSourceStops(t *testing.T) {
	s, _ := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		answerJSON(w, `{"items":[{"id":1,"updated":"2024-05-01T10:00:01Z"},{"id":2,"updated":"2024-05-01T10:00:00Z"}]}`)
	}, edits(numbered(2), ascending))
	pages, err := readAll(t, s.Walk(nil))
	if source.ClassOf(err) != source.Misordered || len(pages) > 0 || !strings.Contains(err.Error(), "record 2") {
		t.Errorf("got %v, %v; want %s that names record 2", pages, err, source.Misordered)
	}
}
