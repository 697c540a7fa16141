package http

import (
	nethttp "net/http"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/source"
)

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		status  int
		header  nethttp.Header
		resumed bool
		want    source.Class
	}{
		{status: 201, want: source.BadAnswer},
		{status: 204, want: source.BadAnswer},
		{status: 304, want: source.BadAnswer},
		{status: 400, want: source.Rejected},
		{status: 401, want: source.Unauthorized},
		{status: 403, want: source.Unauthorized},
		{status: 403, header: nethttp.Header{"Retry-After": {"60"}}, want: source.RateLimited},
		{status: 403, header: nethttp.Header{"X-Ratelimit-Remaining": {"0"}}, want: source.RateLimited},
		{status: 403, header: nethttp.Header{"X-Ratelimit-Remaining": {"10"}}, want: source.Unauthorized},
		{status: 404, want: source.NotFound},
		{status: 408, want: source.Transient},
		{status: 410, want: source.NotFound},
		{status: 410, resumed: true, want: source.CursorExpired},
		{status: 422, want: source.Rejected},
		{status: 425, want: source.Transient},
		{status: 429, want: source.RateLimited},
		{status: 500, want: source.Transient},
		{status: 502, want: source.Transient},
		{status: 503, want: source.Transient},
		{status: 503, header: nethttp.Header{"Retry-After": {"1"}}, want: source.RateLimited},
	} {
		e := classify(tc.status, tc.header, tc.resumed, time.Now())
		if e == nil || e.Class != tc.want || e.Status != tc.status {
			t.Errorf("status %d with %v, resumed %t: got %v, want %s", tc.status, tc.header, tc.resumed, e, tc.want)
		}
	}
	if e := classify(200, nil, false, time.Now()); e != nil {
		t.Errorf("status 200: got %v, want a page", e)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	date := func(t time.Time) string { return t.Format(nethttp.TimeFormat) }
	for name, tc := range map[string]struct {
		header nethttp.Header
		want   time.Duration
	}{
		"nothing":                         {nethttp.Header{}, 0},
		"seconds":                         {nethttp.Header{"Retry-After": {" 120 "}}, 2 * time.Minute},
		"date by the machine's clock":     {nethttp.Header{"Retry-After": {date(now.Add(90 * time.Second))}}, 90 * time.Second},
		"date by the upstream's clock":    {nethttp.Header{"Retry-After": {date(now.Add(time.Hour))}, "Date": {date(now.Add(time.Hour - time.Minute))}}, time.Minute},
		"date in the form of RFC 850":     {nethttp.Header{"Retry-After": {now.Add(time.Minute).Format("Monday, 02-Jan-06 15:04:05 GMT")}}, time.Minute},
		"date that has passed":            {nethttp.Header{"Retry-After": {date(now.Add(-time.Hour))}}, 0},
		"date in another age":             {nethttp.Header{"Retry-After": {"Fri, 31 Dec 9999 23:59:59 GMT"}}, maxRetryAfter},
		"more seconds than a day":         {nethttp.Header{"Retry-After": {"99999999"}}, maxRetryAfter},
		"more seconds than an int64":      {nethttp.Header{"Retry-After": {"99999999999999999999"}}, 0},
		"negative":                        {nethttp.Header{"Retry-After": {"-5"}}, 0},
		"words":                           {nethttp.Header{"Retry-After": {"later"}}, 0},
		"reset in seconds":                {nethttp.Header{"Ratelimit-Reset": {"30"}}, 30 * time.Second},
		"reset as Unix time":              {nethttp.Header{"X-Ratelimit-Reset": {"1767323105"}}, time.Minute},
		"Retry-After goes before a reset": {nethttp.Header{"Retry-After": {"1"}, "Ratelimit-Reset": {"30"}}, time.Second},
	} {
		if got := retryAfter(tc.header, now); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}
