//go:build e2e

// Package e2e runs the main job on a real node and holds the product against its promises: the steps and checks of
// package scenario as tests. hack/e2e.sh starts it inside the throw-away node's namespaces; elsewhere it says so and
// fails, because there is no cluster to run on; hence the build tag.
package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/syncline-dev/syncline/test/e2e/lab"
	"github.com/syncline-dev/syncline/test/e2e/scenario"
)

func TestMainJob(t *testing.T) {
	env, err := lab.FromEnv()
	if err != nil {
		t.Fatalf("no cluster: %v", err)
	}
	console := lab.NewConsole(os.Stdout)
	story := scenario.New(env, console)
	var failure error
	t.Cleanup(func() {
		if t.Failed() {
			console.Block("logs", env.Diagnose(context.Background()))
		}
		if failure != nil { // once more, below the logs: often only the end of an output is kept
			console.Say("what did not work: %v", failure)
		}
		story.Close(context.Background())
	})
	tell(t, console, story.Steps(), &failure)
	for _, check := range story.Checks() {
		t.Run("check-"+check.Name, func(t *testing.T) {
			wrong, err := story.Hold(t.Context(), check)
			if err == nil && wrong > 0 {
				err = fmt.Errorf("%d figures are wrong", wrong)
			}
			if err != nil {
				failure = fmt.Errorf("check %s: %w", check.Name, err)
				t.Error(err)
			}
		})
	}
	if !t.Failed() { // else the cluster is left as it is, for the logs
		tell(t, console, story.Epilogue(), &failure)
	}
}

// tell runs steps in order, until one does not work, whose error it notes.
func tell(t *testing.T, console *lab.Console, steps []scenario.Step, failure *error) {
	t.Helper()
	for _, step := range steps {
		ok := t.Run(step.Name, func(t *testing.T) {
			console.Title("%s", step.Title)
			if err := step.Run(t.Context()); err != nil {
				*failure = fmt.Errorf("step %s: %w", step.Name, err)
				t.Fatal(err)
			}
		})
		if !ok {
			t.Fatalf("step %s did not work; what follows needs it", step.Name)
		}
	}
}
