package mapping

import (
	"strings"
	"time"
)

// maxTimeLength bounds what is tried as a time: the longest form has 35 characters before its fraction gets silly.
const maxTimeLength = 64

// maxOffset bounds the offset from UTC, in seconds, as PostgreSQL does.
const maxOffset = 16 * 60 * 60

// timeLayouts are the accepted forms after normalizeTime; a fraction of a second may follow the seconds of each.
var timeLayouts = []string{
	"2006-01-02T15:04:05Z07:00",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05Z07",
	"2006-01-02T15:04:05Z07:00:00",
	"2006-01-02T15:04:05",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	time.DateOnly,
	"20060102T150405Z0700",
	"20060102T150405",
}

// parseTime reads the ISO 8601 forms that APIs send: RFC 3339, a blank instead of the T, offsets without a colon or
// after a blank, a date alone. A time without an offset is taken as UTC.
func parseTime(s string) (time.Time, bool) {
	if len(s) > maxTimeLength {
		return time.Time{}, false
	}
	s = normalizeTime(s)
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			_, offset := t.Zone()
			return t, max(offset, -offset) < maxOffset
		}
	}
	return time.Time{}, false
}

// normalizeTime writes 2011-01-26 19:01:12.5 +0000 as 2011-01-26T19:01:12.5+0000, and utc and z as Z.
func normalizeTime(s string) string {
	const dateLength = len(time.DateOnly)
	s = strings.ToUpper(s)
	s = strings.TrimSuffix(s, " UTC")
	if len(s) <= dateLength {
		return s
	}
	date, clock := s[:dateLength], s[dateLength:]
	if clock[0] == ' ' {
		clock = "T" + clock[1:]
	}
	if i := strings.LastIndexAny(clock, "+-"); i > 0 {
		clock = strings.TrimSuffix(clock[:i], " ") + clock[i:]
	}
	return date + clock
}

// timestampLayout always has the zone and leaves trailing zeros of the fraction out.
const timestampLayout = "2006-01-02T15:04:05.999999Z07:00"

// canonicalTime rounds to PostgreSQL's microsecond, in UTC; it is false outside of the years 1 to 9999.
func canonicalTime(t time.Time) (string, bool) {
	t = t.UTC().Round(time.Microsecond)
	return t.Format(timestampLayout), t.Year() >= 1 && t.Year() <= 9999
}
