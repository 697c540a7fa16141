package endpoint_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/schema/schematest"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
	"github.com/syncline-dev/syncline/internal/runtime/worker"
	"github.com/syncline-dev/syncline/internal/runtime/worker/process"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	patience = 30 * time.Second
	jobType  = "invoice"
	// secret and newer sign requests; no text that is stored or logged may hold them.
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	newer  = "whsec_d2VsbCBrZXB0IGFuZCBuZXZlciB0b2xkIHRvIGFueWJvZHk="
)

// world is a database with a pool, and a worker process that serves what the pool declares.
type world struct {
	t      *testing.T
	db     *pgxpool.Pool
	keys   atomic.Pointer[sealing.Keyset]
	log    *output
	writes int64
	stop   func() error
}

// output is a log that can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := schematest.NewDB(t)
	w := &world{t: t, log: &output{}}
	uri := func() (string, error) { return db.URI, nil }
	var err error
	if w.db, err = schema.Connect(t.Context(), uri, "syncline", 8); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	w.rekey()
	w.declare(nil)
	w.work(uri)
	return w
}

// Open opens with the world's keyset, which may be another one by the next call.
func (w *world) Open(sealed []byte, id uuid.UUID, column string) ([]byte, error) {
	return w.keys.Load().Open(sealed, id, column)
}

// rekey takes another keyset: what was sealed before cannot be opened any more.
func (w *world) rekey() {
	w.t.Helper()
	keys, err := sealing.NewKeyset()
	if err != nil {
		w.t.Fatal(err)
	}
	w.keys.Store(keys)
}

// work starts the process and ends it with the test.
func (w *world) work(uri func() (string, error)) {
	log, err := telemetry.NewLogger(w.log, "info")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- process.Run(ctx, process.Options{
			Pool: "batch", Schema: "syncline", URI: uri, MaxConns: 4, DrainTimeout: 10 * time.Second,
			HTTPAddress: "127.0.0.1:0", LocalAddress: "127.0.0.1:0", Sealing: w, Pod: "w-1", Log: log,
			Wire: func(*pgxpool.Pool) (map[string]worker.Registration, []worker.Task, error) { return nil, nil, nil },
		})
	}()
	w.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	w.t.Cleanup(func() {
		if err := w.stop(); err != nil {
			w.t.Errorf("the process ended with %v\n%s", err, w.log)
		}
		for _, s := range []string{secret, newer} {
			if strings.Contains(w.log.String(), strings.TrimPrefix(s, "whsec_")) {
				w.t.Errorf("the log holds a signing secret:\n%s", w.log)
			}
		}
	})
}

// handler is a declaration with bounds that suit a test.
func handler(url string, edit ...func(*spec.Handler)) spec.Handler {
	h := spec.Handler{Type: jobType, URL: url, TimeoutMillis: 20_000, Retry: spec.Retry{MaxAttempts: 3, BaseMillis: 1, MaxMillis: 1}}
	for _, f := range edit {
		f(&h)
	}
	return h
}

// declare writes the pool's row as the control plane does.
func (w *world) declare(secrets spec.SigningSecrets, handlers ...spec.Handler) {
	w.t.Helper()
	w.writes++
	tuning := spec.DefaultPool()
	tuning.HeartbeatMillis, tuning.Handlers = 500, handlers
	doc, err := json.Marshal(tuning)
	if err != nil {
		w.t.Fatal(err)
	}
	plain, err := json.Marshal(secrets)
	if err != nil {
		w.t.Fatal(err)
	}
	row := schema.DesiredPool{
		Owner: schema.Owner{Cluster: "c", Namespace: "ns", Name: "batch", UID: "u", Generation: w.writes},
		Pool:  "batch", Tuning: doc, SecretsVersion: new(string(plain)),
	}
	if row.Secrets, err = w.keys.Load().Seal(plain, spec.PoolID("batch"), spec.SecretsColumn); err != nil {
		w.t.Fatal(err)
	}
	err = pgx.BeginFunc(w.t.Context(), w.db, func(tx pgx.Tx) error {
		_, err := schema.WritePools(w.t.Context(), tx, []schema.DesiredPool{row})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// signed are the secrets of the type under test.
func signed(list ...string) spec.SigningSecrets { return spec.SigningSecrets{jobType: list} }

func (w *world) start(input, options string) (run int64) {
	w.t.Helper()
	return one[int64](w, "SELECT run FROM start($1, $2::jsonb, $3::jsonb)", jobType, input, options)
}

// one reads a single value.
func one[T any](w *world, sql string, args ...any) (v T) {
	w.t.Helper()
	if err := w.db.QueryRow(w.t.Context(), sql, args...).Scan(&v); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// becomes waits until a query about a run gives a text.
func (w *world) becomes(run int64, sql, want string) {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got := one[*string](w, sql, run)
		if got != nil && *got == want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			shown := "null"
			if got != nil {
				shown = *got
			}
			w.t.Fatalf("%s gives %s about run %d, want %s\n%s", sql, shown, run, want, w.log)
		}
	}
}

const (
	statusSQL = "SELECT status FROM run WHERE id = $1"
	// endSQL shows how a run ended, and after how many attempts.
	endSQL = "SELECT concat_ws(' ', status, attempts, error_code, output::text) FROM run WHERE id = $1"
	// triedSQL shows how claims of a run ended that did not complete it.
	triedSQL = "SELECT string_agg(DISTINCT outcome, ' ') FROM attempt WHERE run = $1"
)

// posted is a request as an endpoint got it.
type posted struct {
	*http.Request
	body []byte
	message
}

type message struct {
	Run            int64           `json:"run"`
	Token          int64           `json:"token"`
	Attempt        int             `json:"attempt"`
	Type           string          `json:"type"`
	Tenant         string          `json:"tenant"`
	TimeoutMillis  int64           `json:"timeoutMillis"`
	DeadlineMillis *int64          `json:"deadlineMillis"`
	Input          json.RawMessage `json:"input"`
	Callback       struct{ URL, Token string }
}

// verifies checks a request with the library's own verifier.
func (p posted) verifies(text string) error {
	webhook, err := standardwebhooks.NewWebhook(text)
	if err != nil {
		return err
	}
	return webhook.Verify(p.body, p.Header)
}

// endpoint is a server that answers posted runs.
func endpoint(t *testing.T, answer func(w http.ResponseWriter, p posted)) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the worker gave the request up
		}
		p := posted{Request: r, body: body}
		if err := json.Unmarshal(body, &p.message); err != nil {
			t.Errorf("the body is no run: %v", err)
		}
		answer(w, p)
	}))
	t.Cleanup(server.Close)
	return server
}

func answerJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// call uses the worker-local API as an endpoint does.
func (p posted) call(t *testing.T, method, path, bearer, body string) (status int, answer map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.Callback.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 0 && json.Unmarshal(text, &answer) != nil {
		t.Errorf("%s %s answers %q, want JSON", method, path, text)
	}
	return resp.StatusCode, answer
}
