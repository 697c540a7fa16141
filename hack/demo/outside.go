package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// outside prepares everything, starts the node and runs the inside in it.
func outside(ctx context.Context, console *lab.Console, o options) error {
	machine, err := look(o.cache)
	if err != nil {
		return err
	}
	if err := machine.refuse(); err != nil {
		return err
	}
	console.Title("Preparing")
	if machine.cold {
		console.Say("The first time this builds Kubernetes and a container runtime from source: about 10 minutes on 2 cores.")
	}
	env, err := prepare(ctx, console, o)
	if err != nil {
		return err
	}
	n, err := start(ctx, console, env, o)
	if err != nil {
		return err
	}
	err = n.enter(ctx, o.inner()...)
	if o.keep {
		return errors.Join(err, n.leave(console))
	}
	n.stop()
	if err == nil {
		console.Title("All done after %.0f s; everything it started has been taken down", console.Elapsed().Seconds())
	}
	return err
}

// inner is what runs inside the node.
func (o options) inner() []string {
	if o.suite {
		return append([]string{filepath.Join(o.cache, "bin", "e2e.test"), "-test.v", "-test.timeout=15m", "-test.failfast"}, o.args...)
	}
	return []string{filepath.Join(o.cache, "bin", "demo"), "-inside"}
}

// prepare finds or builds each thing; every one is cached.
func prepare(ctx context.Context, console *lab.Console, o options) (lab.Env, error) {
	env := lab.Env{Root: o.root}
	images := filepath.Join(o.cache, "images")
	steps := []struct {
		what   string
		script []string
		result *string
	}{
		{"operating system packages", []string{"cluster/packages.sh"}, nil},
		{"PostgreSQL", []string{"postgres.sh"}, &env.PostgresBin},
		{"cluster programs", []string{"tools.sh", "e2e"}, &env.Bin},
		{"PocketBase", []string{"pocketbase/build.sh"}, &env.PocketBase},
		{"the product's image", []string{"images/build.sh", images}, nil},
	}
	for _, s := range steps {
		err := console.During(s.what, func() error {
			out, err := script(ctx, o, s.script...)
			if s.result != nil {
				*s.result = out
			}
			return err
		})
		if err != nil {
			return env, fmt.Errorf("%s: %w", s.what, err)
		}
	}
	if !o.suite {
		return env, nil
	}
	return env, console.During("the suite", func() error {
		_, err := output(ctx, o, "go", "test", "-c", "-tags", "e2e", "-o", filepath.Join(o.cache, "bin", "e2e.test"), "./test/e2e")
		return err
	})
}

// script runs one of the project's scripts; what it prints to standard error is shown at once, and what it prints to
// standard output is its result.
func script(ctx context.Context, o options, words ...string) (string, error) {
	return output(ctx, o, filepath.Join(o.root, "hack", words[0]), words[1:]...)
}

func output(ctx context.Context, o options, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir, command.Stderr = o.root, os.Stderr
	command.Env = append(os.Environ(), "SYNCLINE_CACHE="+o.cache)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A script's compilers and package managers end with it.
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	out, err := command.Output()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return strings.TrimSpace(string(out)), err
}
