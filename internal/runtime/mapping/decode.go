package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Decode reads one JSON text (RFC 8259) and keeps numbers exactly as they are written, as json.Number. Objects become
// map[string]any (the last of equal keys wins, as in jsonb), arrays []any. A byte order mark is skipped; anything
// after the value, an empty text and nesting deeper than 10 000 are errors.
//
// Bytes that are not UTF-8 stay in their string, so that the record they belong to is refused and not its whole page;
// half a surrogate pair in an escape becomes U+FFFD.
func Decode(data []byte) (any, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if utf8.Valid(data) {
		return decode(data)
	}
	v, err := decode(escapeInvalid(data))
	if err != nil {
		return nil, err
	}
	return restoreInvalid(v), nil
}

func decode(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("decode JSON: the text is empty")
		}
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	if rest := bytes.TrimLeft(data[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, fmt.Errorf("decode JSON: %d bytes after the value", len(rest))
	}
	return v, nil
}

// escapeBase is where the private characters begin that stand for invalid bytes while the standard decoder, which
// would replace those silently, reads the text. A text that holds both is refused record by record, which is safe.
const escapeBase = 0x10FE00

func escapeInvalid(data []byte) []byte {
	out := make([]byte, 0, len(data)+64)
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			r = escapeBase + rune(data[0])
		}
		out = utf8.AppendRune(out, r)
		data = data[n:]
	}
	return out
}

// restoreInvalid puts the invalid bytes back.
func restoreInvalid(v any) any {
	switch v := v.(type) {
	case string:
		return restoreString(v)
	case []any:
		for i := range v {
			v[i] = restoreInvalid(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[restoreString(k)] = restoreInvalid(e)
		}
		return out
	}
	return v
}

func restoreString(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= escapeBase+utf8.RuneSelf && r <= escapeBase+0xFF {
			b.WriteByte(byte(r - escapeBase))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Lookup follows a dotted path into a decoded value: names into objects, numbers from 0 into arrays. It is false when
// a step is missing, also when it leads through null. The empty path is the value itself.
func Lookup(path string, record any) (any, bool) {
	if path == "" {
		return record, true
	}
	for step := range strings.SplitSeq(path, ".") {
		var ok bool
		if record, ok = lookupStep(step, record); !ok {
			return nil, false
		}
	}
	return record, true
}

func lookupStep(step string, v any) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		e, ok := v[step]
		return e, ok
	case []any:
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(v) {
			return nil, false
		}
		return v[i], true
	}
	return nil, false
}
