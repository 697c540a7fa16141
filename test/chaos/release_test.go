//go:build chaos

package chaos_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// nextRelease is the build of the binary that package overlay makes the next release: its schema has a further migration.
const nextRelease = "next release"

// nextBinary is where hack/chaos.sh has built it.
func nextBinary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("CHAOS_NEXT")
	if path == "" {
		t.Fatal("CHAOS_NEXT does not name the next release's binary: start the suite with hack/chaos.sh")
	}
	return path
}

// migrated brings the schema up to a release, as its manager does, beside whatever happens. False when ctx ended first.
func (w *world) migrated(ctx context.Context, name, build string) bool {
	p := w.launch(name, func(s *settings) { s.Build, s.Migrate = build, true })
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode() == 0
	case <-ctx.Done():
		p.signal(syscall.SIGTERM)
		<-p.done
		return false
	}
}

// releases rolls the next release out: first the schema, under the old workers, then worker by worker. Then back again:
// the schema stays, and the old manager, which finds a newer one, leaves it alone.
func (f *fleet) releases(ctx context.Context) {
	_ = wait(ctx, f.millis(200, 1500))
	ok := false
	f.world.during("", "migration", false, func() { ok = f.world.migrated(ctx, "m1", nextRelease) })
	if !ok {
		return
	}
	report.fault("upgrade")
	f.slots.next.Store(true)
	f.roll(ctx)
	if wait(ctx, f.millis(100, 1500)) != nil {
		return
	}
	report.fault("roll back")
	f.slots.next.Store(false)
	if f.world.migrated(ctx, "m2", "this release") {
		f.roll(ctx)
	}
}

// claimsCounted is what the next release's claim function writes.
const claimsCounted = "SELECT coalesce(sum(next_claims), 0) FROM run"

// TestReleases rolls the next release out and back on one schema, step by step, and wants every worker that the schema
// does not fit to wait and to say for what.
func TestReleases(t *testing.T) {
	w := newWorld(t, newServer(t, -4*time.Hour))
	waits := func(p *process, reason string) {
		t.Helper()
		w.must(p.name+" waits: "+reason, func() bool { return strings.Contains(p.log.String(), reason) })
		if w.began(p.name, 0) > 0 || w.count("SELECT count(*) FROM worker WHERE pod = $1", p.name) > 0 {
			t.Errorf("%s works on a schema that it does not fit", p.name)
		}
	}
	works := func(names ...string) {
		t.Helper()
		before := map[string]int{}
		for _, name := range names {
			w.must(name+" is there", func() bool { return w.count("SELECT count(*) FROM worker WHERE pod = $1", name) == 1 })
			before[name] = w.began(name, 0)
		}
		w.enqueue(16*len(names), task{Acts: 2, Pause: 100, Steps: 1, Complete: true}, plainly)
		for _, name := range names {
			w.must(name+" works", func() bool { return w.began(name, 0) > before[name] })
		}
	}
	manage := func(name, build string) {
		t.Helper()
		if !w.migrated(t.Context(), name, build) {
			t.Fatalf("the manager of the %s has failed\n%s", build, w.story())
		}
	}
	as := func(build string) func(*settings) { return func(s *settings) { s.Build = build } }

	w.launch("old1", as("this release"))
	works("old1")
	next := w.launch("next", as(nextRelease))
	waits(next, fmt.Sprintf("schema is missing or too old: it is at version %d, this binary needs %d", schema.Current, schema.Current+1))
	manage("manager of the next", nextRelease)
	works("old1", "next")
	next.signal(syscall.SIGTERM)
	if code := next.exit(patience); code != 0 {
		t.Errorf("the next release's worker ended with %d", code)
	}
	manage("manager of the old", "this release")
	if n := w.count("SELECT version FROM schema_meta"); n != int64(schema.Current)+1 {
		t.Errorf("rolled back, the schema is at version %d, want %d", n, schema.Current+1)
	}
	counted := w.count(claimsCounted)
	w.launch("old2", as("this release"))
	works("old1", "old2")
	if w.count(claimsCounted) == counted {
		t.Error("old workers claim past the next release's function")
	}

	w.exec("UPDATE schema_meta SET min_compatible = version") // as a release does that no longer supports this one
	old := w.launch("old3", as("this release"))
	const tooNew = "schema is too new for this binary: it is at version %d and supports binaries from version %d on, this binary has %d; update this process"
	waits(old, fmt.Sprintf(tooNew, schema.Current+1, schema.Current+1, schema.Current))
	w.exec("UPDATE schema_meta SET min_compatible = $1", schema.MinCompatible)
	works("old3")
	j := w.judge(patience)
	w.verdict(&j, w.stop())
}
