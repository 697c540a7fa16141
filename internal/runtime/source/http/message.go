package http

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

const (
	// maxMessage and maxQuote bound an error's message and what it quotes of an upstream, in bytes.
	maxMessage, maxQuote = 1 << 10, 256
	// longSecret is the length in bytes from which on a secret is looked for in the whole of a message. A shorter one
	// may be part of our own words; it is looked for in quotations only.
	longSecret = 8
)

// echoError quotes an upstream. The quotation stays out of the message until reveal has looked at it.
type echoError struct{ before, given, after string }

// Error leaves the quotation out.
func (e *echoError) Error() string { return e.before + "[withheld]" + e.after }

// reveal quotes what the upstream gave, unless that holds the credential.
func (e *echoError) reveal(a authorization) error {
	if a.holds(e.given, 1) {
		return e
	}
	return errors.New(e.before + clip(e.given, maxQuote) + e.after)
}

// located names the request in an error, and has the last look at its message: whatever an upstream had a hand in, no
// credential leaves through it, and its length is bounded.
func (c *client) located(err error, at *url.URL) error {
	if e, ok := errors.AsType[*echoError](err); ok {
		err = e.reveal(c.auth)
	}
	err = fmt.Errorf("GET %s: %w", name(at), err)
	switch text := err.Error(); {
	case c.auth.holds(text, longSecret):
		return errors.New("the message is withheld, because it holds the credential")
	case len(text) > maxMessage:
		return errors.New(clip(text, maxMessage))
	}
	return err
}

// name is a URL for messages: with the names of its query parameters, without their values.
func name(u *url.URL) string {
	text := u.Scheme + "://" + u.Host + u.EscapedPath()
	if names := slices.Sorted(maps.Keys(u.Query())); len(names) > 0 {
		text += "?" + strings.Join(names, "&")
	}
	return text
}

// clip shortens s to n bytes.
func clip(s string, n int) string {
	const mark = "..."
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(mark)], "") + mark
}
