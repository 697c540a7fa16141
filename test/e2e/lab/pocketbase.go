package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// PocketBase's port on the node, and its superuser.
const (
	PocketBasePort = 8090
	superuser      = "demo@example.com"
	superuserPass  = "demo-secret-0123"
)

// batchSize is the number of writes in one request of PocketBase's batch API.
const batchSize = 500

// Source is a client of the third-party server. It is the demo's hand at the provider; the product never uses it.
type Source struct {
	base string
	http *http.Client
	// Token is the superuser's bearer token, good for a day.
	Token string
}

// Record is one record as PocketBase answers it, numbers as they were written.
type Record map[string]any

// ID is the record's id at the provider.
func (r Record) ID() string { return r.Text("id") }

// Text is a field's text, empty when it has none.
func (r Record) Text(field string) string {
	s, _ := r[field].(string)
	return s
}

// Write is one change at the provider: of a new record when ID is empty.
type Write struct {
	ID     string
	Fields map[string]any
}

// StartPocketBase makes an empty server with a superuser made by its own command line, and opens its batch API.
func StartPocketBase(ctx context.Context, e *Env) (*Source, error) {
	dir := filepath.Join(e.State, "pocketbase")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make PocketBase's folder: %w", err)
	}
	if _, err := e.Run(ctx, e.PocketBase, "superuser", "upsert", superuser, superuserPass, "--dir", dir); err != nil {
		return nil, fmt.Errorf("make PocketBase's superuser: %w", err)
	}
	address := Address + ":" + strconv.Itoa(PocketBasePort)
	command := exec.CommandContext(context.WithoutCancel(ctx), e.PocketBase, "serve", "--http", address, "--dir", dir)
	command.Dir = dir
	s, err := launch(ctx, e, "pocketbase", PocketBasePort, command, nil)
	if err != nil {
		return nil, err
	}
	src := &Source{base: "http://" + address, http: &http.Client{Timeout: time.Minute}}
	if err := s.await(ctx, e, func() error { return src.call(ctx, http.MethodGet, "/api/health", nil, nil) }); err != nil {
		return nil, err
	}
	if err := src.login(ctx); err != nil {
		return nil, err
	}
	settings := map[string]any{"batch": map[string]any{"enabled": true, "maxRequests": batchSize, "timeout": 60}}
	return src, src.call(ctx, http.MethodPatch, "/api/settings", settings, nil)
}

func (s *Source) login(ctx context.Context) error {
	var answer struct {
		Token string `json:"token"`
	}
	body := map[string]any{"identity": superuser, "password": superuserPass}
	if err := s.call(ctx, http.MethodPost, "/api/collections/_superusers/auth-with-password", body, &answer); err != nil {
		return err
	}
	s.Token = answer.Token
	return nil
}

// CreateCollection makes a collection from PocketBase's own description of one.
func (s *Source) CreateCollection(ctx context.Context, description map[string]any) error {
	return s.call(ctx, http.MethodPost, "/api/collections", description, nil)
}

// Apply sends writes through the batch API, each batch one transaction at the provider, and returns the records as the
// provider then has them, in the order of the writes.
func (s *Source) Apply(ctx context.Context, collection string, writes []Write) ([]Record, error) {
	records := make([]Record, 0, len(writes))
	for len(writes) > 0 {
		n := min(batchSize, len(writes))
		batch, err := s.applyBatch(ctx, collection, writes[:n])
		if err != nil {
			return nil, err
		}
		records, writes = append(records, batch...), writes[n:]
	}
	return records, nil
}

func (s *Source) applyBatch(ctx context.Context, collection string, writes []Write) ([]Record, error) {
	path := "/api/collections/" + collection + "/records"
	requests := make([]map[string]any, len(writes))
	for i, w := range writes {
		requests[i] = map[string]any{"method": http.MethodPost, "url": path, "body": w.Fields}
		if w.ID != "" {
			requests[i] = map[string]any{"method": http.MethodPatch, "url": path + "/" + w.ID, "body": w.Fields}
		}
	}
	var answers []struct {
		Status int    `json:"status"`
		Body   Record `json:"body"`
	}
	if err := s.call(ctx, http.MethodPost, "/api/batch", map[string]any{"requests": requests}, &answers); err != nil {
		return nil, err
	}
	records := make([]Record, len(answers))
	for i, a := range answers {
		records[i] = a.Body
	}
	return records, nil
}

// All reads every record of a collection, in the order of their ids.
func (s *Source) All(ctx context.Context, collection string) ([]Record, error) {
	var all []Record
	for page := 1; ; page++ {
		query := url.Values{"page": {strconv.Itoa(page)}, "perPage": {"1000"}, "sort": {"id"}, "skipTotal": {"1"}}
		var answer struct {
			Items []Record `json:"items"`
		}
		path := "/api/collections/" + collection + "/records?" + query.Encode()
		if err := s.call(ctx, http.MethodGet, path, nil, &answer); err != nil {
			return nil, err
		}
		if len(answer.Items) == 0 {
			return all, nil
		}
		all = append(all, answer.Items...)
	}
}

// call makes one request; an answer that is no success is an error with PocketBase's own words.
func (s *Source) call(ctx context.Context, method, path string, body, answer any) error {
	var payload bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&payload).Encode(body); err != nil {
			return fmt.Errorf("write request for PocketBase: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, &payload)
	if err != nil {
		return fmt.Errorf("make request for PocketBase: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+s.Token)
	response, err := s.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask PocketBase: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 2000))
		return fmt.Errorf("PocketBase answers %s %s with %s: %s", method, request.URL.Path, response.Status, text)
	}
	if answer == nil {
		return nil
	}
	decoder := json.NewDecoder(response.Body)
	decoder.UseNumber()
	if err := decoder.Decode(answer); err != nil {
		return fmt.Errorf("read PocketBase's answer to %s %s: %w", method, request.URL.Path, err)
	}
	return nil
}
