// Package worker is the process that executes runs: one process, one pool.
//
// It claims due runs, hands them to handlers, renews its lease, settles what handlers return, looks after dead
// workers and due times, and drains on request. The queue's own statements live in package jobs; here is when they are
// called and what a process may do meanwhile. Nothing here knows what a handler does.
//
// # Who owns what
//
// Run starts every goroutine and returns only after each has ended:
//
//	heart     renews the lease on a connection of its own, learns tuning and cancel requests, starts new incarnations
//	fence     cancels handlers at the lease's deadline, whatever the network does
//	claimer   the one loop that claims, reconciles and promotes, never two of them together
//	handlers  one goroutine for each run in flight
//	settler   writes results, whatever gathered while the last write was on the wire
//	listener  wakes the claimer and the heart
//	sweeper   puts back what dead workers held
//	tasks     named functions on a cadence
//
// Decisions (the lease's deadline, how long the contact is unbroken, how many runs to ask for) are pure, in lease.go,
// contact.go and slots.go; what a handler's return means is decided by package jobs. The loops gather facts for them and
// act on the answers.
package worker
