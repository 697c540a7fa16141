package http

import (
	"context"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/source"
)

// maxTrailBytes bounds the links that a walk remembers to go back over them, in bytes.
const maxTrailBytes = 16 << 20

// trail remembers the requests of a stretch of counted or linked pages, because records may move up from one to the
// next while they are read; package doc says how.
type trail struct {
	stops []position
	pages int
	bytes int // of links
}

// add appends the request of a page that had records. Beyond the bound only the count goes on.
func (t *trail) add(p position) {
	t.pages++
	if p.link != nil {
		t.bytes += len(p.link.String())
	}
	if t.bytes > maxTrailBytes {
		t.stops = nil
		return
	}
	t.stops = append(t.stops, p)
}

// end gives the requests to send again, the last one at the end, and begins another stretch. The last page of the
// stretch is not among them: nothing can have moved up from behind it.
func (t *trail) end() ([]position, error) {
	done := *t
	*t = trail{}
	switch {
	case done.pages < 2:
		return nil, nil
	case done.bytes > maxTrailBytes:
		return nil, fail(source.LimitExceeded, "the list changed while it was read, and its links are too long to go back over them")
	}
	return done.stops[:done.pages-1], nil
}

// turn is asked after each page. Where a stretch ends, it decides whether to go back over it: with order always, since
// the stretch is there because pages hold one time only; without order when records were seen to move.
func (w *walker) turn(more, sought bool) error {
	w.more = more
	t, ok := w.track.(*timeTracker)
	if !ok || more && !sought {
		return nil
	}
	if !t.ascending && !t.moved {
		w.trail = trail{}
		return nil
	}
	var err error
	w.back, err = w.trail.end()
	return err
}

// settled reports whether no record can be hidden by a stretch that is still being read.
func (w *walker) settled() bool { return len(w.back) == 0 && w.trail.pages < 2 }

// retrace reads pages again, from the last to the first: a record that moved up past the reader is met on its way. It
// hands over the pages that are not as they were, and the checkpoint with the last.
func (w *walker) retrace(ctx context.Context) (source.Page, bool, error) {
	var page source.Page
	for len(w.back) > 0 && page.Records == nil {
		last := len(w.back) - 1
		a, records, err := w.again(ctx, w.back[last])
		if err != nil {
			return source.Page{}, false, err
		}
		w.back = w.back[:last]
		if !w.guard.knows(records) {
			page = source.Page{Records: records, Bytes: a.memory, Faults: w.faults(records)}
		}
	}
	if len(w.back) > 0 {
		return page, true, nil
	}
	var err error
	page.Checkpoint, err = w.track.checkpoint(!w.more)
	return page, w.more, err
}

// faults says which records of a page that was read again cannot be placed. They move nothing here: the walk's position
// is that of the way there.
func (w *walker) faults(records []any) map[int]*mapping.RecordError {
	t, ok := w.track.(*timeTracker)
	if !ok {
		return nil
	}
	_, faults := t.read(records)
	return faults
}

// again sends a request of the trail. A page that is gone has no records; a link that is gone is no word about the
// stored cursor.
func (w *walker) again(ctx context.Context, pos position) (*answer, []any, error) {
	a, err := w.ask(ctx, pos, &w.bytesBack, w.resumed && pos.link == nil)
	if err != nil && w.pager.numbered && isBeyondLast(err) {
		return &answer{}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	records, failure := w.records(a)
	return a, records, failure
}
