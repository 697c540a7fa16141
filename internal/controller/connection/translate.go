package connection

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/condition"
	"github.com/syncline-dev/syncline/internal/controller/credential"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Translate gives the document that workers read. It holds no secret.
func Translate(s *v1alpha1.IntegrationConnectionSpec) spec.Connection {
	c := spec.Connection{Version: spec.Version, Provider: s.Provider}
	if s.HTTP == nil {
		return c
	}
	h := &spec.HTTP{
		BaseURL:       s.HTTP.BaseURL,
		Auth:          authKind(s.HTTP.Auth),
		TimeoutMillis: 1000 * int64(s.HTTP.RequestTimeoutSeconds),
	}
	if l := s.HTTP.RateLimit; l != nil {
		h.MilliRequestsPerSecond, h.Burst = l.RequestsPerSecond.MilliValue(), int(l.Burst)
	}
	if s.HTTP.Egress != nil {
		h.AllowedCIDRs = s.HTTP.Egress.AllowedCIDRs
	}
	c.HTTP = h
	return c
}

func authKind(a *v1alpha1.HTTPAuth) spec.AuthKind {
	switch {
	case a == nil:
		return spec.AuthNone
	case a.Basic != nil:
		return spec.AuthBasic
	case a.Bearer != nil:
		return spec.AuthBearer
	}
	return spec.AuthNone
}

// document encodes what Translate gives.
func document(c spec.Connection) (json.RawMessage, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode the connection: %w", err)
	}
	return text, nil
}

// secretName is the Secret that holds the credential, empty when none is needed.
func secretName(s *v1alpha1.IntegrationConnectionSpec) string {
	switch a := auth(s); {
	case a == nil:
		return ""
	case a.Basic != nil:
		return a.Basic.SecretRef.Name
	case a.Bearer != nil:
		return a.Bearer.SecretRef.Name
	}
	return ""
}

func auth(s *v1alpha1.IntegrationConnectionSpec) *v1alpha1.HTTPAuth {
	if s.HTTP == nil {
		return nil
	}
	return s.HTTP.Auth
}

// extract takes the credential out of its Secret, or says what is missing there. A line feed at the end is what editors
// and echo leave behind, and never part of a credential.
func extract(a *v1alpha1.HTTPAuth, secret credential.Secret) (spec.Credential, *condition.Verdict) {
	var c spec.Credential
	take := func(into *string, key string) *condition.Verdict {
		value, missing := secret.Key(key)
		*into = strings.TrimRight(value, "\r\n")
		return missing
	}
	if a.Bearer != nil {
		missing := take(&c.Token, a.Bearer.SecretRef.Key)
		return c, missing
	}
	missing := take(&c.Username, a.Basic.SecretRef.UsernameKey)
	if missing == nil {
		missing = take(&c.Password, a.Basic.SecretRef.PasswordKey)
	}
	return c, missing
}
