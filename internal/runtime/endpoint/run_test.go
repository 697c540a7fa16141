package endpoint_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestRunIsPostedSignedAndCompletedWithTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := make(chan posted, 1)
	server := endpoint(t, func(rw http.ResponseWriter, p posted) {
		got <- p
		answerJSON(rw, http.StatusOK, `{"paid": 9007199254740993}`)
	})
	w.declare(signed(secret), handler(server.URL+"/runs?shop=1"))
	run := w.start(`{"order": 7}`, `{"tenant": "acme", "deadline_ms": 60000}`)
	w.becomes(run, endSQL, `completed 1 {"paid": 9007199254740993}`)
	p := <-got
	if err := p.verifies(secret); err != nil {
		t.Errorf("the library's verifier says: %v", err)
	}
	if err := p.verifies(newer); err == nil {
		t.Error("the signature verifies with another secret")
	}
	if want := strconv.FormatInt(run, 10) + "-1"; p.Header.Get("webhook-id") != want || p.Method != http.MethodPost || p.URL.RequestURI() != "/runs?shop=1" {
		t.Errorf("the request is %s %s with id %q, want a POST of the declared URL with id %s", p.Method, p.URL, p.Header.Get("webhook-id"), want)
	}
	m := p.message
	if m.Run != run || m.Token != 1 || m.Attempt != 1 || m.Type != jobType || m.Tenant != "acme" || string(m.Input) != `{"order":7}` {
		t.Errorf("the message is %s", p.body)
	}
	if m.TimeoutMillis < 1000 || m.TimeoutMillis > 20_000 || m.DeadlineMillis == nil || *m.DeadlineMillis < 1000 || *m.DeadlineMillis > 60_000 {
		t.Errorf("the message gives %d ms and until %v ms, want the handler's timeout and the run's deadline", m.TimeoutMillis, m.DeadlineMillis)
	}
}

// Every kind of answer through the whole worker, as the database has it in the end.
func TestAnswersReachTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := endpoint(t, func(rw http.ResponseWriter, p posted) {
		status, _ := strconv.Atoi(strings.Trim(string(p.Input), `"`))
		if status == http.StatusTooManyRequests {
			rw.Header().Set("Retry-After", "3600")
		}
		if status == http.StatusFound {
			rw.Header().Set("Location", "/elsewhere")
		}
		rw.WriteHeader(status)
	})
	w.declare(signed(secret), handler(server.URL))
	for status, want := range map[string]struct{ sql, text string }{
		"204": {endSQL, "completed 1"},
		"409": {triedSQL, "given_back"},
		"410": {endSQL, "cancelled 0 cancelled"},
		"429": {triedSQL, "snoozed"},
		"500": {endSQL, "failed 3 http_500"},
		"404": {endSQL, "failed 1 http_404"},
		"302": {endSQL, "failed 1 http_302"},
	} {
		run := w.start(`"`+status+`"`, `{}`)
		w.becomes(run, want.sql, want.text)
		if status == "409" || status == "429" {
			if n := one[int](w, "SELECT attempts FROM run WHERE id = $1", run); n != 0 {
				t.Errorf("%s spent %d attempts, want none", status, n)
			}
		}
	}
}

// The endpoint's transaction and the worker's request are two ways on which one reply can be lost. The database knows.
func TestCompletionInSQLStandsWhateverBecomesOfTheRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.db.Exec(t.Context(), "CREATE TABLE effect (run bigint, token bigint)"); err != nil {
		t.Fatal(err)
	}
	// work is what an endpoint does in one transaction of its own.
	work := func(p posted, between func()) error {
		return pgx.BeginFunc(t.Context(), w.db, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), "INSERT INTO effect VALUES ($1, $2)", p.Run, p.Token); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), `SELECT complete($1, $2, '{"by": "sql"}')`, p.Run, p.Token)
			between()
			return err
		})
	}
	nothing := func() {}
	late := make(chan error, 1)
	server := endpoint(t, func(rw http.ResponseWriter, p posted) {
		var err error
		switch what := strings.Trim(string(p.Input), `"`); {
		case what == "then answers":
			err = work(p, nothing)
			answerJSON(rw, http.StatusOK, `{"by": "answer"}`)
		case what == "then is cut":
			if err = work(p, nothing); err != nil {
				t.Error(err)
			}
			panic(http.ErrAbortHandler)
		case what == "then fails":
			err = work(p, nothing)
			rw.WriteHeader(http.StatusInternalServerError)
		case what == "commits after the request was given up":
			err = work(p, func() { <-p.Context().Done() })
		case what == "rolls back" && p.Attempt == 1:
			_ = work(p, func() { panic(http.ErrAbortHandler) })
		case what == "completes too late" && p.Attempt == 1:
			<-p.Context().Done()
			go func() {
				w.becomes(p.Run, "SELECT claim_token::text FROM run WHERE id = $1", "2")
				late <- work(p, nothing)
			}()
		default:
			err = work(p, nothing)
			rw.WriteHeader(http.StatusNoContent)
		}
		if err != nil {
			t.Errorf("%s: %v", p.Input, err)
		}
	})
	w.declare(signed(secret), handler(server.URL, func(h *spec.Handler) { h.TimeoutMillis = 500 }))
	for what, end := range map[string]string{
		"then answers":                           `completed 1 {"by": "sql"}`,
		"then is cut":                            `completed 1 {"by": "sql"}`,
		"then fails":                             `completed 1 {"by": "sql"}`,
		"commits after the request was given up": `completed 1 {"by": "sql"}`,
		"rolls back":                             `completed 2 {"by": "sql"}`,
		"completes too late":                     `completed 2 {"by": "sql"}`,
	} {
		run := w.start(`"`+what+`"`, `{}`)
		w.becomes(run, endSQL, end)
		if n := one[int](w, "SELECT count(*) FROM effect WHERE run = $1", run); n != 1 {
			t.Errorf("%s: the run's effect stands %d times, want once", what, n)
		}
	}
	if lost, ok := errors.AsType[*pgconn.PgError](<-late); !ok || lost.Code != "SL001" {
		t.Errorf("completing under a token that somebody else has overtaken: %v, want SL001 and a roll-back", lost)
	}
	if n := one[int](w, "SELECT count(*) FROM effect e JOIN run r ON r.id = e.run WHERE e.token <> r.settled_token"); n != 0 {
		t.Errorf("%d effects stand that were not committed with the completion", n)
	}
}

