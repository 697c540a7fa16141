package endpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

const (
	// defaultSnooze is how long a run waits whose endpoint answers 429 without saying how long.
	defaultSnooze = 30 * time.Second
	// longestWait bounds what an endpoint may ask for with Retry-After.
	longestWait = 24 * time.Hour
	// maxReason bounds what a message quotes of an answer, in bytes.
	maxReason = 500
)

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	cut    bool // the body was longer than what is read
	bearer string
}

func succeeded(status int) bool { return status >= 200 && status < 300 }

// class is a status as the metrics show it.
func class(status int) string { return strconv.Itoa(min(status/100, 5)) + "xx" }

// judge says what becomes of the run.
func judge(a answer) (json.RawMessage, error) {
	s := a.status
	switch {
	case succeeded(s):
		return a.output()
	case s == http.StatusConflict:
		return nil, jobs.GiveBack(a.error("somebody else has the run"))
	case s == http.StatusGone:
		return nil, &jobs.CancelRequested{By: "endpoint", Reason: a.error("nobody wants the run").Error()}
	case s == http.StatusTooManyRequests:
		return nil, jobs.Snooze(a.retryAfter(defaultSnooze), a.error("the endpoint has too much to do").Error())
	case s >= 500, s == http.StatusRequestTimeout, s == http.StatusTooEarly:
		failure := jobs.WithCode(a.code(), a.error("the endpoint failed"))
		if after := a.retryAfter(0); after > 0 {
			return nil, jobs.RetryAfter(after, failure)
		}
		return nil, failure
	case s >= 300 && s < 400:
		return nil, a.permanent("redirects are not followed: declare the URL where the endpoint really is")
	}
	return nil, a.permanent("the endpoint refuses the run")
}

// output is the result of a run that succeeded: the JSON of the body, null without one.
func (a answer) output() (json.RawMessage, error) {
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	switch body := bytes.TrimSpace(a.body); {
	case a.cut:
		return nil, a.bad("a body of more than %d bytes: keep large results elsewhere and answer where", maxOutput)
	case len(body) == 0:
		return nil, nil
	case kind != "application/json" && !strings.HasSuffix(kind, "+json"):
		return nil, a.bad("a body of content type %q, want application/json, or 204 without a body", shorten(a.header.Get("Content-Type"), 100))
	case !json.Valid(body):
		return nil, a.bad("a body that is not JSON although its content type is %q", kind)
	default:
		return json.RawMessage(body), nil
	}
}

// bad is an answer that says the run succeeded and cannot be read. Another attempt would do again what was done.
func (a answer) bad(format string, args ...any) error {
	return jobs.Permanent("bad_answer", fmt.Errorf("the endpoint answered %d with "+format, append([]any{a.status}, args...)...))
}

func (a answer) permanent(meaning string) error {
	return jobs.Permanent(a.code(), a.error(meaning))
}

// code is that of a run which fails by the answer.
func (a answer) code() string { return "http_" + strconv.Itoa(a.status) }

// error says what an answer means, and what the endpoint gave as the reason.
func (a answer) error(meaning string) error {
	text := fmt.Sprintf("%s (it answered %d)", meaning, a.status)
	if reason := a.reason(); reason != "" {
		text += ": " + reason
	}
	return errors.New(text)
}

// reason is what the endpoint says about a failure: the detail of a problem document (RFC 9457) or its like, or the
// first line of a text. A callback's token that it quotes stays out.
func (a answer) reason() string {
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	text := ""
	switch {
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		var doc map[string]any
		if json.Unmarshal(a.body, &doc) != nil {
			return ""
		}
		for _, member := range []string{"detail", "message", "error", "title"} {
			if s, ok := doc[member].(string); ok && s != "" {
				text = s
				break
			}
		}
	case kind == "text/plain":
		text, _, _ = strings.Cut(strings.TrimSpace(string(a.body)), "\n")
	}
	if a.bearer != "" {
		text = strings.ReplaceAll(text, a.bearer, "[token]")
	}
	return shorten(text, maxReason)
}

// shorten bounds a text, at a whole character.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "..."
}

// retryAfter is what the answer's Retry-After asks for, in seconds or as a date against the answer's own clock
// (RFC 9110, section 10.2.3), within a day; otherwise when it does not say.
func (a answer) retryAfter(otherwise time.Duration) time.Duration {
	value := strings.TrimSpace(a.header.Get("Retry-After"))
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return bounded(time.Duration(n) * time.Second)
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return otherwise
	}
	now, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return bounded(until.Sub(now))
}

// bounded keeps a wait between a second and a day.
func bounded(d time.Duration) time.Duration { return min(max(d, time.Second), longestWait) }
