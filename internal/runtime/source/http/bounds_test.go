package http

import (
	"context"
	"errors"
	"math"
	nethttp "net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/source"
)

func TestPageBytesAreNoLessThanItTakesDecoded(t *testing.T) {
	for name, record := range map[string]string{
		"digit":         `7`,
		"text":          `"abcdefgh"`,
		"empty object":  `{}`,
		"empty list":    `[]`,
		"one field":     `{"a":1}`,
		"three fields":  `{"a":1,"b":"x","c":null}`,
		"nine fields":   `{"a":1,"b":"x","c":null,"d":1,"e":2,"f":3,"g":4,"h":5,"i":1}`,
		"usual record":  `{"id":"0123456789abcde","updated":"2024-05-01 10:00:00.000Z","title":"some title of a ticket","n":12345,"tags":["a","b"],"owner":{"id":1}}`,
		"nested object": `{"a":{"a":{"a":{}}}}`,
	} {
		body := `{"items":[` + strings.Repeat(record+",", 20_000) + record + `]}`
		s, _ := serve(t, plain(200, "application/json", body), nil)
		page, err := s.Walk(nil).Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if took := decodedSize(t, []byte(body)); page.Bytes < took {
			t.Errorf("%s: a page of %d bytes is said to take %d, and takes %d", name, len(body), page.Bytes, took)
		}
	}
}

// decodedSize measures what the decoded form of a body takes, with some bytes to spare for what else was allocated.
func decodedSize(t *testing.T, body []byte) int64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	v, err := mapping.Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(v)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc) - 64<<10
}

func TestLargestBoundIsABound(t *testing.T) {
	s, _ := serve(t, plain(200, "application/json", `{"items":[{"id":1}]}`), func(c *Config) {
		c.Spec.Limits.MaxPageBytes, c.Spec.Limits.MaxRunBytes = math.MaxInt64, math.MaxInt64
	})
	if pages, err := readAll(t, s.Walk(nil)); err != nil || len(pages) != 1 {
		t.Errorf("got %v, %v; want the page", pages, err)
	}
}

func TestOwnRateLimitIsWaitedForOutsideTheTimeout(t *testing.T) {
	u := &table{items: minutes(25), limit: 10}
	s, waits := serve(t, u.ServeHTTP, edits(numbered(10), func(c *Config) {
		c.Limiter = rate.NewLimiter(rate.Every(50*time.Second), 1)
	}))
	pages, err := readAll(t, s.Walk(nil))
	if err != nil || len(seen(pages)) != 25 {
		t.Fatalf("read %d of 25 records, %v; want a walk of four requests although each waits longer than its timeout", len(seen(pages)), err)
	}
	for i, w := range *waits {
		if longest := time.Duration(i+1) * 50 * time.Second; w <= longest-50*time.Second || w > longest {
			t.Errorf("wait %d is %s, want its turn", i+1, w)
		}
	}
	if len(*waits) != 3 {
		t.Errorf("waited %v, want three waits", *waits)
	}
}

func TestOwnRateLimitFarAwayEndsTheRun(t *testing.T) {
	limiter := rate.NewLimiter(rate.Every(2*time.Hour), 1)
	s, waits := serve(t, plain(200, "application/json", `{"items":[]}`), func(c *Config) { c.Limiter = limiter })
	if _, err := s.Walk(nil).Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the turn that was not waited for is given back
		_, err := s.Walk(nil).Next(t.Context())
		e, ok := errors.AsType[*source.Error](err)
		if !ok || e.Class != source.RateLimited || e.RetryAfter <= time.Hour || e.RetryAfter > 2*time.Hour || len(*waits) > 0 {
			t.Errorf("got %v after %v, want %s and when the turn comes", err, *waits, source.RateLimited)
		}
	}
}

func TestCancelledWaitForTheRateLimitStopsAtOnce(t *testing.T) {
	limiter := rate.NewLimiter(rate.Every(time.Minute), 1)
	limiter.Allow()
	s, _ := serve(t, plain(200, "application/json", `{"items":[]}`), func(c *Config) { c.Limiter = limiter })
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("draining")
	s.client.sleep = func(ctx context.Context, d time.Duration) error {
		cancel(cause)
		return sleep(ctx, d)
	}
	if _, err := s.Walk(nil).Next(ctx); !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause", err)
	}
}

// TestRefusedAnswerIsNotReadToItsEnd would hang until the timeout if the body were read.
func TestRefusedAnswerIsNotReadToItsEnd(t *testing.T) {
	for _, status := range []int{nethttp.StatusFound, nethttp.StatusBadRequest, nethttp.StatusInternalServerError} {
		s, _ := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			_ = nethttp.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, func(c *Config) { c.Connection.TimeoutMillis = 3_600_000 })
		if _, err := s.Walk(nil).Next(t.Context()); err == nil {
			t.Errorf("%d: got no error", status)
		}
	}
}

func TestLinksAreNotRememberedInFull(t *testing.T) {
	g := newGuard()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 500 {
		if err := g.link(&url.URL{Path: strings.Repeat("x", 200_000) + strconv.Itoa(i)}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(g)
	if took := int64(after.HeapAlloc) - int64(before.HeapAlloc); took > 10<<20 {
		t.Errorf("500 links of 200 KB take %d bytes, want their hashes only", took)
	}
}
