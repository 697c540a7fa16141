package worker

import "time"

// margin is what a worker keeps between its own end of the lease and the database's: the larger of one second and a
// tenth of the lease, but never more than half of it, so that a lease of less than two seconds still has a use.
func margin(length time.Duration) time.Duration {
	return min(max(time.Second, length/10), length/2)
}

// lease is what a worker believes about its lease: the monotonic instant at which it stops by itself. It is never
// later than the instant at which the database lets others take over, whatever beats were lost, late or out of order.
// The zero value believes nothing.
//
// Beats go out one at a time: when one is sent, the one before was answered or given up, and nobody reads its answer any
// more. It may still arrive at the database, but not after a later one, because the row takes only a higher number.
type lease struct {
	deadline time.Time
	sent     int64     // number of the last beat sent
	ends     time.Time // its send time + length - margin
}

// send records a beat that is about to be sent. It can only shorten what the worker believes: a beat that asks for a
// shorter lease is in force from the moment it may have arrived.
func (l *lease) send(number int64, at time.Time, length time.Duration) {
	l.sent, l.ends = number, at.Add(length-margin(length))
	if l.ends.Before(l.deadline) {
		l.deadline = l.ends
	}
}

// confirm records the database's answer to a beat; one that is not the last sent is ignored.
func (l *lease) confirm(number int64) {
	if number == l.sent {
		l.deadline = l.ends
	}
}

// holds says whether the worker may still act under the lease.
func (l *lease) holds(now time.Time) bool { return now.Before(l.deadline) }
