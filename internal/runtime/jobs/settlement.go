package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Outcome is how a claim ends.
type Outcome string

const (
	// Completed ends the run with its output.
	Completed Outcome = "completed"
	// Failed ends the run with an error.
	Failed Outcome = "failed"
	// Retried spends an attempt and puts the run off.
	Retried Outcome = "retried"
	// Snoozed puts the run off without spending an attempt.
	Snoozed Outcome = "snoozed"
	// GivenBack makes the run due again without spending an attempt, or puts it off when it has a delay.
	GivenBack Outcome = "given_back"
	// Cancelled ends the run because somebody asked.
	Cancelled Outcome = "cancelled"
	// TimedOut ends the run because its deadline has passed, or its last attempt took too long.
	TimedOut Outcome = "timed_out"
	// Parked makes the run wait, without a slot and without spending an attempt, until what it waits for is there.
	Parked Outcome = "parked"
)

// Settlement is what a worker writes about a claim whose handler has stopped.
type Settlement struct {
	Claim   *Claim
	Outcome Outcome
	// Output is stored when the outcome is Completed.
	Output json.RawMessage
	// Code and Message are stored with every other outcome.
	Code    string
	Message string
	// Delay puts a run that goes back off; 0 makes it due at once. A parked run waits no longer than Delay, if it is not 0.
	Delay time.Duration
	// Wait is what a parked run waits for.
	Wait Wait
	// KeepLane keeps the lane of a run that is retried, snoozed or parked.
	KeepLane bool
}

// ends reports a settlement after which the run has ended.
func (s Settlement) ends() bool {
	switch s.Outcome {
	case Completed, Failed, Cancelled, TimedOut:
		return true
	case Retried, Snoozed, GivenBack, Parked:
	}
	return s.Claim.CompletionAsked()
}

// SettleResult is the database's answer about one settlement.
type SettleResult int

const (
	// Done says that the settlement was written by this call.
	Done SettleResult = iota
	// Already says that this claim had settled the run before, by a settle whose reply was lost or by Complete.
	Already
	// Lost says that the claim does not hold the run any more: the result is to be dropped.
	Lost
	// Busy says that a transaction of the handler still holds the run's row. The run is still held; settle it again.
	Busy
)

// String names the result for logs and metrics.
func (r SettleResult) String() string {
	return [...]string{"done", "already", "lost", "busy"}[r]
}

// maxMessage bounds an error message in bytes.
const maxMessage = 8 << 10

// Settle decides how a claim ends from what its handler returned and from the cause of its context's end, nil while
// the context had not ended. It is called when the handler has stopped, never before.
func (t TypeConfig) Settle(c *Claim, output json.RawMessage, err, cause error) Settlement {
	s := Settlement{Claim: c, Outcome: Completed, Output: output}
	if c.CompletionAsked() && err == nil {
		err = errors.New("complete was called, but its transaction was not committed")
	}
	if err == nil {
		if err = t.storable(output); err == nil {
			return s
		}
		cause = nil // what was returned cannot be stored, however often it is returned
	}
	s.Output, s.Message = nil, t.Message(err.Error())
	if t.parked(&s, err, cause) || stopped(&s, cause) {
		return s
	}
	t.failed(&s, err, errors.Is(cause, ErrTimeout))
	return s
}

// parked settles a run whose handler waits for something. A run that is to end is not parked.
func (t TypeConfig) parked(s *Settlement, err, cause error) bool {
	park, ok := errors.AsType[*parkError](err)
	if _, asked := errors.AsType[*CancelRequested](cause); !ok || asked || errors.Is(cause, ErrDeadline) {
		return false
	}
	s.Outcome, s.Code, s.Wait, s.Delay = Parked, string(park.wait.Kind), park.wait, park.delay
	// Children may need the lane that their parent stands in.
	s.KeepLane = !t.ReleaseLaneOnRetry && park.wait.Kind != WaitForChildren
	return true
}

// stopped settles a run whose context had ended, unless the end was its attempt's or not the worker's doing.
func stopped(s *Settlement, cause error) bool {
	request, asked := errors.AsType[*CancelRequested](cause)
	switch {
	case errors.Is(cause, ErrDraining), errors.Is(cause, ErrLeaseLost):
		s.Outcome, s.Code, s.Message = GivenBack, "stopped", clean(cause.Error())
	case errors.Is(cause, ErrDeadline):
		s.Outcome, s.Code = TimedOut, codeDeadline
	case asked:
		s.Outcome, s.Code, s.Message = Cancelled, "cancelled", clean(request.Error())
	default:
		return false
	}
	return true
}

// failed settles a run whose handler returned an error of its own, or one because its attempt had timed out.
func (t TypeConfig) failed(s *Settlement, err error, timedOut bool) {
	if snooze, ok := errors.AsType[*snoozeError](err); ok {
		s.Outcome, s.Code, s.Delay, s.KeepLane = Snoozed, "snoozed", max(snooze.after, 0), !t.ReleaseLaneOnRetry
		return
	}
	if _, ok := errors.AsType[*giveBackError](err); ok {
		s.Outcome, s.Code, s.Delay = GivenBack, "given_back", GiveBackDelay
		return
	}
	if request, ok := errors.AsType[*CancelRequested](err); ok {
		s.Outcome, s.Code, s.Message = Cancelled, "cancelled", clean(request.Error())
		return
	}
	s.Outcome = Failed
	if _, permanent := errors.AsType[*permanentError](err); timedOut && !permanent {
		err, s.Outcome = WithCode(codeTimeout, err), TimedOut
	}
	s.Code = codeOf(err)
	if t.Retry.permanent(err) || s.Claim.Attempt >= t.Retry.runAttempts(s.Claim) {
		return
	}
	s.Outcome, s.Delay, s.KeepLane = Retried, t.Retry.Backoff(s.Claim.Attempt), !t.ReleaseLaneOnRetry
	if later, ok := errors.AsType[*retryAfterError](err); ok {
		s.Delay = max(later.after, 0)
	}
}

// clean makes a message that PostgreSQL can store: valid UTF-8 without NUL, of bounded size.
func clean(message string) string {
	message = strings.ReplaceAll(strings.ToValidUTF8(message, "\uFFFD"), "\x00", "\uFFFD")
	if len(message) <= maxMessage {
		return message
	}
	cut := maxMessage
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return fmt.Sprintf("%s... (%d bytes more)", message[:cut], len(message)-cut)
}
