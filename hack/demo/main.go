// Command demo runs the main job on a throw-away real cluster: it prepares what is missing, starts the node, and tells
// the story of package scenario inside it. With -suite it runs the end-to-end suite there instead.
//
// It is started by hack/demo.sh and hack/e2e.sh, and starts itself again inside the node's namespaces (-inside).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/syncline-dev/syncline/test/e2e/lab"
	"github.com/syncline-dev/syncline/test/e2e/scenario"
)

func main() {
	// The node is ended by the kernel when the thread that started it ends, so this one stays.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", explain(err))
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

// options are what hack/demo.sh and hack/e2e.sh say.
type options struct {
	root, cache   string
	inside, suite bool
	// keep leaves the cluster up.
	keep bool
	// args go to the test binary.
	args []string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.root, "root", "", "the project's folder, an absolute path")
	flags.StringVar(&o.cache, "cache", "", "the folder for built programs, an absolute path")
	flags.BoolVar(&o.inside, "inside", false, "tell the story; this process is inside the node")
	flags.BoolVar(&o.suite, "suite", false, "run the end-to-end suite instead of the demo")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.args = flags.Args()
	o.keep = os.Getenv("KEEP") != "" && os.Getenv("KEEP") != "0"
	if !o.inside && (!filepath.IsAbs(o.root) || !filepath.IsAbs(o.cache)) {
		return o, errors.New("-root and -cache must be absolute paths: start this through hack/demo.sh")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	console := lab.NewConsole(out)
	if o.inside {
		return tell(ctx, console)
	}
	return outside(ctx, console, o)
}

// tell is the inside of the demo.
func tell(ctx context.Context, console *lab.Console) error {
	env, err := lab.FromEnv()
	if err != nil {
		return err
	}
	story := scenario.New(env, console)
	defer story.Close(context.WithoutCancel(ctx))
	err = story.Tell(ctx)
	if err != nil {
		console.Block("logs", env.Diagnose(context.WithoutCancel(ctx)))
	}
	return err
}

// explain adds what to do about causes that come in many forms.
func explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w\nthe disk is full: free some space, or set TMPDIR and SYNCLINE_CACHE to folders on another disk", err)
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted; everything it started has been taken down")
	}
	return err
}
