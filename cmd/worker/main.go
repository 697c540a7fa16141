// Command worker is what runs in a pool's pods: one process that claims the runs of one pool and executes them.
//
// It waits while the database is away or its schema does not fit, works until SIGTERM or SIGINT, drains then, and exits
// with 0 when nothing was left behind. A second signal ends it at once; its lease then runs out and others take over.
package main

import "github.com/syncline-dev/syncline/internal/runtime/worker/command"

func main() { command.Main(nil) }
