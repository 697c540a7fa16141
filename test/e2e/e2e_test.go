//go:build e2e

// Package e2e runs the main job on a real node and holds the product against its promises: the steps and checks of
// package scenario as tests. hack/e2e.sh starts it inside the throw-away node's namespaces; elsewhere it says so and
// fails, because there is no cluster to run on; hence the build tag.
package e2e

import (
	"context"
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
	t.Cleanup(func() {
		if t.Failed() {
			console.Block("logs", env.Diagnose(context.Background()))
		}
		story.Close(context.Background())
	})
	tell(t, console, story.Steps())
	for _, check := range story.Checks() {
		t.Run("check-"+check.Name, func(t *testing.T) {
			wrong, err := story.Hold(t.Context(), check)
			if err != nil {
				t.Fatal(err)
			}
			if wrong > 0 {
				t.Errorf("%d figures are wrong", wrong)
			}
		})
	}
	if !t.Failed() { // else the cluster is left as it is, for the logs
		tell(t, console, story.Epilogue())
	}
}

// tell runs steps in order, until one does not work.
func tell(t *testing.T, console *lab.Console, steps []scenario.Step) {
	t.Helper()
	for _, step := range steps {
		ok := t.Run(step.Name, func(t *testing.T) {
			console.Title("%s", step.Title)
			if err := step.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		if !ok {
			t.Fatalf("step %s did not work; what follows needs it", step.Name)
		}
	}
}
