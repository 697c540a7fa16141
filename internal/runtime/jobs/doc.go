// Package jobs is the queue on PostgreSQL: start, claim, fence, settle, lease, sweep, lanes and cancel requests.
//
// It holds the statements and the pure decisions about them, nothing that runs: the loops, timers and handlers live in
// package worker, which calls a Store; callers that only enqueue use Start and Cancel, handlers Fence and Complete. The
// tables and the functions that need several statements with fresh snapshots are in package schema.
//
// READ COMMITTED is assumed throughout. Every instant is the database's: durations travel, instants do not.
package jobs
