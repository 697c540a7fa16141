package endpoint_test

import (
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// blocks are the examples in one language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/handlers.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		found = append(found, m[1])
	}
	return found
}

// The page's requests and its transaction, as they stand there, from within an endpoint.
func TestExamplesOfThePageWork(t *testing.T) {
	t.Parallel()
	requests, transactions := blocks(t, "http"), blocks(t, "sql")
	if len(requests) != 4 || len(transactions) != 1 {
		t.Fatalf("the page has %d requests and %d transactions, want 4 and 1", len(requests), len(transactions))
	}
	w := newWorld(t)
	if _, err := w.db.Exec(t.Context(), "CREATE TABLE paid (invoice bigint)"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Exec(t.Context(), "INSERT INTO pool (name, tuning) SELECT 'invoices', tuning FROM pool"); err != nil {
		t.Fatal(err)
	}
	server := endpoint(t, func(rw http.ResponseWriter, p posted) {
		filled := strings.NewReplacer("{callback.url}", p.Callback.URL, "{callback.token}", p.Callback.Token,
			":run", strconv.FormatInt(p.Run, 10), ":token", strconv.FormatInt(p.Token, 10))
		for _, text := range requests {
			head, body, _ := strings.Cut(filled.Replace(text), "\n\n")
			line, authorization, _ := strings.Cut(head, "\n")
			method, url, _ := strings.Cut(line, " ")
			bearer := strings.TrimSpace(strings.TrimPrefix(authorization, "Authorization: Bearer "))
			status, answer := p.call(t, method, strings.TrimPrefix(url, p.Callback.URL), bearer, body)
			if status >= http.StatusBadRequest {
				t.Errorf("%s answers %d %v", line, status, answer)
			}
		}
		// The simple protocol takes the block as psql would.
		if _, err := w.db.Exec(t.Context(), filled.Replace(transactions[0]), pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Errorf("the transaction: %v", err)
		}
		rw.WriteHeader(http.StatusInternalServerError) // the answer may get lost
	})
	w.declare(signed(secret), handler(server.URL))
	run := w.start(`{}`, `{}`)
	w.becomes(run, endSQL, `completed 1 {"paid": true}`)
	w.becomes(run, "SELECT value::text FROM progress WHERE run = $1", `{"of": 10, "done": 3}`)
	w.becomes(run, "SELECT string_agg(pool || ' ' || job_type, ', ') FROM run WHERE parent = $1", "invoices mail")
	w.becomes(run, "SELECT string_agg(invoice::text, ' ') FROM paid WHERE $1::bigint IS NOT NULL", "7")
}
