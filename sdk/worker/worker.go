// Package worker runs the workers of one's own job types: a program whose main calls Main is a worker like the standard one,
// with the same flags and environment, and serves its own types besides what every worker serves.
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
	if err := unique(types); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(2)
	}
	command.Main(func(schemaName string) map[string]worker.Registration {
		registered := map[string]worker.Registration{}
		for _, t := range types {
			registered[t.Name()] = t.Registration(schemaName)
		}
		return registered
	})
}

// unique refuses types that cannot be registered together.
func unique(types []job.Type) error {
	seen := map[string]bool{}
	for _, t := range types {
		if err := t.Validate(); err != nil {
			return err
		}
		if seen[t.Name()] {
			return fmt.Errorf("job type %q is registered twice", t.Name())
		}
		seen[t.Name()] = true
	}
	return nil
}
