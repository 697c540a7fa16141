package http

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// authorization is a credential as requests carry it.
type authorization struct {
	// header is the value of Authorization, empty for none.
	header string
	// secrets are the forms of the credential that no message may hold.
	secrets []string
}

func newAuthorization(kind spec.AuthKind, c spec.Credential) (authorization, error) {
	switch kind {
	case spec.AuthNone:
		return authorization{}, nil
	case spec.AuthBearer:
		return bearer(c.Token)
	case spec.AuthBasic:
		return basic(c.Username, c.Password)
	}
	return authorization{}, fmt.Errorf("auth is %q, want None, Basic or Bearer", kind)
}

func bearer(token string) (authorization, error) {
	switch {
	case token == "":
		return authorization{}, errors.New("credential: the token is empty")
	case !httpguts.ValidHeaderFieldValue(token) || strings.TrimSpace(token) != token:
		return authorization{}, errors.New("credential: the token holds a line break, a blank at its ends or another character that a header cannot carry")
	}
	return newSecret("Bearer "+token, token), nil
}

func basic(user, password string) (authorization, error) {
	switch {
	case user == "" && password == "":
		return authorization{}, errors.New("credential: user name and password are empty")
	case strings.Contains(user, ":"):
		return authorization{}, errors.New("credential: a user name cannot hold a colon (RFC 7617)")
	case strings.ContainsAny(user+password, "\r\n"):
		return authorization{}, errors.New("credential: the user name or the password holds a line break")
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return newSecret("Basic "+encoded, encoded, password), nil
}

func newSecret(header string, secrets ...string) authorization {
	a := authorization{header: header}
	for _, s := range secrets {
		if s != "" {
			a.secrets = append(a.secrets, plainForm(s))
		}
	}
	return a
}

// holds reports whether s holds a secret of at least that many bytes, in whatever case and encoding for URLs.
func (a authorization) holds(s string, least int) bool {
	s = plainForm(s)
	return slices.ContainsFunc(a.secrets, func(secret string) bool {
		return len(secret) >= least && strings.Contains(s, secret)
	})
}

// escapePattern is one byte in percent-encoding.
var escapePattern = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// plainForm undoes what an upstream may do to a text when it gives it back: it is in lower case, percent-encoding is
// resolved, twice, and a plus sign is a blank.
func plainForm(s string) string {
	for range 2 {
		s = escapePattern.ReplaceAllStringFunc(s, func(e string) string {
			b, _ := strconv.ParseUint(e[1:], 16, 8) // two digits
			return string([]byte{byte(b)})
		})
	}
	return strings.ToLower(strings.ReplaceAll(s, "+", " "))
}
