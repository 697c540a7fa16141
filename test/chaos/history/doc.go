// Package history checks what a chaos episode has left behind: every committed change of the engine's tables, what the
// handlers of every process noted, and what was done to the processes. It only reads; nothing here knows how the evidence
// was gathered or which faults there were.
//
// Instants are durations on one clock of the machine, the monotonic one, which all processes of a machine share. The
// database's instants are brought onto it by Evidence.Origin, however wrong its own clock is.
package history
