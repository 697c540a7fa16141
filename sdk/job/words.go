package job

import "github.com/syncline-dev/syncline/internal/runtime/jobs"

// What a start does about live runs of its lane.
const (
	// CollisionQueue waits for them, in order. It is the default.
	CollisionQueue = jobs.CollisionQueue
	// CollisionReject refuses the start with a *CollisionError when the lane has as many live runs as its limit.
	CollisionReject = jobs.CollisionReject
	// CollisionReplace cancels all of them; the new run waits until those that ran have stopped.
	CollisionReplace = jobs.CollisionReplace
)

// What becomes of a child when its parent ends without having completed.
const (
	// CloseTerminate cancels the child; the parent ends at once. It is the default.
	CloseTerminate = jobs.CloseTerminate
	// CloseCancel cancels the child, and the parent ends only when the child has ended.
	CloseCancel = jobs.CloseCancel
	// CloseAbandon leaves the child, and all below it, alone.
	CloseAbandon = jobs.CloseAbandon
)

// What became of a wish to cancel.
const (
	// CancelDone says that the run was pending and has ended, or ends as soon as its children have.
	CancelDone = jobs.CancelDone
	// CancelAsked says that the run is running and was asked to stop.
	CancelAsked = jobs.CancelAsked
	// CancelEnded says that the run had ended before.
	CancelEnded = jobs.CancelEnded
	// CancelUnknown says that the tenant has no such run.
	CancelUnknown = jobs.CancelUnknown
)

// What a replay keeps.
const (
	// ReplayScratch forgets the steps and children of the lives before. It is the default.
	ReplayScratch = jobs.ReplayScratch
	// ReplayLastStep keeps the completed ones: the handler goes on behind them.
	ReplayLastStep = jobs.ReplayLastStep
)

// More of what a start, a replay or a key may be refused with.
var (
	// ErrCollision says that a lane or a dedupe key is taken; a *CollisionError says by which run.
	ErrCollision = jobs.ErrCollision
	// ErrUnknownRun says that the tenant has no such run.
	ErrUnknownRun = jobs.ErrUnknownRun
	// ErrTooLarge says that an input or output has more than 1 MiB.
	ErrTooLarge = jobs.ErrTooLarge
	// ErrBusy says that a lock was not to be had within the connection's lock timeout: try again.
	ErrBusy = jobs.ErrBusy
	// ErrKeyField says that an input lacks a field of a key.
	ErrKeyField = jobs.ErrKeyField
)

// KeyTemplate makes keys for lanes and dedupe windows of a run's input.
type KeyTemplate = jobs.KeyTemplate

// CompileKey reads a template such as "order/{{customer}}/{{id}}"; unknown syntax is an error.
func CompileKey(template string) (*KeyTemplate, error) { return jobs.CompileKey(template) }
