package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// secretsSQL reads one row by its primary key.
const secretsSQL = `
SELECT secrets
FROM pool
WHERE name = $1`

// secrets are the keys that sign requests, by job type: read at the first use, and again when the pool's tuning has
// changed, because a rotated secret is a change of the tuning.
type secrets struct {
	pool    string
	db      *pgxpool.Pool
	sealing Opener

	mu      sync.Mutex
	changes int // how often they were forgotten
	signers map[string][]*standardwebhooks.Webhook
}

// forget has the next use read again.
func (s *secrets) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.signers = nil
}

func (s *secrets) current() (signers map[string][]*standardwebhooks.Webhook, changes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signers, s.changes
}

// of are the signers of one type, at least one.
func (s *secrets) of(ctx context.Context, jobType string) ([]*standardwebhooks.Webhook, error) {
	signers, changes := s.current()
	if signers == nil {
		var err error
		if signers, err = s.read(ctx); err != nil {
			return nil, fmt.Errorf("read the signing secrets of pool %q: %w", s.pool, err)
		}
		s.mu.Lock()
		if s.changes == changes {
			s.signers = signers
		}
		s.mu.Unlock()
	}
	if len(signers[jobType]) == 0 {
		return nil, fmt.Errorf("pool %q holds no signing secret for job type %q", s.pool, jobType)
	}
	return signers[jobType], nil
}

func (s *secrets) read(ctx context.Context) (map[string][]*standardwebhooks.Webhook, error) {
	var sealed []byte
	if err := s.db.QueryRow(ctx, secretsSQL, s.pool).Scan(&sealed); err != nil {
		return nil, err
	}
	signers := map[string][]*standardwebhooks.Webhook{}
	if sealed == nil {
		return signers, nil
	}
	plain, err := s.sealing.Open(sealed, spec.PoolID(s.pool), spec.SecretsColumn)
	if err != nil {
		return nil, err
	}
	var texts spec.SigningSecrets
	if json.Unmarshal(plain, &texts) != nil {
		return nil, errors.New("what was sealed is no document of secrets")
	}
	for jobType, list := range texts {
		for _, text := range list {
			key, err := spec.ParseSigningSecret(text)
			if err != nil {
				return nil, fmt.Errorf("job type %q: %w", jobType, err)
			}
			signer, err := standardwebhooks.NewWebhookRaw(key)
			if err != nil {
				return nil, fmt.Errorf("job type %q: %w", jobType, err)
			}
			signers[jobType] = append(signers[jobType], signer)
		}
	}
	return signers, nil
}
