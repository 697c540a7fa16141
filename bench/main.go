// Command bench measures Syncline's queue beside other job queues on one PostgreSQL, which it starts itself.
//
//	bench [flags] [case ...]
//
// See ../docs/benchmarks.md. It starts itself again as worker processes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "worker" {
		if err := runWorker(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what the cases share.
type bench struct {
	server  *server
	report  *report
	rounds  int
	scale   float64
	only    []string
	profile string
	peers   peers
}

func run(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := f.Int("rounds", 5, "`times` that every system is measured in a case")
	scale := f.Float64("scale", 1, "`factor` on the number of jobs")
	only := f.String("systems", "", "comma-separated `names` of the systems to measure; all when empty")
	profile := f.String("profile", "", "`folder` for processor profiles of our worker")
	peersDir := f.String("peers", "", "`folder` of the JavaScript peers, which run.sh prepares")
	settings := f.String("settings", "", "more PostgreSQL `settings`, name=value, separated by semicolons")
	if err := f.Parse(args); err != nil {
		return err
	}
	var extra []string
	if *settings != "" {
		extra = strings.Split(*settings, ";")
	}
	s, err := startServer(ctx, extra)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	b := &bench{server: s, report: &report{lines: os.Stdout}, rounds: *rounds, scale: *scale, profile: *profile, peers: peers(*peersDir)}
	if *only != "" {
		b.only = strings.Split(*only, ",")
	}
	m, err := s.machine(ctx)
	if err != nil {
		return err
	}
	b.report.line(m)
	fmt.Fprintln(os.Stderr, m)
	return b.cases(ctx, f.Args())
}
