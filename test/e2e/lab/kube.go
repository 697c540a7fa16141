package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
)

// Run runs a command against the cluster and returns what it wrote to standard output. An error carries what it wrote
// to standard error.
func (e *Env) Run(ctx context.Context, name string, args ...string) (string, error) {
	return e.RunInput(ctx, "", name, args...)
}

// RunInput is Run with text on standard input.
func (e *Env) RunInput(ctx context.Context, input, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	// The lookup of a bare name uses this process's PATH, not the command's.
	if path, err := e.find(name); err == nil {
		command.Path, command.Err = path, nil
	}
	var out, errs bytes.Buffer
	command.Env, command.Dir = e.Environ(), e.Root
	command.Stdout, command.Stderr = &out, &errs
	if input != "" {
		command.Stdin = strings.NewReader(input)
	}
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// find looks a program up in the cluster's programs, then in PostgreSQL's, then in PATH.
func (e *Env) find(name string) (string, error) {
	for _, dir := range []string{e.Bin, e.PostgresBin} {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// Get reads one object of the cluster into a value of the caller's shape.
func Get[T any](ctx context.Context, e *Env, args ...string) (T, error) {
	var v T
	out, err := e.Run(ctx, "kubectl", append([]string{"get", "-o", "json"}, args...)...)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		return v, fmt.Errorf("read %s: %w", strings.Join(args, " "), err)
	}
	return v, nil
}
