package lab

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Diagnose gathers what tells why something went wrong: the objects of the cluster, its events, the end of every pod's
// and every component's log. What cannot be read is told too.
func (e *Env) Diagnose(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var b strings.Builder
	for _, args := range [][]string{
		{"get", "all,jobpools,integrationconnections,integrationsubscriptions", "-A", "-o", "wide"},
		{"get", "jobpools,integrationconnections,integrationsubscriptions", "-A", "-o", "yaml"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
	} {
		e.note(ctx, &b, args...)
	}
	pods, err := e.Run(ctx, "kubectl", "get", "pods", "-A", "--no-headers", "-o", "custom-columns=:metadata.namespace,:metadata.name")
	if err != nil {
		b.WriteString(err.Error() + "\n")
	}
	for line := range strings.Lines(pods) {
		if f := strings.Fields(line); len(f) == 2 {
			e.note(ctx, &b, "logs", "--all-containers", "--tail=60", "-n", f[0], f[1])
			// Fails for a pod that was never restarted, which is no news.
			if before, err := e.Run(ctx, "kubectl", "logs", "--tail=20", "--previous", "-n", f[0], f[1]); err == nil {
				b.WriteString("before its restart:\n" + before + "\n")
			}
		}
	}
	logs, _ := os.ReadDir(filepath.Join(e.State, "log"))
	for _, l := range logs {
		b.WriteString(Tail(filepath.Join(e.State, "log", l.Name()), 10) + "\n\n")
	}
	return b.String()
}

func (e *Env) note(ctx context.Context, b *strings.Builder, args ...string) {
	out, err := e.Run(ctx, "kubectl", args...)
	if err != nil {
		out += err.Error() + "\n"
	}
	b.WriteString("$ kubectl " + strings.Join(args, " ") + "\n" + out + "\n")
}
