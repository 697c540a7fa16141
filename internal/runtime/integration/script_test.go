package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/source"
)

// script is a source whose pages a test writes.
type script struct {
	mu    sync.Mutex
	pages []scripted
	// walks are the cursors that walks started from.
	walks []string
	// onPage, when set, is called before a page is handed over.
	onPage func(ctx context.Context, n int) error
}

// scripted is one page: records, the checkpoint's value or "", and how the walk fails after it.
type scripted struct {
	records    []any
	checkpoint string
	err        error
}

func (s *script) sources(Request) (source.Source, func(), error) { return s, nil, nil }

func (s *script) Walk(from *source.Cursor) source.Walker {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := ""
	if from != nil {
		at = from.Value
	}
	s.walks = append(s.walks, at)
	return &scriptWalker{script: s, pages: s.pages}
}

type scriptWalker struct {
	script *script
	pages  []scripted
	n      int
	err    error
}

func (w *scriptWalker) Next(ctx context.Context) (source.Page, error) {
	if w.err != nil {
		return source.Page{}, w.err
	}
	if w.n == len(w.pages) {
		return source.Page{}, io.EOF
	}
	if hook := w.script.onPage; hook != nil {
		if err := hook(ctx, w.n+1); err != nil {
			return source.Page{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return source.Page{}, err
	}
	p := w.pages[w.n]
	w.n++
	w.err = p.err
	if len(p.records) == 0 && p.checkpoint == "" && p.err != nil {
		return source.Page{}, p.err
	}
	page := source.Page{Records: p.records, Bytes: int64(100 * len(p.records))}
	if p.checkpoint != "" {
		page.Checkpoint = &source.Cursor{Kind: "timestamp", Value: p.checkpoint}
	}
	return page, nil
}

// give replaces the script by pages.
func (s *script) give(pages ...scripted) { s.pages = pages }

// page is a page of JSON lines.
func page(t testing.TB, checkpoint string, lines ...string) scripted {
	t.Helper()
	p := scripted{checkpoint: checkpoint}
	for _, line := range lines {
		v, err := mapping.Decode([]byte(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		p.records = append(p.records, v)
	}
	return p
}

// ticket is a record as JSON; extra is more members.
func ticket(id, title, updated string, extra ...string) string {
	s := fmt.Sprintf(`{"id":%q,"title":%q,"updated":%q`, id, title, updated)
	return strings.Join(append([]string{s}, extra...), ",") + "}"
}

// many makes n tickets.
func many(t testing.TB, n int, title string) []any {
	t.Helper()
	out := make([]any, n)
	for i := range out {
		out[i] = map[string]any{
			"id": fmt.Sprintf("t%06d", i), "title": title, "updated": "2024-01-01T00:00:00Z", "amount": json.Number(strconv.Itoa(i)),
		}
	}
	return out
}

func sourceError(class source.Class) error {
	return &source.Error{Class: class, Page: 1, Err: errors.New("scripted " + strings.ToLower(string(class)))}
}

// day is a time of January 2024.
func day(n int) string { return time.Date(2024, 1, n, 0, 0, 0, 0, time.UTC).Format(time.RFC3339) }
