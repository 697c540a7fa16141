// Package job is how Go programs write jobs and start them.
//
// A handler is a function from an input to an output, both JSON:
//
//	func greet(ctx context.Context, run *job.Run, in Person) (Greeting, error) { ... }
//
//	func main() { worker.Main(job.Handle("greet", greet)) } // package sdk/worker
//
// A run is executed at least once, and its end is written by the claim that holds it or not at all. What a handler does
// in the database can be exactly once: by StepTx, whose effects commit together with the step's result, or by Complete,
// which ends the run inside the handler's own transaction. Everything else should be idempotent; Run.Token grows with
// every claim and is there to be checked by whatever is called.
//
// Programs that only start jobs need a Client, or a Caller over a transaction of their own, and no worker.
//
// The examples below run as they stand. Package sdk/jobtest executes handlers in tests; docs/jobs.md says what each option
// and promise means.
package job
