package worker

import (
	"sync"
	"time"
)

// life is this process's standing with the database: which incarnation it is, until when it may act as that one, and how
// long it has been in touch. The heart writes it, everybody reads it. The zero value is a process that never registered.
type life struct {
	mu      sync.Mutex
	worker  int64 // id of the incarnation, 0 before the first
	beats   int64 // number of the last beat sent as this incarnation; 0 is the registration itself
	lease   lease
	contact contact
	moved   chan struct{} // closed when the deadline has changed
}

func newLife() *life { return &life{moved: make(chan struct{})} }

// begin starts an incarnation that was asked for at sent.
func (l *life) begin(worker int64, sent, now time.Time, length, period time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.announceChange(l.lease.deadline)
	l.worker, l.beats, l.lease = worker, 0, lease{}
	l.lease.send(0, sent, length)
	l.lease.confirm(0)
	l.contact.confirmed(now, period)
}

// send numbers the next beat and lowers the deadline when it asks for a shorter lease.
func (l *life) send(now time.Time, length time.Duration) (worker, number int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.announceChange(l.lease.deadline)
	l.beats++
	l.lease.send(l.beats, now, length)
	return l.worker, l.beats
}

// confirm records an answered beat.
func (l *life) confirm(number int64, now time.Time, period time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.announceChange(l.lease.deadline)
	l.lease.confirm(number)
	l.contact.confirmed(now, period)
}

// miss records a beat without an answer.
func (l *life) miss() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.contact.broken()
}

// end records that the incarnation's row is gone: nothing may be done in its name any more.
func (l *life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.announceChange(l.lease.deadline)
	l.lease = lease{}
}

// acts says whether the process may act as the given incarnation now.
func (l *life) acts(worker int64, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return worker != 0 && l.worker == worker && l.lease.holds(now)
}

// incarnation is the id of the present incarnation, 0 before the first.
func (l *life) incarnation() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.worker
}

// deadline is when the process stops by itself, and a channel that is closed when that has changed.
func (l *life) deadline() (time.Time, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lease.deadline, l.moved
}

// unbroken is the time since the contact was last interrupted.
func (l *life) unbroken(now time.Time, period time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.contact.unbroken(now, period)
}

// announceChange tells who waits when the deadline is not what it was.
func (l *life) announceChange(was time.Time) {
	if !l.lease.deadline.Equal(was) {
		close(l.moved)
		l.moved = make(chan struct{})
	}
}
