// Package chaos holds the suite that works the job engine under faults: real worker processes against a real PostgreSQL,
// schedules of faults from a seed, and a checker that reads every committed change and what every handler noted.
//
// The suite is built with the tag chaos and started by hack/chaos.sh; without the tag only the checker (package history
// below) and its tests are there. The workers are the test binary itself, started again as a process of its own. Its parts:
//
// TestEpisodes plays random schedules. The history of each is read by the checker, and by the transition relation that the
// protocol's model shares. What the faults are, where the name alone may promise too much:
//
//   - Clocks: a library that servers preload moves their wall clock by hours. All workers and callers are so far off, in
//     the same direction; that workers differ among themselves is played by the rule S1 alone.
//   - Slow disk: the same library makes every write to a file at a position take tens of milliseconds.
//   - Mixed versions: one worker of three calls itself an older build and knows fewer job types. It is no older program:
//     older ones than the schema's oldest compatible version refuse to start, and no younger release exists yet.
//   - Cuts: a proxy before each worker ends or half-opens its connections, refuses new ones, loses, delays and reorders
//     single requests and replies. PostgreSQL itself is stopped and killed with SIGKILL; its machine never crashes.
//
// TestRules switches every rule of the lease protocol off, in the forms that have a counterexample: by another text of
// an SQL function, or by a worker whose queue lies to it. The checker must find each; the same situations with the rules on
// must be clean.
//
// TestPressure strains the engine in ways that are no faults, and wants its rate to bear it and to come back.
package chaos
