// Package chaos holds the suite that works the job engine under faults: real worker processes against a real PostgreSQL,
// schedules of faults from a seed, and a checker that reads every committed change and what every handler noted.
//
// The suite is built with the tag chaos and started by hack/chaos.sh; without the tag only the checker (package history
// below) and its tests are there. The workers are the test binary itself, started again as a process of its own, and a second
// binary that is the next release. Its parts:
//
// TestEpisodes plays random schedules: callers, workers of two pools with leases of different length, an HTTP endpoint that
// both pools declare. The history of each is read by the checker, and by the transition relation that the protocol's model
// shares. What the faults are, where the name alone may promise too much:
//
//   - Clocks: a library that servers preload moves their wall clock by hours. The wall clocks of worker processes are wrong
//     by up to ten hours, each by its own, and are stepped on; that of the test process, in which callers and endpoints are,
//     wanders. Package overlay makes time.Now believe so, in all that these binaries execute; the marks of the handlers show
//     that it did. Monotonic clocks run on, as on any machine.
//   - Slow disk: the same library makes every write to a file at a position take tens of milliseconds.
//   - Mixed versions: the next release is this source with a further migration (columns, a table) and another text of an SQL
//     function, by an overlay of package overlay. Half of the seeds migrate under load, roll the workers over one by one,
//     and back again. Besides, one worker of four knows fewer job types. TestReleases does the same step by step, and shows
//     what a worker says that the schema does not fit.
//   - Cuts: a proxy before each worker ends or half-opens its connections, refuses new ones, loses, delays and reorders
//     single requests and replies. PostgreSQL itself is stopped and killed with SIGKILL; its machine never crashes.
//
// TestRules switches every rule of the lease protocol off, in the forms that have a counterexample: by another text of
// an SQL function, or by a worker whose queue lies to it. The checker must find each, in a scenario made for it and, where
// chance is enough, in random schedules; the same situations with the rules on must be clean.
//
// TestPressure strains the engine in ways that are no faults, and wants its rate to bear it and to come back.
package chaos
