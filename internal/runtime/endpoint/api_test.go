package endpoint_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// held posts a run to an endpoint that keeps it until the test lets go.
func held(t *testing.T, w *world, timeout time.Duration, options string) (p posted, release func()) {
	t.Helper()
	began, over := make(chan posted, 1), make(chan struct{})
	server := endpoint(t, func(rw http.ResponseWriter, p posted) {
		began <- p
		select {
		case <-over:
			answerJSON(rw, http.StatusOK, `"done"`)
		case <-p.Context().Done():
		}
	})
	w.declare(signed(secret), handler(server.URL, func(h *spec.Handler) { h.TimeoutMillis, h.Retry.MaxAttempts = timeout.Milliseconds(), 1 }))
	w.start(`{}`, options)
	p = <-began
	return p, func() {
		close(over)
		w.becomes(p.Run, statusSQL, "completed")
	}
}

func TestEndpointExtendsItsRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, release := held(t, w, 2*time.Second, `{"deadline_ms": 600000}`)
	first := time.After(2 * time.Second)
	status, answer := p.call(t, http.MethodPost, "/extend", p.Callback.Token, `{"seconds": 300}`)
	if left, _ := answer["timeoutMillis"].(float64); status != http.StatusOK || left < 200_000 || left > 300_000 {
		t.Errorf("the API answers %d %v, want 300 s from now", status, answer)
	}
	status, answer = p.call(t, http.MethodPost, "/extend", p.Callback.Token, `{"seconds": 1}`)
	if left, _ := answer["timeoutMillis"].(float64); status != http.StatusOK || left < 200_000 {
		t.Errorf("an extension by less than what is left answers %d %v, want no less than before", status, answer)
	}
	status, answer = p.call(t, http.MethodPost, "/extend", p.Callback.Token, `{"seconds": 86400}`)
	if left, _ := answer["timeoutMillis"].(float64); status != http.StatusOK || left > 600_000 {
		t.Errorf("an extension past the run's deadline answers %d %v, want at most the deadline", status, answer)
	}
	<-first // without the extension the request would be over now
	if status, answer := p.call(t, http.MethodGet, "", p.Callback.Token, ""); status != http.StatusOK {
		t.Errorf("after the first timeout the API answers %d %v, want the run still held", status, answer)
	}
	release()
}

func TestRequestThatTakesTooLongIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, _ := held(t, w, 300*time.Millisecond, `{}`)
	w.becomes(p.Run, endSQL, "failed 1 timeout")
	if text := one[string](w, "SELECT error FROM run WHERE id = $1", p.Run); !strings.Contains(text, "no complete answer in time") {
		t.Errorf("the error is %q, want it to say that the answer did not come in time", text)
	}
	for path, body := range map[string]string{"": "", "/extend": `{"seconds": 5}`, "/progress": `1`} {
		method := http.MethodPost
		if path == "" {
			method = http.MethodGet
		}
		if status, answer := p.call(t, method, path, p.Callback.Token, body); status != http.StatusGone {
			t.Errorf("%s after the request has ended answers %d %v, want 410", path, status, answer)
		}
	}
}

func TestProgressIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, release := held(t, w, 20*time.Second, `{}`)
	for _, value := range []string{`{"done": 1}`, `{"done": 2}`} {
		if status, answer := p.call(t, http.MethodPost, "/progress", p.Callback.Token, value); status != http.StatusNoContent {
			t.Fatalf("progress answers %d %v", status, answer)
		}
	}
	w.becomes(p.Run, "SELECT value::text FROM progress WHERE run = $1 AND token = 1", `{"done": 2}`)
	for name, test := range map[string]struct {
		body   string
		status int
		says   string
	}{
		"too long":          {`"` + strings.Repeat("x", jobs.MaxProgress) + `"`, http.StatusRequestEntityTooLarge, "report a summary"},
		"longer as printed": {`[` + strings.Repeat("1,", jobs.MaxProgress/2-2) + `1]`, http.StatusRequestEntityTooLarge, "report a summary"},
		"not JSON":          {`done`, http.StatusBadRequest, "not one JSON value"},
		"not storable":      {`"\u0000"`, http.StatusBadRequest, "leave out"},
	} {
		status, answer := p.call(t, http.MethodPost, "/progress", p.Callback.Token, test.body)
		if detail, _ := answer["detail"].(string); status != test.status || !strings.Contains(detail, test.says) {
			t.Errorf("%s: the API answers %d %v, want %d with %q", name, status, answer, test.status, test.says)
		}
	}
	// Somebody else has the run: the process does not know yet, the database does.
	if _, err := w.db.Exec(t.Context(), "UPDATE run SET claim_token = claim_token + 1 WHERE id = $1", p.Run); err != nil {
		t.Fatal(err)
	}
	if status, answer := p.call(t, http.MethodPost, "/progress", p.Callback.Token, `{"done": 99}`); status != http.StatusConflict {
		t.Errorf("progress of a lost claim answers %d %v, want 409", status, answer)
	}
	if _, err := w.db.Exec(t.Context(), "UPDATE run SET claim_token = claim_token - 1 WHERE id = $1", p.Run); err != nil {
		t.Fatal(err)
	}
	release()
}

