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

// node is the running cluster, seen from outside its namespaces.
type node struct {
	env     lab.Env
	command *exec.Cmd
	exited  chan struct{}
	// ended is how node.sh ended; it may be read once exited is closed.
	ended error
	// init is the outside number of the namespaces' process 1.
	init string
}

// start makes the cluster. It ends with this process unless it is kept.
func start(ctx context.Context, console *lab.Console, env lab.Env, o options) (*node, error) {
	state, err := os.MkdirTemp("", "syncline-")
	if err != nil {
		return nil, fmt.Errorf("make the cluster's folder: %w", err)
	}
	if err := os.Chmod(state, 0o755); err != nil { // PostgreSQL, another user, has its files in it
		return nil, fmt.Errorf("open the cluster's folder: %w", err)
	}
	env.State = state
	n := &node{env: env, exited: make(chan struct{})}
	log, err := os.Create(filepath.Join(state, "node.log"))
	if err != nil {
		return nil, fmt.Errorf("start the node: %w", err)
	}
	defer func() { _ = log.Close() }()
	// Ended by stop, not by the context: node.sh has cgroups to remove.
	n.command = exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(o.root, "hack", "cluster", "node.sh"), state)
	n.command.Stdout, n.command.Stderr = log, log
	n.command.Env = append(env.Environ(), "BIN="+env.Bin, "IMAGES="+filepath.Join(o.cache, "images"))
	n.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !o.keep {
		n.command.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	if err := n.command.Start(); err != nil {
		return nil, fmt.Errorf("start the node: %w", err)
	}
	go func() {
		n.ended = n.command.Wait()
		close(n.exited)
	}()
	err = console.During("a real node: etcd, API server, kubelet, containerd, DNS", func() error { return n.await(ctx) })
	if err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

// await waits for the node to be Ready.
func (n *node) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, errors.New("not Ready after 3 minutes"))
	defer cancel()
	err := lab.Await(ctx, "the node", 100*time.Millisecond, func() (bool, error) {
		select {
		case <-n.exited:
			return false, &lab.FatalError{Err: fmt.Errorf("hack/cluster/node.sh has ended: %w", n.ended)}
		default:
		}
		_, err := os.Stat(filepath.Join(n.env.State, "ready"))
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, lab.Tail(filepath.Join(n.env.State, "node.log"), 25))
	}
	pid, err := os.ReadFile(filepath.Join(n.env.State, "init.pid"))
	n.init = strings.TrimSpace(string(pid))
	return err
}

// nsenter is the way in: mount, network and PID namespaces of process 1.
func (n *node) nsenter() []string {
	return []string{"nsenter", "--target", n.init, "--mount", "--net", "--pid", "--wd=/"}
}

// enter runs a command inside, on this process's own terminal.
func (n *node) enter(ctx context.Context, words ...string) error {
	words = append(n.nsenter(), words...)
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	command.Stdout, command.Stderr, command.Env = os.Stdout, os.Stderr, n.env.Environ()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 5 * time.Second
	err := command.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("inside the node: %w", err)
	}
	return nil
}

// stop takes the cluster down and removes its folder.
func (n *node) stop() {
	_ = n.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.exited:
	case <-time.After(time.Minute):
		_ = n.command.Process.Kill()
		<-n.exited
	}
	if err := os.RemoveAll(n.env.State); err != nil {
		fmt.Fprintf(os.Stderr, "demo: remove the cluster's folder: %v\n", err)
	}
}

// enterScript and stopScript are what a kept cluster is looked at and ended with.
const (
	enterScript = "#!/bin/sh\n# Runs a command inside the cluster: %[1]s/enter kubectl get pods -A\nexec env %[2]s %[3]s \"$@\"\n"
	stopScript  = "#!/bin/sh\n# Takes the cluster down and removes its folder.\nkill %[2]d && while kill -0 %[2]d 2>/dev/null; do sleep 0.2; done\nrm -rf %[1]s\n"
)

// leave writes the two scripts and says how to look around.
func (n *node) leave(console *lab.Console) error {
	state := n.env.State
	var settings []string
	for _, v := range n.env.Environ() {
		if name, value, _ := strings.Cut(v, "="); name == "KUBECONFIG" || name == "PATH" || strings.HasPrefix(name, "PG") {
			settings = append(settings, name+"='"+value+"'")
		}
	}
	scripts := map[string]string{
		"enter": fmt.Sprintf(enterScript, state, strings.Join(settings, " "), strings.Join(n.nsenter(), " ")),
		"stop":  fmt.Sprintf(stopScript, state, n.command.Process.Pid),
	}
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o755); err != nil { //nolint:gosec // it is a program
			return fmt.Errorf("write script %s: %w", name, err)
		}
	}
	console.Title("The cluster stays up (KEEP=1)")
	console.Say("look around:   %s/enter kubectl get jobpools,integrationconnections,integrationsubscriptions,pods -A", state)
	console.Say("               %s/enter psql -c 'SELECT * FROM syncline.outbox ORDER BY seq DESC LIMIT 5'", state)
	console.Say("               %s/enter kubectl logs -n helpdesk -l syncline.dev/pool=batch --tail=20", state)
	console.Say("logs:          %s/log/", state)
	console.Say("take it down:  %s/stop", state)
	return nil
}
