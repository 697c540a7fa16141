// Package sealing encrypts the credentials that rows hold (AEAD, by Tink) with a keyset that is a Secret in the
// cluster and a mounted file in a worker. The database never sees a key, so that a dump of it holds no credential.
//
// A keyset has one primary key, which seals, and older ones, which still open. Each sealed value carries the id of its
// key in clear and is bound to its row and column: moved elsewhere it does not open. The manager makes and rotates
// keysets, workers only open.
package sealing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

var (
	// ErrUnknownKey means that the value was sealed with a key that this keyset does not have (yet, or any more):
	// reading the keyset again may help.
	ErrUnknownKey = errors.New("sealed with a key that the keyset does not have")
	// ErrTampered means that the key is there and the value still does not open: it was changed, cut, or belongs to
	// another row or column.
	ErrTampered = errors.New("sealed value was changed or belongs to another row")
)

// Keyset is an immutable set of keys. It is safe for concurrent use and prints as the ids of its keys.
type Keyset struct {
	handle *keyset.Handle
	cipher tink.AEAD
	// usable are the ids of the enabled keys, the primary one first.
	usable []uint32
}

// NewKeyset makes a keyset of one new random key (AES-256-GCM).
func NewKeyset() (*Keyset, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a sealing key: %w", err)
	}
	return fromHandle(handle)
}

// Parse reads the JSON form, as it stands in the Secret. Its errors never quote the text.
func Parse(data []byte) (*Keyset, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		return nil, errors.New("read sealing keyset: the text is not a Tink keyset in JSON")
	}
	return fromHandle(handle)
}

func fromHandle(handle *keyset.Handle) (*Keyset, error) {
	cipher, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("read sealing keyset: its keys are not AEAD keys that this build knows")
	}
	info := handle.KeysetInfo()
	k := &Keyset{handle: handle, cipher: cipher, usable: []uint32{info.GetPrimaryKeyId()}}
	for _, key := range info.GetKeyInfo() {
		if key.GetOutputPrefixType() != tinkpb.OutputPrefixType_TINK {
			return nil, fmt.Errorf("read sealing keyset: key %d has no prefix of type TINK, so that its values would not name it", key.GetKeyId())
		}
		if key.GetStatus() == tinkpb.KeyStatusType_ENABLED && key.GetKeyId() != info.GetPrimaryKeyId() {
			k.usable = append(k.usable, key.GetKeyId())
		}
	}
	return k, nil
}

// JSON is the keyset in clear, for the Secret and nothing else.
func (k *Keyset) JSON() ([]byte, error) {
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("write sealing keyset: %w", err)
	}
	return b.Bytes(), nil
}

// Rotate gives a keyset with a new primary key; what the old keys sealed still opens. The receiver stays as it is.
func (k *Keyset) Rotate() (*Keyset, error) {
	manager := keyset.NewManagerFromHandle(k.handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("rotate sealing keyset: %w", err)
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("rotate sealing keyset: %w", err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("rotate sealing keyset: %w", err)
	}
	return fromHandle(handle)
}

// PrimaryKeyID is the id of the key that seals. It is not secret.
func (k *Keyset) PrimaryKeyID() uint32 { return k.usable[0] }

// Seal encrypts plain for one column of one row.
func (k *Keyset) Seal(plain []byte, id uuid.UUID, column string) ([]byte, error) {
	sealed, err := k.cipher.Encrypt(plain, associated(id, column))
	if err != nil {
		return nil, fmt.Errorf("seal column %q of row %s: %w", column, id, err)
	}
	return sealed, nil
}

// Open decrypts what Seal made for the same column of the same row. Its errors are ErrUnknownKey and ErrTampered.
func (k *Keyset) Open(sealed []byte, id uuid.UUID, column string) ([]byte, error) {
	key, ok := KeyID(sealed)
	if ok && !slices.Contains(k.usable, key) {
		return nil, fmt.Errorf("open column %q of row %s: key %d: %w", column, id, key, ErrUnknownKey)
	}
	plain, err := k.cipher.Decrypt(sealed, associated(id, column))
	if err != nil {
		return nil, fmt.Errorf("open column %q of row %s: %w", column, id, ErrTampered)
	}
	return plain, nil
}

// associated binds a value to its place. The id has a fixed length, so that no two places give the same bytes.
func associated(id uuid.UUID, column string) []byte {
	return slices.Concat([]byte("syncline\x00"), id[:], []byte(column))
}

// KeyID is the id of the key that sealed a value, which the value carries in clear: after the byte 1, four bytes,
// big-endian (Tink's wire format). It is false for what Seal cannot have made.
func KeyID(sealed []byte) (uint32, bool) {
	const version, prefix = 1, 5
	if len(sealed) < prefix || sealed[0] != version {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:prefix]), true
}

// String names the ids of the keys and never the keys.
func (k Keyset) String() string { return fmt.Sprintf("keyset%v", k.usable) }

// GoString is String, so that no verb of fmt reaches into the keys.
func (k Keyset) GoString() string { return k.String() }

// LogValue is String.
func (k Keyset) LogValue() slog.Value { return slog.StringValue(k.String()) }
