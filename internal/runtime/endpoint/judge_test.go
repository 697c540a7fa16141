package endpoint

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// What an answer means is what the queue makes of the handler's return, so the table asks the queue's own decision.
func TestAnswersDecideWhatBecomesOfTheRun(t *testing.T) {
	t.Parallel()
	const text, page, problemDoc = "text/plain", "text/html; charset=utf-8", "application/problem+json"
	retried := func(code string) jobs.Settlement {
		return jobs.Settlement{Outcome: jobs.Retried, Code: code, KeepLane: true}
	}
	done := func(output string) jobs.Settlement {
		return jobs.Settlement{Outcome: jobs.Completed, Output: json.RawMessage(output)}
	}
	snoozed := func(d time.Duration) jobs.Settlement {
		return jobs.Settlement{Outcome: jobs.Snoozed, Code: "snoozed", Delay: d, KeepLane: true}
	}
	for name, test := range map[string]struct {
		status      int
		contentType string
		body        string
		header      [2]string
		want        jobs.Settlement
		says        []string // in the message
		never       string
	}{
		"a result":             {status: 200, contentType: "application/json", body: ` {"n": 1} `, want: done(`{"n": 1}`)},
		"a result of its kind": {status: 201, contentType: "application/vnd.acme+json; v=1", body: `[]`, want: done(`[]`)},
		"no content":           {status: 204, want: jobs.Settlement{Outcome: jobs.Completed}},
		"an empty body":        {status: 200, contentType: page, body: "\n", want: jobs.Settlement{Outcome: jobs.Completed}},
		"not JSON": {
			status: 200, contentType: page, body: "<html>", want: jobs.Settlement{Outcome: jobs.Failed, Code: "bad_answer"},
			says: []string{`content type "text/html; charset=utf-8"`, "want application/json, or 204"}, never: "<html>",
		},
		"without a content type": {
			status: 200, body: "{}",
			want: jobs.Settlement{Outcome: jobs.Failed, Code: "bad_answer"}, says: []string{`content type ""`},
		},
		"broken JSON": {
			status: 200, contentType: "application/json", body: `{"n": `, want: jobs.Settlement{Outcome: jobs.Failed, Code: "bad_answer"},
			says: []string{"not JSON"}, never: `"n"`,
		},
		"too much": {
			status: 200, contentType: "application/json", body: strings.Repeat(" ", maxOutput) + "{}",
			want: jobs.Settlement{Outcome: jobs.Failed, Code: "bad_answer"}, says: []string{"more than 1048576 bytes", "keep large results elsewhere"},
		},
		"somebody else has it": {
			status: 409, contentType: text, body: "newer token seen",
			want: jobs.Settlement{Outcome: jobs.GivenBack, Code: "given_back", Delay: jobs.GiveBackDelay},
			says: []string{"somebody else has the run", "409", "newer token seen"},
		},
		"nobody wants it": {
			status: 410, contentType: problemDoc, body: `{"title": "Gone", "detail": "order 7 is deleted"}`,
			want: jobs.Settlement{Outcome: jobs.Cancelled, Code: "cancelled"}, says: []string{`by "endpoint"`, "order 7 is deleted"},
		},
		"too much to do":          {status: 429, header: [2]string{"Retry-After", "90"}, want: snoozed(90 * time.Second)},
		"too much for how long":   {status: 429, want: snoozed(defaultSnooze)},
		"too much for very long":  {status: 429, header: [2]string{"Retry-After", "999999999"}, want: snoozed(longestWait)},
		"too much, but not for 0": {status: 429, header: [2]string{"Retry-After", "0"}, want: snoozed(time.Second)},
		"failed": {
			status: 500, contentType: "application/json", body: `{"error": "disk full"}`,
			want: retried("http_500"), says: []string{"500", "disk full"},
		},
		"failed with a page": {status: 502, contentType: page, body: "<html>proxy", want: retried("http_502"), says: []string{"502"}, never: "proxy"},
		"request timeout":    {status: 408, want: retried("http_408")},
		"too early":          {status: 425, want: retried("http_425")},
		"unavailable for how long": {
			status: 503, header: [2]string{"Retry-After", "7"},
			want: jobs.Settlement{Outcome: jobs.Retried, Code: "http_503", KeepLane: true, Delay: 7 * time.Second},
		},
		"refused": {
			status: 422, contentType: text, body: "no amount\nsecond line", want: jobs.Settlement{Outcome: jobs.Failed, Code: "http_422"},
			says: []string{"422", "no amount"}, never: "second line",
		},
		"not found":    {status: 404, want: jobs.Settlement{Outcome: jobs.Failed, Code: "http_404"}},
		"unauthorised": {status: 401, want: jobs.Settlement{Outcome: jobs.Failed, Code: "http_401"}},
		"moved": {
			status: 307, header: [2]string{"Location", "http://elsewhere/secret-path"}, want: jobs.Settlement{Outcome: jobs.Failed, Code: "http_307"},
			says: []string{"redirects are not followed"}, never: "elsewhere",
		},
		"a token given back": {
			status: 500, contentType: text, body: "could not call back with b34r3r now", want: retried("http_500"),
			says: []string{"with [token] now"}, never: "b34r3r",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{}
			header.Set("Content-Type", test.contentType)
			if test.header[0] != "" {
				header.Set(test.header[0], test.header[1])
			}
			body := test.body[:min(len(test.body), maxOutput)]
			output, err := judge(answer{status: test.status, header: header, body: []byte(body), cut: len(body) < len(test.body), bearer: "b34r3r"})
			config := (&Handler{}).Config()
			config.Retry.MaxAttempts = 2
			got := config.Settle(&jobs.Claim{Attempt: 1}, output, err, nil)
			message := got.Message
			if test.want.Outcome == jobs.Retried && test.want.Delay == 0 {
				got.Delay = 0 // the policy's, with jitter
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(jobs.Settlement{}, "Claim", "Message")); diff != "" {
				t.Errorf("the settlement differs (-want +got):\n%s", diff)
			}
			for _, part := range test.says {
				if !strings.Contains(message, part) {
					t.Errorf("the message is %q, want it to say %q", message, part)
				}
			}
			if test.never != "" && strings.Contains(message, test.never) {
				t.Errorf("the message is %q, which quotes %q", message, test.never)
			}
		})
	}
}

func TestRetryAfterDatesAreReadAgainstTheAnswersClock(t *testing.T) {
	t.Parallel()
	then := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC) // far from this machine's clock
	header := http.Header{}
	header.Set("Date", then.Format(http.TimeFormat))
	header.Set("Retry-After", then.Add(90*time.Second).Format(http.TimeFormat))
	if got := (answer{header: header}).retryAfter(0); got != 90*time.Second {
		t.Errorf("the wait is %s, want 90 s", got)
	}
}
