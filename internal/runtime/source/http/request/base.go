package request

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// ParseBase reads a connection's base URL: http or https, a host, perhaps a path, and nothing else. Its errors name
// what is wrong without repeating the URL, which may hold a password by mistake.
func ParseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("base URL: it does not parse as a URL")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("base URL: want one that begins with https:// or http://")
	case u.Hostname() == "":
		return nil, errors.New("base URL: it has no host")
	case u.User != nil:
		return nil, errors.New("base URL: user name and password do not belong there: use auth")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("base URL: query parameters do not belong there: use the request's query")
	case u.Fragment != "":
		return nil, errors.New("base URL: a fragment (#) is never sent: remove it")
	}
	if u.Host, err = httpguts.PunycodeHostPort(u.Host); err != nil {
		return nil, errors.New("base URL: the host is not a valid name")
	}
	return u, nil
}

// SameOrigin reports whether u has the scheme, host and port of base (an absent port is the scheme's own) and no user
// information, so that a credential meant for base may be sent to it.
func SameOrigin(base, u *url.URL) bool {
	return u.User == nil && u.Opaque == "" && Origin(base) == Origin(u)
}

// Origin is scheme, host and port of u as one comparable string.
func Origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	host, err := httpguts.PunycodeHostPort(u.Hostname())
	if err != nil {
		host = u.Hostname()
	}
	return fmt.Sprintf("%s://%s:%s", strings.ToLower(u.Scheme), strings.ToLower(host), port)
}
