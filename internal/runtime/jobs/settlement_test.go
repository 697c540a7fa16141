package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestSettleDecision(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	completed := Settlement{Outcome: Completed, Output: []byte(`{}`)}
	retried := Settlement{Outcome: Retried, Code: "error", Message: "boom", KeepLane: true}
	failed := Settlement{Outcome: Failed, Code: "error", Message: "boom"}
	snoozed := Settlement{Outcome: Snoozed, Code: "snoozed", Message: "snoozed: quota", Delay: time.Hour, KeepLane: true}
	once := TypeConfig{Retry: RetryPolicy{MaxAttempts: 1}}
	for name, test := range map[string]struct {
		config     TypeConfig
		claim      *Claim
		err, cause error
		want       Settlement
	}{
		"success":                    {want: completed},
		"success though draining":    {cause: ErrDraining, want: completed},
		"success though cancelled":   {cause: &CancelRequested{}, want: completed},
		"failure with attempts left": {err: boom, want: retried},
		"lane released on retry": {
			config: TypeConfig{ReleaseLaneOnRetry: true}, err: boom,
			want: Settlement{Outcome: Retried, Code: "error", Message: "boom"},
		},
		"last attempt of the default": {claim: &Claim{Attempt: DefaultMaxAttempts}, err: boom, want: failed},
		"last attempt of the type":    {config: once, err: boom, want: failed},
		"the run's own attempts": {
			config: once, claim: &Claim{Attempt: 2, MaxAttempts: 3}, err: boom,
			want: retried,
		},
		"last of the run's own": {claim: &Claim{Attempt: 1, MaxAttempts: 1}, err: boom, want: failed},
		"permanent": {
			err:  Permanent("gone", boom),
			want: Settlement{Outcome: Failed, Code: "gone", Message: "boom"},
		},
		"permanent, wrapped": {
			err:  fmt.Errorf("sync: %w", Permanent("gone", boom)),
			want: Settlement{Outcome: Failed, Code: "gone", Message: "sync: boom"},
		},
		"snoozed": {err: Snooze(time.Hour, "quota"), want: snoozed},
		"snoozed on the last attempt": {
			claim: &Claim{Attempt: 99}, err: Snooze(time.Hour, "quota"),
			want: snoozed,
		},
		"given back": {
			err:  GiveBack(boom),
			want: Settlement{Outcome: GivenBack, Code: "given_back", Message: "given back: boom", Delay: GiveBackDelay},
		},
		"retry after": {
			err:  RetryAfter(time.Hour, boom),
			want: Settlement{Outcome: Retried, Code: "error", Message: "boom", Delay: time.Hour, KeepLane: true},
		},
		"snoozed until an instant of the past": {
			err:  Snooze(-time.Hour, "quota"),
			want: Settlement{Outcome: Snoozed, Code: "snoozed", Message: "snoozed: quota", KeepLane: true},
		},
		"retry after, no attempt left": {
			claim: &Claim{Attempt: 99}, err: RetryAfter(time.Hour, boom),
			want: failed,
		},
		"the handler says that nobody wants the run": {
			err:  fmt.Errorf("endpoint: %w", &CancelRequested{By: "endpoint", Reason: "order is gone"}),
			want: Settlement{Outcome: Cancelled, Code: "cancelled", Message: `cancel requested by "endpoint": order is gone`},
		},
		"S9 drained": {
			err: context.Canceled, cause: ErrDraining,
			want: Settlement{Outcome: GivenBack, Code: "stopped", Message: "worker is draining"},
		},
		"S9 drained, permanent": {
			err: Permanent("gone", boom), cause: ErrDraining,
			want: Settlement{Outcome: GivenBack, Code: "stopped", Message: "worker is draining"},
		},
		"S9 fenced": {
			err: context.Canceled, cause: ErrLeaseLost,
			want: Settlement{Outcome: GivenBack, Code: "stopped", Message: "lease lost"},
		},
		"deadline": {
			err: context.Canceled, cause: ErrDeadline,
			want: Settlement{Outcome: TimedOut, Code: "deadline", Message: "context canceled"},
		},
		"W11 attempt timed out": {
			err: context.DeadlineExceeded, cause: ErrTimeout,
			want: Settlement{Outcome: Retried, Code: "timeout", Message: "context deadline exceeded", KeepLane: true},
		},
		"W11 last attempt timed out": {
			claim: &Claim{Attempt: 99}, err: boom, cause: ErrTimeout,
			want: Settlement{Outcome: TimedOut, Code: "timeout", Message: "boom"},
		},
		"W11 timed out, not to be retried": {
			config: TypeConfig{Retry: RetryPolicy{NonRetryable: []string{"timeout"}}}, err: boom, cause: ErrTimeout,
			want: Settlement{Outcome: TimedOut, Code: "timeout", Message: "boom"},
		},
		"W11 permanent though timed out": {
			err: Permanent("gone", boom), cause: ErrTimeout,
			want: Settlement{Outcome: Failed, Code: "gone", Message: "boom"},
		},
		"success though timed out": {cause: ErrTimeout, want: completed},
		"with a code": {
			err:  fmt.Errorf("post: %w", WithCode("http_503", boom)),
			want: Settlement{Outcome: Retried, Code: "http_503", Message: "post: boom", KeepLane: true},
		},
		"W60 a code that is not retryable": {
			config: TypeConfig{Retry: RetryPolicy{NonRetryable: []string{"x", "http_400"}}}, err: WithCode("http_400", boom),
			want: Settlement{Outcome: Failed, Code: "http_400", Message: "boom"},
		},
		"redacted": {
			config: TypeConfig{Redact: strings.ToUpper}, err: boom,
			want: Settlement{Outcome: Retried, Code: "error", Message: "BOOM", KeepLane: true},
		},
		"parked": {
			err: fmt.Errorf("wrapped: %w", &parkError{wait: Wait{Kind: WaitForSignal, Signal: "go"}, delay: time.Hour}),
			want: Settlement{
				Outcome: Parked, Code: "signal", Message: `wrapped: parked: waits for signal "go"`, Delay: time.Hour,
				Wait: Wait{Kind: WaitForSignal, Signal: "go"}, KeepLane: true,
			},
		},
		"cancelled": {
			err: context.Canceled, cause: &CancelRequested{By: "me", Reason: "enough"},
			want: Settlement{Outcome: Cancelled, Code: "cancelled", Message: `cancel requested by "me": enough`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cmp.Or(test.claim, &Claim{})
			c.Attempt = max(c.Attempt, 1)
			got := test.config.Settle(c, []byte(`{}`), test.err, test.cause)
			if test.want.Outcome == Retried && test.want.Delay == 0 {
				if bound := test.config.Retry.bound(c.Attempt); got.Delay <= 0 || got.Delay > bound {
					t.Errorf("delay is %s, want more than 0 and at most %s", got.Delay, bound)
				}
				got.Delay = 0
			}
			if diff := gocmp.Diff(test.want, got, cmpopts.IgnoreFields(Settlement{}, "Claim")); diff != "" {
				t.Errorf("settlement differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRetryAfterAnInstantOfThePastIsNow(t *testing.T) {
	t.Parallel()
	got := TypeConfig{}.Settle(&Claim{Attempt: 1}, nil, RetryAfter(-time.Hour, errors.New("boom")), nil)
	if got.Outcome != Retried || got.Delay != 0 {
		t.Errorf("settled as %s after %s, want retried at once and no better place among what is due", got.Outcome, got.Delay)
	}
}

func TestBackoffIsJitteredCappedAndNeverOverflowsW60(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy  RetryPolicy
		attempt int
		bound   time.Duration
	}{
		"first":         {attempt: 1, bound: time.Second},
		"doubled":       {attempt: 4, bound: 8 * time.Second},
		"capped":        {attempt: 11, bound: DefaultRetryMax},
		"far beyond":    {attempt: 1 << 30, bound: DefaultRetryMax},
		"own bounds":    {policy: RetryPolicy{Base: time.Minute, Max: 3 * time.Minute}, attempt: 3, bound: 3 * time.Minute},
		"fixed":         {policy: RetryPolicy{Base: time.Minute, Fixed: true}, attempt: 9, bound: time.Minute},
		"base past max": {policy: RetryPolicy{Base: time.Hour, Max: time.Minute}, attempt: 1, bound: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen, least, most := map[time.Duration]bool{}, test.bound, time.Duration(0)
			for range 500 {
				d := test.policy.Backoff(test.attempt)
				if d <= 0 || d > test.bound {
					t.Fatalf("delay is %s, want more than 0 and at most %s", d, test.bound)
				}
				seen[d], least, most = true, min(least, d), max(most, d)
			}
			if len(seen) < 400 || least > test.bound/10 || most < test.bound*9/10 {
				t.Errorf("500 delays have %d values from %s to %s, want them all over the range up to %s", len(seen), least, most, test.bound)
			}
			test.policy.NoJitter = true
			if d := test.policy.Backoff(test.attempt); d != test.bound {
				t.Errorf("without jitter the delay is %s, want its bound %s", d, test.bound)
			}
		})
	}
}

func TestMessagesCanBeStored(t *testing.T) {
	t.Parallel()
	got := clean("a\x00b\xffc" + strings.Repeat("é", maxMessage))
	if !utf8.ValidString(got) || strings.ContainsRune(got, 0) || !strings.HasPrefix(got, "a\uFFFDb\uFFFDc") {
		t.Fatalf("message is %q..., want valid UTF-8 without NUL", got[:20])
	}
	if len(got) > maxMessage+40 || !strings.HasSuffix(got, " bytes more)") {
		t.Fatalf("message has %d bytes and ends in %q", len(got), got[len(got)-20:])
	}
}
