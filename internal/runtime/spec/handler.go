package spec

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ReservedTypes is how the names of job types begin that this system serves itself.
const ReservedTypes = "integration."

// Handler is a job type that a pool's workers serve by posting its runs to a URL. It holds no secret: those that sign
// the requests are sealed in a column of their own. All durations are in milliseconds.
type Handler struct {
	// Type is the job type.
	Type string `json:"type"`
	// URL receives the runs, http or https, without user name and password.
	URL string `json:"url"`
	// TimeoutMillis bounds one request unless the endpoint asks for more, from dial to the last byte of the answer.
	TimeoutMillis int64 `json:"timeoutMillis"`
	Retry         Retry `json:"retry"`
}

// Retry says how often and when a run is executed again after a failure.
type Retry struct {
	// MaxAttempts counts executions, the first included; at least 1.
	MaxAttempts int `json:"maxAttempts"`
	// BaseMillis bounds the first delay, MaxMillis every delay.
	BaseMillis int64 `json:"baseMillis"`
	MaxMillis  int64 `json:"maxMillis"`
	// Fixed keeps the bound at BaseMillis instead of doubling it with every attempt.
	Fixed bool `json:"fixed,omitempty"`
}

// Timeout is TimeoutMillis as a duration.
func (h Handler) Timeout() time.Duration { return time.Duration(h.TimeoutMillis) * time.Millisecond }

// validate reports the first value that a worker could not serve.
func (h Handler) validate() error {
	switch {
	case h.Type == "":
		return errors.New("a type is empty")
	case strings.HasPrefix(h.Type, ReservedTypes):
		return fmt.Errorf("type %q begins with %q, which is reserved: give it another name", h.Type, ReservedTypes)
	case h.TimeoutMillis < 1:
		return fmt.Errorf("type %q: timeoutMillis is %d, want at least 1", h.Type, h.TimeoutMillis)
	case h.Retry.MaxAttempts < 1:
		return fmt.Errorf("type %q: retry.maxAttempts is %d, want at least 1", h.Type, h.Retry.MaxAttempts)
	case h.Retry.BaseMillis < 1 || h.Retry.MaxMillis < h.Retry.BaseMillis:
		return fmt.Errorf("type %q: retry.baseMillis is %d and retry.maxMillis %d, want at least 1 and at least the base",
			h.Type, h.Retry.BaseMillis, h.Retry.MaxMillis)
	}
	u, err := url.Parse(h.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return fmt.Errorf("type %q: the URL is not an absolute http or https URL without user name and password", h.Type)
	}
	return nil
}

// validateHandlers reports the first fault of a pool's handlers.
func validateHandlers(handlers []Handler) error {
	seen := make(map[string]bool, len(handlers))
	for _, h := range handlers {
		if err := h.validate(); err != nil {
			return fmt.Errorf("handlers: %w", err)
		}
		if seen[h.Type] {
			return fmt.Errorf("handlers: type %q is declared twice", h.Type)
		}
		seen[h.Type] = true
	}
	return nil
}

// SigningSecrets is what a pool's sealed column holds, as JSON, before sealing: by job type the secrets that sign its
// requests, in the form of Standard Webhooks.
type SigningSecrets map[string][]string

// ParseSigningSecret reads a secret of Standard Webhooks: 24 to 64 random bytes in base64, with or without "whsec_" before
// them. Its errors never quote the text.
func ParseSigningSecret(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
	if err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("a signing secret is not 24 to 64 bytes in base64, with or without whsec_ before them")
	}
	return key, nil
}

// SecretsColumn is the column name that goes into the associated data of a pool's sealed secrets, beside PoolID.
const SecretsColumn = "secrets"

// PoolID stands for a pool's row in the associated data of what is sealed there.
func PoolID(pool string) uuid.UUID { return uuid.NewSHA1(identity, []byte("pool/"+pool)) }
