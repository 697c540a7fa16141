package worker_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/sdk/job"
	"github.com/syncline-dev/syncline/sdk/worker"
)

// asProgram has the test binary be a program whose main is worker.Main, with types of these names.
const asProgram = "SYNCLINE_TEST_TYPES"

func TestMain(m *testing.M) {
	types := strings.Fields(os.Getenv(asProgram))
	if len(types) == 0 {
		os.Exit(m.Run())
	}
	var served []job.Type
	for _, name := range types {
		served = append(served, job.Handle(name, func(context.Context, *job.Run, struct{}) (any, error) { return nil, nil }))
	}
	worker.Main(served...)
}

func TestMainSaysWhatItCannotUseAndExitsWithTwo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ types, want string }{
		"types": {"invoice letter invoice", `job type "invoice" is registered twice`},
		"flags": {"invoice", "no pool: give --pool or SYNCLINE_POOL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := exec.CommandContext(t.Context(), os.Args[0])
			program.Env = []string{asProgram + "=" + tc.types}
			var said bytes.Buffer
			program.Stderr = &said
			exit, ok := errors.AsType[*exec.ExitError](program.Run())
			if !ok || exit.ExitCode() != 2 || !strings.Contains(said.String(), tc.want) {
				t.Errorf("it ends with %v and says %q, want exit code 2 and %q", exit, said.String(), tc.want)
			}
		})
	}
}
