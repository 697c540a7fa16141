package http

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func TestTimestampFormats(t *testing.T) {
	at := time.Date(2024, 2, 29, 23, 59, 58, 987654321, time.UTC)
	for _, tc := range []struct {
		format spec.TimestampFormat
		read   any
		time   time.Time
		write  string
	}{
		{spec.FormatRFC3339, "2024-02-29T23:59:58.987654321Z", at, "2024-02-29T23:59:58.987654321Z"},
		{spec.FormatRFC3339, "2024-03-01T00:59:58.98765432100+01:00", at, "2024-02-29T23:59:58.987654321Z"},
		{spec.FormatRFC3339, "2024-02-29T23:59:58Z", at.Truncate(time.Second), "2024-02-29T23:59:58Z"},
		{spec.FormatSpaced, "2024-02-29 23:59:58.987Z", at.Truncate(time.Millisecond), "2024-02-29 23:59:58.987Z"},
		{spec.FormatSpaced, "2024-02-29 23:59:58.987654321Z", at, "2024-02-29 23:59:58.987Z"},
		{spec.FormatSpaced, "2024-02-29 23:59:58Z", at.Truncate(time.Second), "2024-02-29 23:59:58.000Z"},
		{spec.FormatUnixSeconds, json.Number("1709251198"), at.Truncate(time.Second), "1709251198"},
		{spec.FormatUnixSeconds, "1709251198", at.Truncate(time.Second), "1709251198"},
		{spec.FormatUnixMillis, json.Number("1709251198987"), at.Truncate(time.Millisecond), "1709251198987"},
		{spec.FormatUnixMillis, json.Number("-1"), time.UnixMilli(-1).UTC(), "-1"},
		{spec.FormatDate, "2024-02-29", at.Truncate(24 * time.Hour), "2024-02-29"},
	} {
		f := timestampFormat(tc.format)
		got, err := f.read(tc.read)
		if err != nil || !got.Equal(tc.time) {
			t.Errorf("%s reads %v as %v, %v; want %v", f, tc.read, got, err, tc.time)
		}
		if w := f.write(got); w != tc.write {
			t.Errorf("%s writes %v as %q, want %q", f, got, w, tc.write)
		}
		if f.floor(at).After(at) || f.floor(at.Add(-100*365*24*time.Hour)).After(at.Add(-100*365*24*time.Hour)) {
			t.Errorf("%s rounds up", f)
		}
	}
}

func TestTimestampRefusesWhatIsNotItsFormat(t *testing.T) {
	for _, tc := range []struct {
		format spec.TimestampFormat
		value  any
	}{
		{spec.FormatRFC3339, "2024-02-29 23:59:58Z"},
		{spec.FormatRFC3339, json.Number("1709251198")},
		{spec.FormatRFC3339, true},
		{spec.FormatRFC3339, map[string]any{}},
		{spec.FormatSpaced, "2024-02-29 23:59:58"},
		{spec.FormatUnixSeconds, json.Number("1709251198.5")},
		{spec.FormatUnixSeconds, json.Number("9223372036854775807")},
		{spec.FormatUnixMillis, json.Number("92233720368547758070")},
		{spec.FormatDate, "secret-in-the-wrong-place"},
	} {
		got, err := timestampFormat(tc.format).read(tc.value)
		if err == nil {
			t.Errorf("%s reads %v as %v, want an error", tc.format, tc.value, got)
		} else if s, ok := tc.value.(string); ok && strings.Contains(err.Error(), s) {
			t.Errorf("error %q repeats the value", err)
		}
	}
}
