package worker

import (
	"testing"
	"time"
)

// Beats every 10 s; each step is a beat answered or lost at a second, or only a look.
func TestUnbrokenContact(t *testing.T) {
	const period = 10 * time.Second
	type step struct {
		at             int
		answered, lost bool
		want           int // unbroken seconds afterwards
	}
	tests := map[string][]step{
		"none before the first answer": {{at: 100, want: 0}},
		"grows from the first answer":  {{at: 0, answered: true}, {at: 10, answered: true, want: 10}, {at: 15, want: 15}},
		"a lost beat breaks it": {
			{at: 0, answered: true}, {at: 10, lost: true, want: 0}, {at: 12, answered: true, want: 0}, {at: 22, answered: true, want: 10},
		},
		"a frozen process has none when it wakes, and begins anew": {
			{at: 0, answered: true}, {at: 10, answered: true, want: 10}, {at: 60, want: 0}, {at: 61, answered: true, want: 0}, {at: 70, answered: true, want: 9},
		},
		"a beat that is a little late does not break it": {{at: 0, answered: true}, {at: 19, answered: true, want: 19}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			var c contact
			for i, s := range steps {
				now := start.Add(time.Duration(s.at) * time.Second)
				if s.answered {
					c.confirmed(now, period)
				}
				if s.lost {
					c.broken()
				}
				if got := c.unbroken(now, period); got != time.Duration(s.want)*time.Second {
					t.Fatalf("after step %d the contact is unbroken for %v, want %d s", i, got, s.want)
				}
			}
		})
	}
}
