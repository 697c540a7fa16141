package reads

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// Cursor says where the next page of a list begins; empty is the first page, and after the last one. It is opaque, and
// good only for the list and filter that made it.
type Cursor string

// cursorVersion is written into cursors, so that those of another build are recognised.
const cursorVersion = 1

// sealed is what a cursor holds: the position, and a checksum over it, the list and the filter.
type sealed struct {
	V   int             `json:"v"`
	At  json.RawMessage `json:"at"`
	Sum []byte          `json:"sum"`
}

// makeCursor wraps a position of the list with that filter.
func makeCursor(list string, filter, position any) (Cursor, error) {
	at, err := json.Marshal(position)
	if err != nil {
		return "", err
	}
	sum, err := checksum(list, filter, at)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(sealed{V: cursorVersion, At: at, Sum: sum})
	if err != nil {
		return "", err
	}
	return Cursor(base64.RawURLEncoding.EncodeToString(raw)), nil
}

// open reads the position back. found is false for the empty cursor.
func (c Cursor) open(list string, filter, position any) (found bool, err error) {
	if c == "" {
		return false, nil
	}
	var s sealed
	raw, err := base64.RawURLEncoding.DecodeString(string(c))
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil || s.V != cursorVersion {
		return false, fmt.Errorf("%w: it is not one of this program; begin without one", ErrInvalidCursor)
	}
	want, err := checksum(list, filter, s.At)
	if err != nil {
		return false, err
	}
	if string(want) != string(s.Sum) {
		return false, fmt.Errorf("%w: it belongs to another list or filter; begin without one", ErrInvalidCursor)
	}
	if err := json.Unmarshal(s.At, position); err != nil {
		return false, fmt.Errorf("%w: %w", ErrInvalidCursor, err)
	}
	return true, nil
}

// checksum is not a secret: it tells mistakes apart from cursors, not attackers.
func checksum(list string, filter any, at []byte) ([]byte, error) {
	doc, err := json.Marshal(filter)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(list), doc, at} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return h.Sum(nil)[:8], nil
}
