package http

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// authorization is a credential as requests carry it.
type authorization struct {
	// header is the value of Authorization, empty for none.
	header string
	// cutter replaces the credential, in each form that it could come back in, by a mark.
	cutter *strings.Replacer
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
	var pairs []string
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			if form != "" {
				pairs = append(pairs, form, "[credential]")
			}
		}
	}
	return authorization{header: header, cutter: strings.NewReplacer(pairs...)}
}

// cut removes the credential from a text that an upstream had a hand in.
func (a authorization) cut(s string) string {
	if a.cutter == nil {
		return s
	}
	return a.cutter.Replace(s)
}
