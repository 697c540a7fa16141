package jobs

import (
	"errors"
	"slices"
)

// What a handler's own doing can end in.
var (
	// ErrTimeout is the cause of a context that ends because an attempt, of a run or of a step, has taken longer than its
	// type or its option allows.
	ErrTimeout = errors.New("attempt has timed out")
	// ErrOutputTooLarge says that an output is larger than its type allows. No retry cures it.
	ErrOutputTooLarge = errors.New("output is too large")
	// ErrInvalidOutput says that an output cannot be stored as JSON. No retry cures it.
	ErrInvalidOutput = errors.New("output is no JSON that can be stored")
)

// Codes that the engine gives to errors; see RetryPolicy.NonRetryable.
const (
	codeError         = "error"
	codeTimeout       = "timeout"
	codePanic         = "panic"
	codeDeadline      = "deadline"
	codeInvalidOutput = "invalid_output"
)

// Coded is an error with a code, a short machine-readable word, that is stored with the run and that RetryPolicy may name
// as not retryable. Permanent and WithCode make one; a handler's own types may be one.
type Coded interface {
	error
	// ErrorCode is the code.
	ErrorCode() string
}

type codedError struct {
	code string
	err  error
}

func (e *codedError) Error() string     { return e.err.Error() }
func (e *codedError) Unwrap() error     { return e.err }
func (e *codedError) ErrorCode() string { return e.code }

// ErrorCode is the code that Permanent was given.
func (e *permanentError) ErrorCode() string { return e.code }

// WithCode gives an error a code. Of several codes of an error the outermost counts.
func WithCode(code string, err error) error { return &codedError{code: code, err: err} }

// Panicked is the error of a handler that panicked.
func Panicked(err error) error { return WithCode(codePanic, err) }

// codeOf is the code of an error.
func codeOf(err error) string {
	if coded, ok := errors.AsType[Coded](err); ok {
		return coded.ErrorCode()
	}
	return codeError
}

// permanent reports an error that no retry can cure under a policy.
func (p RetryPolicy) permanent(err error) bool {
	_, permanent := errors.AsType[*permanentError](err)
	return permanent || slices.Contains(p.NonRetryable, codeOf(err))
}

// aside is an error that says what shall become of the run and is no failure.
type aside interface {
	error
	aside()
}

func (*snoozeError) aside()     {}
func (*giveBackError) aside()   {}
func (*parkError) aside()       {}
func (*CancelRequested) aside() {}
