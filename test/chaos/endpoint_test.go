//go:build chaos

package chaos_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/test/chaos/history"
)

// signingSecret signs the requests to endpoints.
const signingSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// endpoint is an HTTP endpoint that a pool declares. It does what tasks say and notes it, and knows nothing of workers but
// their requests.
type endpoint struct {
	world   *world
	server  *httptest.Server
	db      *pgxpool.Pool
	journal *journal
	verify  *standardwebhooks.Webhook
	end     context.CancelFunc
}

func newEndpoint(w *world) *endpoint {
	ctx, end := context.WithCancel(context.Background())
	e := &endpoint{world: w, end: end}
	var err error
	if e.journal, err = openJournal(w.dir+"/"+history.Endpoint+".journal", history.Endpoint); err != nil {
		w.t.Fatal(err)
	}
	go e.journal.watchForStalls(ctx)
	e.db, err = schema.Connect(ctx, func() (string, error) { return w.db.URI, nil }, schemaName, 4, schema.WithApplicationName(application(history.Endpoint)))
	if err != nil {
		w.t.Fatal(err)
	}
	if e.verify, err = standardwebhooks.NewWebhook(signingSecret); err != nil {
		w.t.Fatal(err)
	}
	e.server = httptest.NewServer(e)
	return e
}

// close ends the endpoint with the requests that are still open.
func (e *endpoint) close() {
	e.server.CloseClientConnections()
	e.server.Close()
	e.db.Close()
	e.end()
}

// declared is how a pool declares the endpoint.
func (e *endpoint) declared() spec.Handler {
	return spec.Handler{
		Type: hookType, URL: e.server.URL, TimeoutMillis: 4000, Retry: spec.Retry{MaxAttempts: 8, BaseMillis: 50, MaxMillis: 50, Fixed: true},
	}
}

// sealed is the pool's column of signing secrets.
func sealed(keys *sealing.Keyset, pool string) ([]byte, error) {
	plain, err := json.Marshal(spec.SigningSecrets{hookType: {signingSecret}})
	if err != nil {
		return nil, err
	}
	return keys.Seal(plain, spec.PoolID(pool), spec.SecretsColumn)
}

// posted is what the endpoint reads of a request.
type posted struct {
	Run      int64 `json:"run"`
	Token    int64 `json:"token"`
	Attempt  int   `json:"attempt"`
	Input    task  `json:"input"`
	Callback struct {
		URL   string `json:"url"`
		Token string `json:"token"`
	} `json:"callback"`
}

// ServeHTTP executes a run.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the worker has given the request up
	}
	var p posted
	if err = e.verify.VerifyIgnoringTimestamp(body, r.Header); err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil {
		e.world.t.Errorf("an endpoint cannot take what was posted: %v", err)
		return
	}
	note := "aborted"
	e.about(p, history.Served, fmt.Sprintf("attempt %d", p.Attempt))
	defer func() { e.about(p, history.Answered, note) }()
	status, err := e.work(r.Context(), p)
	note = fmt.Sprint(status, " ", err)
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"token": %d}`, p.Token)
}

func (e *endpoint) about(p posted, event history.Event, note string) {
	e.journal.write(history.Mark{Event: event, Run: p.Run, Token: p.Token, Note: note})
}

// work does what the task says: effects, what the worker-local API offers, and the completion in a transaction of its own.
func (e *endpoint) work(ctx context.Context, p posted) (status int, err error) {
	t := p.Input
	for range t.Acts {
		if err := wait(ctx, t.Pause); err != nil {
			return http.StatusInternalServerError, err
		}
		e.about(p, history.Reached, "")
	}
	if err := e.call(ctx, p); err != nil {
		return http.StatusServiceUnavailable, err
	}
	switch {
	case t.Snooze && p.Token == 1:
		return http.StatusTooManyRequests, nil
	case p.Attempt <= t.Fail && t.Panic:
		panic(http.ErrAbortHandler)
	case p.Attempt <= t.Fail:
		return http.StatusBadGateway, nil
	case !t.Complete:
		return http.StatusOK, nil
	}
	if err := e.complete(ctx, p); err != nil {
		return http.StatusInternalServerError, err
	}
	_ = wait(ctx, t.Linger)
	return http.StatusOK, nil
}

// call uses the worker-local API: progress for steps, more time for a sleep, children.
func (e *endpoint) call(ctx context.Context, p posted) error {
	t := p.Input
	for i := range t.Steps {
		if err := e.post(ctx, p, "progress", map[string]any{"done": i}); err != nil {
			return err
		}
	}
	if t.Sleep > 0 {
		if err := e.post(ctx, p, "extend", map[string]any{"seconds": 5}); err != nil {
			return err
		}
	}
	for i := range t.Children {
		child := map[string]any{
			"key": strconv.Itoa(i), "type": oldType, "input": task{Acts: 1, Pause: 20}, "options": map[string]any{"pool": slowPool},
		}
		if err := e.post(ctx, p, "spawn", child); err != nil {
			return err
		}
	}
	return nil
}

func (e *endpoint) post(ctx context.Context, p posted, path string, ask any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Callback.URL+"/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+p.Callback.Token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s: the worker answers %s", path, answer.Status)
	}
	return nil
}

// complete writes an effect and completes the run in one transaction.
func (e *endpoint) complete(ctx context.Context, p posted) error {
	ctx, end := bounded(ctx, p.Input)
	defer end()
	return pgx.BeginFunc(ctx, e.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO public.effect (run, token) VALUES ($1, $2)", p.Run, p.Token); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT complete($1, $2, $3::jsonb)", p.Run, p.Token, fmt.Sprintf(`{"token": %d}`, p.Token)); err != nil {
			return err
		}
		return wait(ctx, p.Input.Hold)
	})
}

// breakOff ends all connections to the endpoint, with the requests on them.
func (f *fleet) breakOff(context.Context) {
	f.world.note("the endpoint's connections break")
	f.world.endpoint.server.CloseClientConnections()
}
