package endpoint

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// problem is an error as the API answers it (RFC 9457): what is wrong and the way out.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// CancelRequested says, of a claim that has ended, that somebody asked for the run's cancellation.
	CancelRequested bool `json:"cancelRequested,omitempty"`
	// RetryAfter goes into the header of that name, in seconds; 0 for none.
	RetryAfter int `json:"-"`
}

var (
	unauthorized = &problem{
		Status: http.StatusUnauthorized,
		Detail: "no run that this worker holds has this token: send \"Authorization: Bearer \" with callback.token of the request, " +
			"to callback.url; when it was the right one, the claim ended long ago: stop",
	}
	tooLarge = &problem{
		Status: http.StatusRequestEntityTooLarge,
		Detail: "a report of progress has at most " + strconv.Itoa(jobs.MaxProgress) + " bytes: report a summary, and keep the rest in a table of your own",
	}
)

// overProblem is the answer about a claim whose request has ended.
func overProblem(e *ended) *problem {
	text, cancelled := e.why()
	return &problem{
		Status: http.StatusGone, CancelRequested: cancelled,
		Detail: text + ": stop, and let complete() tell whether the run is still yours",
	}
}

func refuse(w http.ResponseWriter, p *problem) error {
	answer := *p
	answer.Title = http.StatusText(p.Status)
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	return write(w, "application/problem+json", p.Status, answer)
}

// reply answers with a value, 204 without one.
func reply(w http.ResponseWriter, value any, p *problem) error {
	switch {
	case p != nil:
		return refuse(w, p)
	case value == nil:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return write(w, "application/json", http.StatusOK, value)
}

func write(w http.ResponseWriter, contentType string, status int, value any) error {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(value)
}
