package http

import (
	"context"
	"errors"
	"io"
	nethttp "net/http"
	"net/url"
	"time"

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
	pages   int       // answers asked for
	bytes   int64     // read so far, after decompression
	at      *url.URL  // of the request sent last, as the template has it
	asOf    time.Time // the upstream's clock at its last page
	end     error

	trail     trail
	back      []position // requests to send again before the walk goes on, the next at the end
	more      bool       // the walk goes on after them
	bytesBack int64      // read on the way back
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
	if len(w.back) > 0 {
		return w.retrace(ctx)
	}
	a, err := w.fetch(ctx)
	if err != nil {
		return source.Page{}, false, err
	}
	records, err := w.records(a)
	if err != nil {
		return source.Page{}, false, err
	}
	overrun := w.pager.overrun(len(records))
	if err := w.guard.page(records, !overrun); err != nil {
		return source.Page{}, false, err
	}
	if overrun {
		w.rewind()
		if err := w.turn(true, true); err != nil {
			return source.Page{}, false, err
		}
		return w.next(ctx)
	}
	return w.use(a, records)
}

// use hands a page over and moves on.
func (w *walker) use(a *answer, records []any) (source.Page, bool, error) {
	faults, err := w.track.observe(a.body, records, a.asOf)
	if err != nil {
		return source.Page{}, false, err
	}
	sent := w.pager.pos
	more, err := w.move(a, len(records))
	if err != nil {
		return source.Page{}, false, err
	}
	if _, timed := w.track.(*timeTracker); timed && len(records) > 0 {
		w.trail.add(sent)
	}
	if err := w.turn(more, w.pager.pos.cursor != sent.cursor); err != nil {
		return source.Page{}, false, err
	}
	page := source.Page{Records: records, Bytes: a.memory, Faults: faults}
	if w.settled() {
		page.Checkpoint, err = w.track.checkpoint(!more)
	}
	return page, more || len(w.back) > 0, err
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
	a, err := w.ask(ctx, w.pager.pos, &w.bytes, w.resumed)
	switch {
	case err != nil && w.pager.probing() && isBeyondLast(err):
		return &answer{asOf: w.asOf, beyond: true}, nil
	case err != nil:
		return nil, err
	}
	w.asOf = a.asOf
	return a, nil
}

// ask sends one request and adds what was read to spent, which the bound of a run applies to.
func (w *walker) ask(ctx context.Context, pos position, spent *int64, resumed bool) (*answer, error) {
	u, header, err := w.request(pos)
	if err != nil {
		return nil, err
	}
	limits := w.src.spec.Limits
	a, failure := w.src.client.fetch(ctx, call{
		url: u, header: header, resumed: resumed,
		bounds: bounds{page: limits.MaxPageBytes, run: limits.MaxRunBytes - *spent},
	})
	if failure != nil {
		return nil, failure
	}
	*spent += a.size
	return a, nil
}

// isBeyondLast recognises the servers that answer a page after the last with a 404 of their own, in JSON.
func isBeyondLast(e error) bool {
	s, ok := errors.AsType[*statusError](e)
	return ok && s.status == nethttp.StatusNotFound && s.json
}

func (w *walker) request(pos position) (*url.URL, nethttp.Header, error) {
	values := request.Values{Cursor: pos.cursor, Page: pos.page, PageSize: w.pageSize()}
	u, header, err := w.src.template.Render(w.src.client.base, values)
	if err != nil {
		return nil, nil, fail(source.BadAnswer, "render the request: %w", err)
	}
	w.at = u
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
