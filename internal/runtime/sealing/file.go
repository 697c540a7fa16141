package sealing

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/google/uuid"
)

// ErrNoKeyset means that this process was started without a keyset.
var ErrNoKeyset = errors.New("a credential is sealed and this process has no keyset: start it with --sealing-keyset-file")

// File is a keyset in a file that somebody else replaces, such as a mounted Secret after a rotation. It is safe for
// concurrent use; a nil File has no keys.
type File struct {
	path string

	mu     sync.Mutex
	keyset *Keyset
}

// NewFile names the file; it is read at the first use and again whenever a value needs a key that is not there.
func NewFile(path string) *File { return &File{path: path} }

// Open decrypts as Keyset.Open does. A value with an unknown key makes it read the file again and try once more.
func (f *File) Open(sealed []byte, id uuid.UUID, column string) ([]byte, error) {
	if f == nil {
		return nil, ErrNoKeyset
	}
	keys, fresh, err := f.current()
	if err != nil {
		return nil, err
	}
	plain, err := keys.Open(sealed, id, column)
	if fresh || !errors.Is(err, ErrUnknownKey) {
		return plain, err
	}
	if keys, err = f.read(); err != nil {
		return nil, err
	}
	return keys.Open(sealed, id, column)
}

// current is the keyset in memory, or the file's when there is none; fresh tells that it has just been read.
func (f *File) current() (keys *Keyset, fresh bool, err error) {
	f.mu.Lock()
	keys = f.keyset
	f.mu.Unlock()
	if keys != nil {
		return keys, false, nil
	}
	keys, err = f.read()
	return keys, true, err
}

// read takes the file's keyset into memory; an unreadable file leaves the old one there.
func (f *File) read() (*Keyset, error) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("read sealing keyset: %w", err)
	}
	keys, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", f.path, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keyset = keys
	return keys, nil
}

// String names the file.
func (f *File) String() string {
	if f == nil {
		return "no keyset"
	}
	return "keyset file " + f.path
}

// LogValue is String.
func (f *File) LogValue() slog.Value { return slog.StringValue(f.String()) }
