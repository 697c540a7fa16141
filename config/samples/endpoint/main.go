// An endpoint of one's own: it serves the job types of jobpool-handlers.yaml over HTTP, and stands for a program in any
// language. A run's input says in "do" what to show of what an endpoint can do; docs/handlers.md tells of all of it.
//
// It needs no rights in the cluster. SIGNING_SECRET is what the pool's Secret holds; DATABASE_URI leads to the pool's
// database, as a role that may do no more than schema.sql grants.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	signatures, err := standardwebhooks.NewWebhook(os.Getenv("SIGNING_SECRET"))
	if err != nil {
		log.Fatalf("SIGNING_SECRET: %v", err)
	}
	db, err := pgxpool.New(context.Background(), os.Getenv("DATABASE_URI"))
	if err != nil {
		log.Fatalf("DATABASE_URI: %v", err)
	}
	server := &http.Server{Addr: ":8080", Handler: routes(signatures, db), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func routes(signatures *standardwebhooks.Webhook, db *pgxpool.Pool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /runs", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2<<20))
		if err != nil {
			http.Error(w, "the body could not be read", http.StatusBadRequest)
			return
		}
		// Before anything else: the body, its id and its time are as the worker signed them.
		if err := signatures.Verify(body, r.Header); err != nil {
			http.Error(w, "the signature does not verify: "+err.Error(), http.StatusUnauthorized)
			return
		}
		var run run
		if err := json.Unmarshal(body, &run); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		run.serve(r.Context(), w, db)
	})
	return mux
}

// run is what this endpoint reads of a request.
type run struct {
	Run, Token int64
	Attempt    int
	Type       string
	Callback   struct{ URL, Token string }
	Input      struct {
		Do     string
		Cents  int64
		Millis int64
	}
}

// serve does what the run asks for and answers. Its context ends when the worker closes the connection: the run was
// cancelled, its worker is stopping, or the time is over.
func (r *run) serve(ctx context.Context, w http.ResponseWriter, db *pgxpool.Pool) {
	var err error
	var answer map[string]any
	output := map[string]any{"type": r.Type, "attempt": r.Attempt}
	switch r.Input.Do {
	case "answer":
	case "retry": // 5xx: the run is posted again, after Retry-After or as the pool's retry says
		if r.Attempt == 1 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "the first attempt fails", http.StatusServiceUnavailable)
			return
		}
	case "snooze": // 429: the run waits without spending an attempt; its next claim has a greater token
		if r.Token == 1 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "not now", http.StatusTooManyRequests)
			return
		}
	case "work": // closing the connection is how the worker says that it wants no answer any more
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(r.Input.Millis) * time.Millisecond):
		}
	case "extend":
		answer, err = r.call(ctx, "/extend", `{"seconds": 300}`)
		output["left"] = answer["timeoutMillis"]
	case "report":
		_, err = r.call(ctx, "/progress", `{"done": 3, "of": 10}`)
	case "spawn": // the key names the child within the run: a retry gets the child that is there
		output["child"], err = r.call(ctx, "/spawn",
			`{"key": "receipt", "type": "invoice", "input": {"do": "answer"}, "options": {"pool": "invoices"}}`)
	case "pay":
		err = r.pay(ctx, db)
	default: // 4xx: the run has failed for good
		http.Error(w, fmt.Sprintf("nobody here knows how to %q", r.Input.Do), http.StatusUnprocessableEntity)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(output)
}

// pay commits a write of its own together with the run's completion: both are there or neither, and once. What is answered
// afterwards does not matter any more.
func (r *run) pay(ctx context.Context, db *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO public.paid (run, cents) VALUES ($1, $2)`, r.Run, r.Input.Cents); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `SELECT syncline.complete($1, $2, '{"paid": true}')`, r.Run, r.Token)
		return err
	})
}

// call uses the API of the worker that holds the run.
func (r *run) call(ctx context.Context, path, body string) (answer map[string]any, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Callback.URL+path, bytes.NewBufferString(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+r.Callback.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("the worker answers %d: %s", response.StatusCode, text)
	}
	if len(text) > 0 {
		err = json.Unmarshal(text, &answer)
	}
	return answer, err
}
