package worker

import "time"

// contact is how long this process has been in touch with the database without a gap. A process that lost its own
// contact must not judge others by leases that ran out meanwhile: after an outage everybody's has, and the first process
// back would declare all others dead.
type contact struct {
	since time.Time // answer to the first beat of the unbroken row; zero: none
	last  time.Time // answer to the last beat
}

// confirmed records an answered beat. An answer that came more than two periods after the one before, as in a process
// that was frozen, begins anew.
func (c *contact) confirmed(now time.Time, period time.Duration) {
	if c.since.IsZero() || now.Sub(c.last) > 2*period {
		c.since = now
	}
	c.last = now
}

// broken records a beat without an answer.
func (c *contact) broken() { c.since = time.Time{} }

// unbroken is the time since the contact was last interrupted; 0 while it is.
func (c *contact) unbroken(now time.Time, period time.Duration) time.Duration {
	if c.since.IsZero() || now.Sub(c.last) > 2*period {
		return 0
	}
	return now.Sub(c.since)
}
