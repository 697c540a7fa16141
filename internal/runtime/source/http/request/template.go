package request

import (
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Placeholder is a name that a template replaces by a value.
type Placeholder string

const (
	// Cursor is the stored position, in the format of the source's cursor.
	Cursor Placeholder = "cursor"
	// Page is the number of the page asked for.
	Page Placeholder = "page"
	// PageSize is the number of records asked for in a page.
	PageSize Placeholder = "pageSize"
)

// Values are what the placeholders stand for in one request.
type Values struct {
	// Cursor is nil while there is none: parameters and headers that name it are left out.
	Cursor   *string
	Page     int
	PageSize int
}

// Template is a compiled request. It is immutable and safe for concurrent use.
type Template struct {
	path    text
	query   []pair
	headers []pair
}

type pair struct {
	name  string
	value text
}

// text is literal text with holes: each piece is the one or the other.
type text []piece

type piece struct {
	literal string
	hole    Placeholder
}

// holePattern finds a name in braces. Any other brace is literal, since values may well be JSON.
var holePattern = regexp.MustCompile(`\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}`)

// split cuts s into pieces; every name in braces becomes a hole, known or not.
func split(s string) text {
	var t text
	end := 0
	for _, at := range holePattern.FindAllStringSubmatchIndex(s, -1) {
		if at[0] > end {
			t = append(t, piece{literal: s[end:at[0]]})
		}
		t = append(t, piece{hole: Placeholder(s[at[2]:at[3]])})
		end = at[1]
	}
	if end < len(s) {
		t = append(t, piece{literal: s[end:]})
	}
	return t
}

func (t text) names(p Placeholder) bool {
	for _, piece := range t {
		if piece.hole == p {
			return true
		}
	}
	return false
}

// render fills the holes; escape is applied to each value, not to literals.
func (t text) render(v Values, escape func(string) string) string {
	var b strings.Builder
	for _, piece := range t {
		switch piece.hole {
		case "":
			b.WriteString(piece.literal)
		case Cursor:
			b.WriteString(escape(*v.Cursor))
		case Page:
			b.WriteString(strconv.Itoa(v.Page))
		case PageSize:
			b.WriteString(strconv.Itoa(v.PageSize))
		}
	}
	return b.String()
}

func verbatim(s string) string { return s }

// Names reports whether the template uses p anywhere.
func (t *Template) Names(p Placeholder) bool {
	if t.path.names(p) {
		return true
	}
	for _, list := range [][]pair{t.query, t.headers} {
		for _, item := range list {
			if item.value.names(p) {
				return true
			}
		}
	}
	return false
}

// Render gives the URL below base (see ParseBase) and the headers of one request. Values are encoded for the place
// they stand in: a path segment or a query value. A header has no encoding: a cursor with characters that a header
// cannot carry is an error.
func (t *Template) Render(base *url.URL, v Values) (*url.URL, http.Header, error) {
	u := *base
	if err := joinPath(&u, t.path.render(v, url.PathEscape)); err != nil {
		return nil, nil, err
	}
	u.RawQuery = renderQuery(t.query, v)
	h, err := renderHeaders(t.headers, v)
	return &u, h, err
}

// joinPath appends an encoded path to the base's, with one slash between the two.
func joinPath(u *url.URL, path string) error {
	raw := u.EscapedPath()
	if path != "" {
		raw = strings.TrimRight(raw, "/") + "/" + strings.TrimLeft(path, "/")
	}
	plain, err := url.PathUnescape(raw)
	if err != nil {
		return fmt.Errorf("join the path to the base URL: %w", err)
	}
	u.Path, u.RawPath = plain, raw
	return nil
}

func renderQuery(query []pair, v Values) string {
	var parts []string
	for _, q := range query {
		if v.Cursor == nil && q.value.names(Cursor) {
			continue
		}
		parts = append(parts, escapeQuery(q.name)+"="+escapeQuery(q.value.render(v, verbatim)))
	}
	return strings.Join(parts, "&")
}

// escapeQuery writes a blank as %20, which every server reads, where some take a plus sign for itself.
func escapeQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func renderHeaders(headers []pair, v Values) (http.Header, error) {
	h := make(http.Header, len(headers))
	for _, item := range headers {
		if v.Cursor == nil && item.value.names(Cursor) {
			continue
		}
		value := item.value.render(v, verbatim)
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("the cursor holds characters that header %s cannot carry", textproto.CanonicalMIMEHeaderKey(item.name))
		}
		h.Add(item.name, value)
	}
	return h, nil
}
