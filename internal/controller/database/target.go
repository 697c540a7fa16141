package database

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Target says where a database is. It holds a credential: it is never logged, formatted or put into a status.
type Target struct {
	// URI connects as the role that owns the schema and runs the workers.
	URI string
	// Schema is the PostgreSQL schema of the engine's tables.
	Schema string
}

// ErrInvalidURI is a secret's value that is no connection URI. It never holds the value.
var ErrInvalidURI = errors.New("not a PostgreSQL connection URI such as postgres://user:password@host:5432/database")

// Key tells databases apart inside this process: one actor serves one key. It does not reveal the URI.
type Key string

// Key is the same for targets that are equal.
func (t Target) Key() Key {
	sum := sha256.Sum256([]byte(t.URI + "\x00" + t.Schema))
	return Key(hex.EncodeToString(sum[:]))
}

// Validate reports, as ErrInvalidURI, a URI that cannot be parsed.
func (t Target) Validate() error {
	if _, err := pgx.ParseConfig(t.URI); err != nil || t.URI == "" {
		return ErrInvalidURI
	}
	return nil
}

// String hides everything but the schema.
func (t Target) String() string { return fmt.Sprintf("schema %q of a database", t.Schema) }

// GoString hides what String hides.
func (t Target) GoString() string { return t.String() }
