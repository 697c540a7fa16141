// Package chaos holds the suite that works the job engine under faults: real worker processes against a real PostgreSQL,
// schedules of faults from a seed, and a checker that reads every committed change and what every handler noted.
//
// The suite is built with the tag chaos and started by hack/chaos.sh; without the tag only the checker (package history
// below) and its tests are there. The workers are the test binary itself, started again as a process of its own. A second
// part of the suite switches the rules of the lease protocol off, one at a time, and wants the checker to find it.
package chaos
