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
	for _, step := range story.Steps() {
		ok := t.Run(step.Name, func(t *testing.T) {
			console.Title("%s", step.Title)
			if err := step.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		if !ok {
			t.Fatalf("step %s did not work; the rest of the story needs it", step.Name)
		}
	}
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
}
