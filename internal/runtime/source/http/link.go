package http

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// link is one link of a Link header.
type link struct {
	target string
	// rel are the relations, in lower case.
	rel []string
	// anchored links speak about another resource than the one that was asked for.
	anchored bool
}

// nextLink gives the target of rel="next" among the Link headers of one answer, "" when there is none. A header that
// does not parse is an error, never the end of a walk, and so are two different next links.
func nextLink(headers []string) (string, error) {
	next := ""
	for _, h := range headers {
		links, err := parseLinks(h)
		if err != nil {
			return "", err
		}
		for _, l := range links {
			if l.anchored || !l.is("next") || l.target == next {
				continue
			}
			if next != "" {
				return "", errors.New("the Link header has two different next links")
			}
			next = l.target
		}
	}
	return next, nil
}

func (l link) is(rel string) bool {
	return slices.Contains(l.rel, rel)
}

// parseLinks reads one Link header (RFC 8288, section 3, and the parsing algorithm of its appendix B.2).
func parseLinks(header string) ([]link, error) {
	s := &scanner{rest: header}
	var links []link
	for {
		s.skip(" \t,")
		if s.rest == "" {
			return links, nil
		}
		l, err := s.link()
		if err != nil {
			return nil, fmt.Errorf("read Link header: %w", err)
		}
		links = append(links, l)
	}
}

// scanner consumes a header from the front.
type scanner struct{ rest string }

func (s *scanner) skip(chars string) { s.rest = strings.TrimLeft(s.rest, chars) }

// take consumes one byte if it is c.
func (s *scanner) take(c string) bool {
	rest, found := strings.CutPrefix(s.rest, c)
	s.rest = rest
	return found
}

// until consumes up to, and not including, the first of chars.
func (s *scanner) until(chars string) string {
	end := strings.IndexAny(s.rest, chars)
	if end < 0 {
		end = len(s.rest)
	}
	taken := s.rest[:end]
	s.rest = s.rest[end:]
	return taken
}

func (s *scanner) link() (link, error) {
	if !s.take("<") {
		return link{}, errors.New("a link does not begin with <")
	}
	l := link{target: strings.TrimSpace(s.until(">"))}
	if !s.take(">") {
		return link{}, errors.New("a link has no closing >")
	}
	hasRel := false
	for {
		s.skip(" \t")
		if !s.take(";") {
			break
		}
		name, value, err := s.param()
		if err != nil {
			return link{}, err
		}
		switch {
		case name == "rel" && !hasRel: // later ones are ignored, section 3.3
			l.rel, hasRel = strings.Fields(strings.ToLower(value)), true
		case name == "anchor":
			l.anchored = true
		}
	}
	if s.rest != "" && s.rest[0] != ',' {
		return link{}, errors.New("a link is not followed by a comma or a semicolon")
	}
	return l, nil
}

// param reads name, name=token or name="quoted"; the name is given in lower case, and empty for a lone semicolon.
func (s *scanner) param() (name, value string, err error) {
	s.skip(" \t")
	name = strings.ToLower(strings.TrimSpace(s.until("=;, \t")))
	s.skip(" \t")
	if !s.take("=") {
		return name, "", nil
	}
	s.skip(" \t")
	if s.take(`"`) {
		value, err = s.quoted()
		return name, value, err
	}
	return name, s.until(";, \t"), nil
}

// quoted reads the rest of a quoted string, with its escapes resolved.
func (s *scanner) quoted() (string, error) {
	var b strings.Builder
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String(), nil
		case c == '\\' && i+1 < len(s.rest):
			i++
			b.WriteByte(s.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a quoted value has no end")
}
