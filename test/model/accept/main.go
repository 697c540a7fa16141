// Command accept reads histories that the model printed and says of each whether the transition relation of package
// history allows it: one line a file, its name and either "accepted" or the rule that refuses it. hack/model.sh runs it.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/syncline-dev/syncline/test/model/history"
)

func main() {
	for _, name := range os.Args[1:] {
		verdict, err := judge(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%s %s\n", name, verdict)
	}
}

// judge is "accepted", or the rule that refuses the file's history.
func judge(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	changes, err := history.ReadChanges(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	events, err := history.Decode(changes)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	err = history.Accept(events)
	if refusal, ok := errors.AsType[*history.Refusal](err); ok {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, refusal)
		return refusal.Rule, nil
	}
	if len(events) == 0 {
		return "", fmt.Errorf("%s: no history in the file", name)
	}
	return "accepted", err
}
