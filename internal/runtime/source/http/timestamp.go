package http

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// timestampFormat reads and writes times as a source does.
type timestampFormat spec.TimestampFormat

// granularity is the smallest step that the format can write.
func (f timestampFormat) granularity() time.Duration {
	switch spec.TimestampFormat(f) {
	case spec.FormatSpaced, spec.FormatUnixMillis:
		return time.Millisecond
	case spec.FormatUnixSeconds:
		return time.Second
	case spec.FormatDate:
		return 24 * time.Hour
	}
	return time.Nanosecond
}

// floor is the time that a server reads when t is written: never later than t, as a lower bound must be.
func (f timestampFormat) floor(t time.Time) time.Time { return t.UTC().Truncate(f.granularity()) }

// write gives t in the format, rounded down.
func (f timestampFormat) write(t time.Time) string {
	t = f.floor(t)
	switch spec.TimestampFormat(f) {
	case spec.FormatSpaced:
		return t.Format("2006-01-02 15:04:05.000Z")
	case spec.FormatUnixSeconds:
		return strconv.FormatInt(t.Unix(), 10)
	case spec.FormatUnixMillis:
		return strconv.FormatInt(t.UnixMilli(), 10)
	case spec.FormatDate:
		return t.Format(time.DateOnly)
	}
	return t.Format(time.RFC3339Nano)
}

// read takes a decoded JSON value. Its error does not repeat the value.
func (f timestampFormat) read(v any) (time.Time, error) {
	t, err := f.parse(v)
	if err == nil && (t.Year() < 1 || t.Year() > 9999) {
		err = errors.New("out of range")
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("the value does not read as %s", f)
	}
	return t.UTC(), nil
}

func (f timestampFormat) parse(v any) (time.Time, error) {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case json.Number:
		s = v.String()
	default:
		return time.Time{}, errors.New("neither string nor number")
	}
	switch spec.TimestampFormat(f) {
	case spec.FormatSpaced:
		return time.Parse("2006-01-02 15:04:05Z07:00", s)
	case spec.FormatUnixSeconds:
		n, err := strconv.ParseInt(s, 10, 64)
		return time.Unix(n, 0), err
	case spec.FormatUnixMillis:
		n, err := strconv.ParseInt(s, 10, 64)
		return time.UnixMilli(n), err
	case spec.FormatDate:
		return time.Parse(time.DateOnly, s)
	}
	return time.Parse(time.RFC3339, s)
}
