package endpoint_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

var metricsAt = regexp.MustCompile(`"serving probes and metrics","address":"([^"]+)"`)

// metrics are the lines of the process's metrics about endpoints.
func (w *world) metrics() string {
	w.t.Helper()
	at := metricsAt.FindStringSubmatch(w.log.String())
	if at == nil {
		w.t.Fatalf("the log names no address for metrics:\n%s", w.log)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+at[1]+"/metrics", http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var lines strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "syncline_worker_endpoint_") || strings.HasPrefix(line, "syncline_worker_local_api_") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

// Every way that a request can end is counted once by what it was, and nothing else is told of it.
func TestRequestsAreCountedByResultAndTellNoSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := make(chan posted, 1)
	server := endpoint(t, func(rw http.ResponseWriter, p posted) {
		switch strings.Trim(string(p.Input), `"`) {
		case "done":
			rw.WriteHeader(http.StatusNoContent)
		case "broken":
			rw.WriteHeader(http.StatusBadGateway)
		case "gone":
			rw.WriteHeader(http.StatusGone)
		case "cut":
			panic(http.ErrAbortHandler)
		case "held":
			open <- p
			<-p.Context().Done()
		default:
			<-p.Context().Done()
		}
	})
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	once := func(h *spec.Handler) { h.Retry.MaxAttempts = 1 }
	of := func(name string, edit ...func(*spec.Handler)) func(*spec.Handler) {
		return func(h *spec.Handler) {
			h.Type = name
			for _, f := range edit {
				f(h)
			}
		}
	}
	secrets := spec.SigningSecrets{jobType: {secret}, "slow": {secret}, "closed": {secret}, "meta": {secret}}
	w.declare(secrets, handler(server.URL, once),
		handler(server.URL, once, of("slow", func(h *spec.Handler) { h.TimeoutMillis = 100 })),
		handler(closed.URL, once, of("closed")), handler("http://169.254.169.254/", once, of("meta")))
	for _, input := range []string{"done", "done", "broken", "gone", "cut"} {
		w.becomes(w.start(`"`+input+`"`, `{}`), "SELECT (status IN ('completed', 'failed', 'cancelled'))::text FROM run WHERE id = $1", "true")
	}
	for _, name := range []string{"slow", "closed", "meta"} {
		w.becomes(one[int64](w, "SELECT run FROM start($1)", name), statusSQL, "failed")
	}
	held := w.start(`"held"`, `{}`)
	p := <-open
	if !strings.Contains(w.metrics(), `syncline_worker_endpoint_open_requests{pool="batch"} 1`) {
		t.Errorf("while a request is open the metrics are\n%s", w.metrics())
	}
	p.call(t, http.MethodPost, "/progress", p.Callback.Token, `1`)
	p.call(t, http.MethodPost, "/extend", p.Callback.Token, `{}`)
	p.call(t, http.MethodPost, "/extend", "wrong", `{}`)
	p.call(t, http.MethodGet, "/"+p.Callback.Token, p.Callback.Token, ``)
	if _, err := w.db.Exec(t.Context(), "SELECT cancel($1, 'ann', 'enough')", held); err != nil {
		t.Fatal(err)
	}
	w.becomes(held, statusSQL, "cancelled")

	got := w.metrics()
	for _, line := range []string{
		`endpoint_requests_total{pool="batch",result="2xx",type="invoice"} 2`,
		`endpoint_requests_total{pool="batch",result="4xx",type="invoice"} 1`,
		`endpoint_requests_total{pool="batch",result="5xx",type="invoice"} 1`,
		`endpoint_requests_total{pool="batch",result="unreachable",type="invoice"} 1`,
		`endpoint_requests_total{pool="batch",result="abandoned",type="invoice"} 1`,
		`endpoint_requests_total{pool="batch",result="timeout",type="slow"} 1`,
		`endpoint_requests_total{pool="batch",result="unreachable",type="closed"} 1`,
		`endpoint_requests_total{pool="batch",result="refused",type="meta"} 1`,
		`endpoint_request_seconds_count{pool="batch",type="invoice"} 6`,
		`endpoint_open_requests{pool="batch"} 0`,
		`local_api_requests_total{operation="progress",pool="batch",result="2xx"} 1`,
		`local_api_requests_total{operation="extend",pool="batch",result="4xx"} 2`,
		`local_api_requests_total{operation="other",pool="batch",result="4xx"} 1`,
	} {
		if !strings.Contains(got, "syncline_worker_"+line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	for _, word := range []string{p.Callback.Token, strings.TrimPrefix(secret, "whsec_"), server.URL, "enough"} {
		if strings.Contains(got, word) {
			t.Errorf("the metrics tell %q", word)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}
