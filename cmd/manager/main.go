// Command manager is the operator: it makes workers from JobPools, publishes connections and subscriptions into their
// databases, and shows how all of them are. Its subcommand migrate makes the database schema by hand, or prints the SQL.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // a second signal does what it does to any process
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}
