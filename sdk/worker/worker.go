// Package worker runs the workers of one's own job types: a program whose main calls Main is a worker like the standard one,
// with the same flags and environment, and serves its own types besides what every worker serves.
//
// It needs a PostgreSQL with the engine's schema, which the operator migrates (by hand: manager migrate), and the name of a
// pool. In a cluster a JobPool whose template names the program's image gives it both; by hand, --help lists the flags.
package worker

import (
	"fmt"
	"os"

	"github.com/syncline-dev/syncline/internal/runtime/worker"
	"github.com/syncline-dev/syncline/internal/runtime/worker/command"
	"github.com/syncline-dev/syncline/sdk/job"
)

// Main runs a worker that serves the types, and ends the process: with 0 after a clean drain, with 2 when the types, flags
// or environment cannot be used, with 1 for any other error. SIGTERM and SIGINT drain.
func Main(types ...job.Type) {
	if _, err := job.Registrations(job.DefaultSchema, types...); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(2)
	}
	command.Main(func(schemaName string) map[string]worker.Registration {
		registered, _ := job.Registrations(schemaName, types...) // they were just accepted
		return registered
	})
}
