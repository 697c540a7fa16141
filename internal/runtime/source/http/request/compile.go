package request

import (
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// reserved are the headers that a template may not set, with the reason.
var reserved = map[string]string{
	"Authorization":       "the connection's auth sets it",
	"Proxy-Authorization": "requests go through no proxy",
	"Cookie":              "requests carry no cookies",
	"Host":                "the base URL sets it",
	"Accept-Encoding":     "compression is negotiated by the worker",
	"Content-Length":      "the worker sets it",
	"Transfer-Encoding":   "the worker sets it",
	"Connection":          "the worker sets it",
	"Keep-Alive":          "the worker sets it",
	"Upgrade":             "the worker sets it",
	"Te":                  "the worker sets it",
	"Trailer":             "the worker sets it",
}

// Compile checks everything of an HTTP source that needs no network, and compiles its request. The template is usable
// only when there are no problems. The expressions of records and id belong to mapping.Compile.
func Compile(s spec.HTTPSource) (*Template, []mapping.Problem) {
	c := compiler{known: known(s)}
	t := &Template{path: c.path(s.Request.Path)}
	for i, q := range s.Request.Query {
		t.query = append(t.query, c.query(fmt.Sprintf("source.http.request.query[%d]", i), q))
	}
	for i, h := range s.Request.Headers {
		t.headers = append(t.headers, c.header(fmt.Sprintf("source.http.request.headers[%d]", i), h))
	}
	c.checkUse(s, t)
	c.checkCursor(s)
	c.checkBounds(s)
	return t, c.problems
}

type compiler struct {
	known    []Placeholder
	problems []mapping.Problem
}

func (c *compiler) problem(field, expression, format string, args ...any) {
	c.problems = append(c.problems, mapping.Problem{Field: field, Expression: expression, Message: fmt.Sprintf(format, args...)})
}

func known(s spec.HTTPSource) []Placeholder {
	var names []Placeholder
	if s.Cursor != nil {
		names = append(names, Cursor)
	}
	if s.Pagination.Page != nil {
		names = append(names, Page, PageSize)
	}
	return names
}

// text splits a value and reports the placeholders that mean nothing here.
func (c *compiler) text(field, s string) text {
	t := split(s)
	for _, piece := range t {
		if piece.hole == "" || slices.Contains(c.known, piece.hole) {
			continue
		}
		c.problem(field, s, "unknown placeholder {%s}: %s", piece.hole, c.wayOut(piece.hole))
	}
	return t
}

func (c *compiler) wayOut(p Placeholder) string {
	switch p {
	case Cursor:
		return "it needs a cursor"
	case Page, PageSize:
		return "it needs pagination by page"
	}
	if len(c.known) == 0 {
		return "there are none without a cursor and without pagination by page"
	}
	names := make([]string, len(c.known))
	for i, k := range c.known {
		names[i] = "{" + string(k) + "}"
	}
	return "known here are " + strings.Join(names, ", ")
}

func (c *compiler) path(s string) text {
	const field = "source.http.request.path"
	t := c.text(field, s)
	switch {
	case s != "" && !strings.HasPrefix(s, "/"):
		c.problem(field, s, "it must begin with a slash: it is joined to the connection's base URL")
	case strings.ContainsAny(s, "?#"):
		c.problem(field, s, "a path holds no ? and no #: list query parameters under query")
	case t.names(Cursor):
		c.problem(field, s, "{cursor} cannot stand in the path, because the first walk has none: use a query parameter or header")
	}
	for i := range t {
		t[i].literal = c.pathLiteral(field, s, t[i].literal)
	}
	for segment := range strings.SplitSeq(s, "/") {
		if plain, err := url.PathUnescape(segment); err == nil && (plain == "." || plain == "..") {
			c.problem(field, s, "it holds the segment %q: write the path without it", plain)
		}
	}
	return t
}

// pathLiteral keeps what is encoded already and encodes what a URL cannot hold.
func (c *compiler) pathLiteral(field, s, literal string) string {
	if _, err := url.PathUnescape(literal); err != nil {
		c.problem(field, s, "a %% in a path begins an encoded byte such as %%20: write %%25 for the sign itself")
	}
	var b strings.Builder
	for i := range len(literal) {
		if b1 := literal[i]; isPathByte(b1) {
			b.WriteByte(b1)
		} else {
			fmt.Fprintf(&b, "%%%02X", b1)
		}
	}
	return b.String()
}

// isPathByte follows RFC 3986, section 3.3: pchar, the slash and the sign of an encoded byte.
func isPathByte(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	return strings.IndexByte("-._~!$&'()*+,;=:@/%", b) >= 0
}

func (c *compiler) query(field string, q spec.NameValue) pair {
	switch {
	case q.Name == "":
		c.problem(field+".name", q.Name, "it is empty")
	case holePattern.MatchString(q.Name):
		c.problem(field+".name", q.Name, "placeholders stand only in values")
	}
	return pair{name: q.Name, value: c.text(field+".value", q.Value)}
}

func (c *compiler) header(field string, h spec.NameValue) pair {
	name := textproto.CanonicalMIMEHeaderKey(h.Name)
	switch reason, isReserved := reserved[name]; {
	case !httpguts.ValidHeaderFieldName(h.Name):
		c.problem(field+".name", h.Name, "it is not the name of a header")
	case isReserved:
		c.problem(field+".name", h.Name, "header %s cannot be set here: %s", name, reason)
	}
	if !httpguts.ValidHeaderFieldValue(h.Value) {
		c.problem(field+".value", h.Value, "it holds characters that a header cannot carry")
	}
	return pair{name: name, value: c.text(field+".value", h.Value)}
}

// checkUse reports a cursor and pages that the request never asks for: every run would be a full walk, every page the first.
func (c *compiler) checkUse(s spec.HTTPSource, t *Template) {
	if s.Cursor != nil && !t.Names(Cursor) {
		c.problem("source.http.cursor", "", "the request never names {cursor}: give it a query parameter or header, or remove the cursor")
	}
	if s.Pagination.Page != nil && !t.Names(Page) {
		c.problem("source.http.pagination.page", "", "the request never names {page}, so every page would be the first: give it a query parameter")
	}
}

func (c *compiler) checkCursor(s spec.HTTPSource) {
	const field = "source.http.cursor"
	if s.Order != spec.OrderNone && s.Order != spec.OrderAscending {
		c.problem("source.http.order", string(s.Order), "want None or Ascending")
	}
	if s.Order == spec.OrderAscending && (s.Cursor == nil || s.Cursor.Timestamp == nil) {
		c.problem("source.http.order", string(s.Order), "Ascending is an order by the field of a timestamp cursor: add one, or use None")
	}
	switch cur := s.Cursor; {
	case cur == nil:
	case (cur.Timestamp == nil) == (cur.Token == nil):
		c.problem(field, "", "want exactly one of timestamp and token")
	case cur.Token != nil && cur.Token.From == "":
		c.problem(field+".token.from", "", "it is empty: name the field of the answer that holds the token")
	case cur.Timestamp != nil:
		c.checkTimestamp(field+".timestamp", *cur.Timestamp)
	}
}

func (c *compiler) checkTimestamp(field string, t spec.TimestampCursor) {
	formats := []spec.TimestampFormat{
		spec.FormatRFC3339, spec.FormatSpaced, spec.FormatUnixSeconds, spec.FormatUnixMillis, spec.FormatDate,
	}
	if t.From == "" {
		c.problem(field+".from", "", "it is empty: name the field of a record that holds the time")
	}
	if !slices.Contains(formats, t.Format) {
		c.problem(field+".format", string(t.Format), "want one of %v", formats)
	}
	if t.LookbackSeconds < 0 || t.SettleSeconds < 0 {
		c.problem(field, "", "lookback and settle are at least 0")
	}
}

func (c *compiler) checkBounds(s spec.HTTPSource) {
	if s.Pagination.Page != nil && s.Pagination.LinkHeader != nil {
		c.problem("source.http.pagination", "", "want at most one of page and linkHeader")
	}
	if p := s.Pagination.Page; p != nil && (p.Size < 1 || p.First < 0 || p.First > 1) {
		c.problem("source.http.pagination.page", "", "want a size of at least 1 and 0 or 1 as the first page")
	}
	if l := s.Limits; l.MaxPages < 1 || l.MaxPageBytes < 1 || l.MaxRunBytes < 1 {
		c.problem("source.http.limits", "", "each limit is at least 1")
	}
}
