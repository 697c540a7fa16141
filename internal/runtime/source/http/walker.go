package http

import (
	"context"
	"errors"
	"io"
	nethttp "net/http"
	"net/url"

	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/source/http/request"
)

// walker reads one walk. Its first error, io.EOF included, is its last word.
type walker struct {
	src     *Source
	track   tracker
	pager   *pager
	guard   *guard
	resumed bool
	pages   int      // answers asked for
	bytes   int64    // read so far, after decompression
	at      *url.URL // of the request sent last
	end     error
}

// Walk starts at the cursor, or at the beginning when it is nil or belongs to another kind of cursor.
func (s *Source) Walk(from *source.Cursor) source.Walker {
	w := &walker{src: s, track: newTracker(s.spec, from), guard: newGuard()}
	start, err := w.track.start()
	w.resumed, w.end = start != nil, err
	w.pager = newPager(s.spec.Pagination, start)
	return w
}

// Next returns the next page, io.EOF after the last, or an *source.Error.
func (w *walker) Next(ctx context.Context) (source.Page, error) {
	if w.end != nil {
		return source.Page{}, w.end
	}
	page, more, err := w.next(ctx)
	switch {
	case err != nil:
		w.end = w.locate(err)
		return source.Page{}, w.end
	case !more:
		w.end = io.EOF
	}
	return page, nil
}

// locate adds the page and the request.
func (w *walker) locate(err error) error {
	e, ok := errors.AsType[*source.Error](err)
	if !ok {
		e = &source.Error{Class: source.BadAnswer, Err: err}
	}
	e.Page = w.pages
	if w.at != nil {
		e.Err = w.src.client.located(e.Err, w.at)
	}
	return e
}

func (w *walker) next(ctx context.Context) (source.Page, bool, error) {
	a, records, err := w.read(ctx)
	if err != nil {
		return source.Page{}, false, err
	}
	if err := w.track.observe(a.body, records, a.asOf); err != nil {
		return source.Page{}, false, err
	}
	more, err := w.move(a, len(records))
	if err != nil {
		return source.Page{}, false, err
	}
	page := source.Page{Records: records, Bytes: a.size}
	page.Checkpoint, err = w.track.checkpoint(!more)
	return page, more, err
}

// read fetches until it has a page to hand over.
func (w *walker) read(ctx context.Context) (*answer, []any, error) {
	for {
		a, err := w.fetch(ctx)
		if err != nil {
			return nil, nil, err
		}
		records, err := w.records(a)
		if err != nil {
			return nil, nil, err
		}
		overrun := w.pager.overrun(len(records))
		if err := w.guard.page(records, !overrun); err != nil || !overrun {
			return a, records, err
		}
		w.rewind()
	}
}

func (w *walker) records(a *answer) ([]any, error) {
	if a.beyond {
		return nil, nil
	}
	records, err := w.src.records(a.body)
	if err != nil {
		return nil, fail(source.BadAnswer, "%w", err)
	}
	return records, nil
}

func (w *walker) rewind() {
	if t, ok := w.track.(*timeTracker); ok {
		t.rewind()
	}
}

func (w *walker) fetch(ctx context.Context) (*answer, error) {
	limits := w.src.spec.Limits
	if w.pages++; w.pages > limits.MaxPages {
		return nil, fail(source.LimitExceeded, "the walk has more than maxPages (%d) pages", limits.MaxPages)
	}
	u, header, err := w.request()
	if err != nil {
		return nil, err
	}
	w.at = u
	a, failure := w.src.client.fetch(ctx, call{
		url: u, header: header, resumed: w.resumed,
		bounds: bounds{page: limits.MaxPageBytes, run: limits.MaxRunBytes - w.bytes},
	})
	switch {
	case failure != nil && w.pager.probing() && isBeyondLast(failure):
		return &answer{at: u, asOf: w.src.client.now(), beyond: true}, nil
	case failure != nil:
		return nil, failure
	}
	w.bytes += a.size
	return a, nil
}

// isBeyondLast recognises the servers that answer a page after the last with a 404 of their own, in JSON.
func isBeyondLast(e *source.Error) bool {
	s, ok := errors.AsType[*statusError](e)
	return ok && s.status == nethttp.StatusNotFound && s.json
}

func (w *walker) request() (*url.URL, nethttp.Header, error) {
	pos := w.pager.pos
	values := request.Values{Cursor: pos.cursor, Page: pos.page, PageSize: w.pageSize()}
	u, header, err := w.src.template.Render(w.src.client.base, values)
	if err != nil {
		return nil, nil, fail(source.BadAnswer, "render the request: %w", err)
	}
	if pos.link != nil {
		u = pos.link
	}
	return u, header, nil
}

func (w *walker) pageSize() int {
	if p := w.src.spec.Pagination.Page; p != nil {
		return p.Size
	}
	return 0
}

// move decides where the walk goes after a page, and is false when that was the last.
func (w *walker) move(a *answer, records int) (bool, error) {
	o := outcome{records: records}
	var err error
	if w.pager.linked {
		if o.next, err = w.followed(a); err != nil {
			return false, err
		}
	}
	if t, ok := w.track.(*timeTracker); ok {
		o.advance = t.advance()
	}
	before := w.pager.pos.cursor
	more := w.pager.after(o)
	if w.pager.pos.cursor != before {
		w.rewind()
	}
	if link := w.pager.pos.link; more && link != nil {
		return more, w.guard.link(link)
	}
	return more, nil
}

func (w *walker) followed(a *answer) (*url.URL, error) {
	target, err := nextLink(a.links)
	if err != nil {
		return nil, fail(source.BadAnswer, "%w", err)
	}
	if target == "" {
		return nil, nil
	}
	return w.src.client.resolve(a.at, target, "next link")
}