// What a pool declares, and what signs, changes under a running worker.
func TestDeclarationsAndSecretsAreLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := make(chan posted, 1)
	server := endpoint(t, func(rw http.ResponseWriter, p posted) { got <- p; rw.WriteHeader(http.StatusNoContent) })
	w.declare(signed(secret), handler(server.URL))
	next := func() posted {
		t.Helper()
		run := w.start(`{}`, `{}`)
		w.becomes(run, statusSQL, "completed")
		return <-got
	}
	if err := next().verifies(secret); err != nil {
		t.Errorf("before the rotation: %v", err)
	}
	current := func() string {
		return strconv.FormatInt(one[int64](w, "SELECT tuning_generation FROM pool WHERE name = 'batch'"), 10)
	}
	inForce := "SELECT max(tuning_generation)::text FROM worker WHERE $1::bigint IS NOT NULL"

	w.declare(signed(secret, newer), handler(server.URL))
	w.becomes(1, inForce, current())
	p := next()
	if err := errors.Join(p.verifies(secret), p.verifies(newer)); err != nil {
		t.Errorf("while both secrets are declared: %v", err)
	}
	w.declare(signed(newer), handler(server.URL))
	w.becomes(1, inForce, current())
	p = next()
	if p.verifies(newer) != nil || p.verifies(secret) == nil {
		t.Error("after the rotation the request is not signed by the new secret alone")
	}

	w.declare(spec.SigningSecrets{"other": {secret}}, handler(server.URL, func(h *spec.Handler) { h.Type = "other" }))
	w.becomes(1, "SELECT array_to_string(types, ' ') FROM worker WHERE $1::bigint IS NOT NULL", "other")
	run := w.start(`{}`, `{}`)
	other := one[int64](w, "SELECT run FROM start('other')")
	w.becomes(other, statusSQL, "completed")
	<-got
	if s := one[string](w, statusSQL, run); s != "pending" {
		t.Errorf("a run of a type that the pool has given up is %s, want pending", s)
	}
	w.declare(signed(secret), handler(server.URL))
	w.becomes(run, statusSQL, "completed")
	<-got
}

// Without its secret a run is not posted, and costs nothing.
func TestRunWithoutASecretIsGivenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := endpoint(t, func(http.ResponseWriter, posted) { t.Error("the run was posted") })
	w.declare(spec.SigningSecrets{"other": {secret}}, handler(server.URL))
	run := w.start(`{}`, `{}`)
	w.becomes(run, triedSQL, "given_back")
	w.rekey()
	w.declare(nil)
	w.becomes(run, "SELECT count(*)::text FROM worker WHERE types = '{}' AND $1::bigint IS NOT NULL", "1")
	if got := one[string](w, endSQL, run); got != "pending 0" {
		t.Errorf("the run is %q, want pending after 0 attempts", got)
	}
}

func TestRefusedAddressesAndRedirectsAreNeverReached(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(target.Close)
	server := endpoint(t, func(rw http.ResponseWriter, p posted) {
		http.Redirect(rw, p.Request, target.URL, http.StatusTemporaryRedirect)
	})
	w.declare(spec.SigningSecrets{jobType: {secret}, "meta": {secret}}, handler(server.URL),
		handler("http://169.254.169.254/latest", func(h *spec.Handler) { h.Type = "meta" }))
	w.becomes(w.start(`{}`, `{}`), endSQL, "failed 1 http_307")
	w.becomes(one[int64](w, "SELECT run FROM start('meta')"), endSQL, "failed 1 refused_address")
}

// A request that is not wanted any more is given up at once, and the endpoint can find out why.
func TestCancelReachesTheEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	began, gone := make(chan posted, 1), make(chan struct{})
	server := endpoint(t, func(_ http.ResponseWriter, p posted) {
		began <- p
		<-p.Context().Done()
		close(gone)
	})
	w.declare(signed(secret), handler(server.URL))
	run := w.start(`{}`, `{}`)
	p := <-began
	if status, answer := p.call(t, http.MethodGet, "", p.Callback.Token, ""); status != http.StatusOK || answer["cancelRequested"] != false {
		t.Errorf("before the request the API answers %d %v", status, answer)
	}
	if _, err := w.db.Exec(t.Context(), "SELECT cancel($1, 'ann', 'wrong customer')", run); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("the endpoint's request is still open")
	}
	w.becomes(run, endSQL, "cancelled 0 cancelled")
	status, answer := p.call(t, http.MethodGet, "", p.Callback.Token, "")
	if detail, _ := answer["detail"].(string); status != http.StatusGone || answer["cancelRequested"] != true || !strings.Contains(detail, "wrong customer") {
		t.Errorf("afterwards the API answers %d %v, want 410 with the reason", status, answer)
	}
}
