package worker

import (
	"testing"
	"time"
)

func TestMarginIsTheLargerOfASecondAndATenth(t *testing.T) {
	for length, want := range map[time.Duration]time.Duration{
		time.Second:             500 * time.Millisecond,
		1500 * time.Millisecond: 750 * time.Millisecond,
		2 * time.Second:         time.Second,
		10 * time.Second:        time.Second,
		60 * time.Second:        6 * time.Second,
	} {
		if got := margin(length); got != want {
			t.Errorf("margin of a lease of %v is %v, want %v", length, got, want)
		}
	}
}

// Each step is a beat sent or confirmed; the deadline that is believed after it is checked. Seconds from a common start.
func TestLeaseDeadline(t *testing.T) {
	type step struct {
		send, confirm int64 // a beat's number, 0 for none
		at, length    int   // of a beat sent
		want          int   // deadline afterwards, seconds
	}
	tests := map[string][]step{
		"counts from the send time, not from the answer's": {
			{send: 1, at: 0, length: 20},
			{confirm: 1, want: 18},
			{send: 2, at: 5, length: 20, want: 18},
			{confirm: 2, want: 23},
		},
		"a beat without an answer prolongs nothing": {
			{send: 1, at: 0, length: 20},
			{confirm: 1, want: 18},
			{send: 2, at: 5, length: 20, want: 18},
			{send: 3, at: 10, length: 20, want: 18},
		},
		"an answer counts its own beat, not an earlier one": {
			{send: 1, at: 0, length: 20},
			{confirm: 1, want: 18},
			{send: 2, at: 5, length: 20, want: 18},
			{send: 3, at: 10, length: 20, want: 18},
			{confirm: 3, want: 28},
		},
		"a shorter lease counts from the moment it is asked for": {
			{send: 1, at: 0, length: 100},
			{confirm: 1, want: 90},
			{send: 2, at: 10, length: 20, want: 28},
			{confirm: 2, want: 28},
		},
		"a longer lease counts once it is confirmed": {
			{send: 1, at: 0, length: 20},
			{confirm: 1, want: 18},
			{send: 2, at: 5, length: 100, want: 18},
			{confirm: 2, want: 95},
		},
		"a shorter lease that was asked for in vain may be in force": {
			{send: 1, at: 0, length: 100},
			{confirm: 1, want: 90},
			{send: 2, at: 10, length: 20, want: 28},
			{send: 3, at: 12, length: 100, want: 28},
			{confirm: 3, want: 102},
		},
		"an answer to a beat that was given up changes nothing": {
			{send: 1, at: 0, length: 100}, {send: 2, at: 10, length: 20}, {confirm: 1},
		},
		"an earlier answer that comes late changes nothing": {
			{send: 1, at: 0, length: 100}, {send: 2, at: 10, length: 20}, {confirm: 2, want: 28}, {confirm: 1, want: 28},
		},
		"an answer to a beat that was never sent changes nothing": {
			{send: 1, at: 0, length: 20}, {confirm: 1, want: 18}, {confirm: 7, want: 18},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			var l lease
			for i, s := range steps {
				if s.send > 0 {
					l.send(s.send, start.Add(time.Duration(s.at)*time.Second), time.Duration(s.length)*time.Second)
				} else {
					l.confirm(s.confirm)
				}
				if s.want == 0 {
					if !l.deadline.IsZero() {
						t.Fatalf("after step %d the deadline is set, but no beat was confirmed", i)
					}
					continue
				}
				if got := l.deadline.Sub(start); got != time.Duration(s.want)*time.Second {
					t.Fatalf("after step %d the deadline is at %v, want %d s", i, got, s.want)
				}
			}
		})
	}
}

func TestLeaseThatWasNeverConfirmedHoldsNothing(t *testing.T) {
	var l lease
	l.send(1, time.Now(), time.Minute)
	if l.holds(time.Now()) {
		t.Error("a lease holds before any beat was confirmed")
	}
}

func TestLeaseEndsAtItsDeadline(t *testing.T) {
	start := time.Now()
	var l lease
	l.send(1, start, 10*time.Second)
	l.confirm(1)
	if !l.holds(start.Add(9*time.Second - 1)) {
		t.Error("the lease is over before its deadline")
	}
	if l.holds(start.Add(9 * time.Second)) {
		t.Error("the lease still holds at its deadline")
	}
}