func TestEndpointSpawnsChildren(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, release := held(t, w, 20*time.Second, `{"tenant": "acme"}`)
	const child = `{"key": "mail", "type": "mail", "input": {"to": "ann"}, "options": {"pool": "batch", "close_policy": "abandon"}}`
	var runs []any
	for _, created := range []bool{true, false} {
		status, answer := p.call(t, http.MethodPost, "/spawn", p.Callback.Token, child)
		if status != http.StatusOK || answer["created"] != created {
			t.Fatalf("the API answers %d %v, want 200 with created %t", status, answer, created)
		}
		runs = append(runs, answer["run"])
	}
	if runs[0] != runs[1] {
		t.Errorf("the key names runs %v, want one child", runs)
	}
	got := one[string](w, "SELECT concat_ws(' ', tenant, job_type, close_policy, input::text) FROM run WHERE parent = $1", p.Run)
	if want := `acme mail abandon {"to": "ann"}`; got != want {
		t.Errorf("the child is %s, want %s", got, want)
	}
	for name, test := range map[string]struct{ body, says string }{
		"no key":             {`{"type": "mail", "options": {"pool": "batch"}}`, "key of a child has 0 bytes"},
		"no pool":            {`{"key": "k", "type": "nobody"}`, `no pool for job type "nobody"`},
		"an unknown option":  {`{"key": "k", "type": "mail", "options": {"pol": "batch"}}`, `"pol"`},
		"an unknown member":  {`{"key": "k", "type": "mail", "inputs": {}}`, "inputs"},
		"another tenant too": {`{"key": "k", "type": "mail", "options": {"pool": "batch", "tenant": "other"}}`, `"tenant"`},
	} {
		status, answer := p.call(t, http.MethodPost, "/spawn", p.Callback.Token, test.body)
		if detail, _ := answer["detail"].(string); status != http.StatusBadRequest || !strings.Contains(detail, test.says) {
			t.Errorf("%s: the API answers %d %v, want 400 with %q", name, status, answer, test.says)
		}
	}
	release()
}

func TestOnlyTheClaimsOwnTokenOpensTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, release := held(t, w, 20*time.Second, `{}`)
	other := p
	other.Callback.URL = strings.TrimSuffix(p.Callback.URL, strconv.FormatInt(p.Run, 10)) + "999"
	for name, test := range map[string]struct {
		p      posted
		bearer string
	}{
		"no token": {p, ""}, "another token": {p, strings.Repeat("A", len(p.Callback.Token))},
		"its beginning": {p, p.Callback.Token[:10]}, "another run": {other, p.Callback.Token},
	} {
		status, answer := test.p.call(t, http.MethodPost, "/progress", test.bearer, `1`)
		if detail, _ := answer["detail"].(string); status != http.StatusUnauthorized || !strings.Contains(detail, "callback.token") {
			t.Errorf("%s: the API answers %d %v, want 401 with what to send", name, status, answer)
		}
	}
	if n := one[int](w, "SELECT count(*) FROM progress"); n != 0 {
		t.Errorf("%d reports were written without the token", n)
	}
	for name, test := range map[string]struct {
		method, path, body string
		status             int
	}{
		"no seconds":     {http.MethodPost, "/extend", `{}`, http.StatusBadRequest},
		"too many":       {http.MethodPost, "/extend", `{"seconds": 86401}`, http.StatusBadRequest},
		"another member": {http.MethodPost, "/extend", `{"seconds": 5, "minutes": 5}`, http.StatusBadRequest},
		"not JSON":       {http.MethodPost, "/extend", `five`, http.StatusBadRequest},
		"no such path":   {http.MethodPost, "/finish", `{}`, http.StatusNotFound},
		"another method": {http.MethodDelete, "", ``, http.StatusNotFound},
	} {
		status, answer := p.call(t, test.method, test.path, p.Callback.Token, test.body)
		if detail, _ := answer["detail"].(string); status != test.status || detail == "" || answer["title"] == "" {
			t.Errorf("%s: the API answers %d %v, want %d with the way out", name, status, answer, test.status)
		}
	}
	release()
	if status, answer := p.call(t, http.MethodPost, "/progress", p.Callback.Token, `1`); status != http.StatusGone {
		t.Errorf("after the run has ended the API answers %d %v, want 410", status, answer)
	}
}
