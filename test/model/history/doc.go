// Package history holds the claim protocol of docs/leases.md as a transition relation over what a database committed.
//
// A Change is one row of one of the engine's tables before and after a transaction. Decode turns the changes of a
// history into Events, and Accept says whether the rules allow that history. Changes come from two places that know
// nothing of each other: from a real PostgreSQL, whose triggers a recorder (Install, Read) writes down, and from the
// Promela model one folder up, which prints its steps in the same form. So the model, the code and this relation are held
// against each other.
//
// What only a process can see (a handler that still runs, an effect in another system) is not here; the chaos suite
// checks that with its own notes.
package history
