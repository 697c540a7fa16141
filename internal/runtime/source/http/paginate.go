package http

import (
	"crypto/sha256"
	"encoding/json"
	"net/url"

	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// position says which request comes next.
type position struct {
	// cursor is the lower bound or token that the request carries, nil for none.
	cursor *string
	// page is its number, when pages are numbered.
	page int
	// link, when set, is the URL that the upstream gave.
	link *url.URL
}

// outcome is what a page says about the next one.
type outcome struct {
	records int
	// next is the target of the Link header, nil for none.
	next *url.URL
	// advance is the lower bound from which an ordered walk can go on, nil where there is none.
	advance *string
}

// pager decides where a walk goes; package doc says why. It is pure.
type pager struct {
	numbered, linked bool
	first            int
	// size is the number of records of a full page: what was asked for, or what the server showed to be its limit.
	size int
	pos  position

	// short is set after a page that was not full: the request at pos asks only whether there is more.
	short bool
	// last and bound are what the page before brought: its number of records and where to go on if it was not the last.
	last  int
	bound *string
}

func newPager(p spec.Pagination, cursor *string) *pager {
	g := &pager{linked: p.LinkHeader != nil, pos: position{cursor: cursor}}
	if p.Page != nil {
		g.numbered, g.first, g.size = true, p.Page.First, p.Page.Size
		g.pos.page = g.first
	}
	return g
}

// overrun is asked before a page is used. It is true when an ordered walk probed beyond a short page and found
// records: the server's pages are smaller than asked for. The walk then goes on from the short page's newest time, and
// what the probe brought comes again.
func (g *pager) overrun(records int) bool {
	if !g.numbered || !g.short || g.bound == nil || records == 0 {
		return false
	}
	g.size = g.last
	g.seek(g.bound)
	return true
}

// after moves to the next request, and is false when the page was the last.
func (g *pager) after(o outcome) bool {
	switch {
	case g.numbered && o.records > 0:
		g.short, g.last, g.bound = o.records < g.size, o.records, o.advance
		if o.advance != nil && !g.short {
			g.seek(o.advance)
		} else {
			g.pos.page++
		}
		return true
	case g.linked && o.next != nil:
		if o.advance != nil {
			g.seek(o.advance)
		} else {
			g.pos.link = o.next
		}
		return true
	}
	return false
}

// seek asks for the first page from a new lower bound.
func (g *pager) seek(bound *string) {
	g.pos = position{cursor: bound, page: g.first}
	g.short, g.bound = false, nil
}

// probing reports whether the request at pos follows a short page, so that a 404 may mean "beyond the last page".
func (g *pager) probing() bool { return g.numbered && g.short && g.pos.page > g.first }

// guard notices a walk that goes in circles.
type guard struct {
	links map[[sha256.Size]byte]bool
	pages map[[sha256.Size]byte]bool
}

func newGuard() *guard {
	return &guard{links: map[[sha256.Size]byte]bool{}, pages: map[[sha256.Size]byte]bool{}}
}

// link refuses a link that was followed before.
func (g *guard) link(u *url.URL) error {
	key := sha256.Sum256([]byte(u.String())) // a link may be as long as the headers of an answer
	if g.links[key] {
		return fail(source.BadAnswer, "the next link leads to a page that was read before: the pagination goes in circles")
	}
	g.links[key] = true
	return nil
}

// page refuses records that were read before, in the same order. Only what is kept is remembered.
func (g *guard) page(records []any, keep bool) error {
	if len(records) == 0 {
		return nil
	}
	key := fingerprint(records)
	if g.pages[key] {
		return fail(source.BadAnswer, "the page has the same records as one before: the upstream ignores the page number or the cursor")
	}
	g.pages[key] = keep
	return nil
}

// knows reports whether a page with the same records, in the same order, was kept.
func (g *guard) knows(records []any) bool { return len(records) == 0 || g.pages[fingerprint(records)] }

// fingerprint is taken of the records alone, since an answer may hold its own time or a request id. One record at a
// time is written out, so that it needs no second page of memory.
func fingerprint(records []any) [sha256.Size]byte {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, r := range records {
		_ = enc.Encode(r) // neither a decoded value nor a hash can fail
	}
	return [sha256.Size]byte(h.Sum(nil))
}
