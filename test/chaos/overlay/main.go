// Command overlay writes what the chaos suite's binaries are built with besides the source: overlays for the go command's
// flag of that name, into the folder that it is given.
//
//	clock.json   a wall clock that can be set: time.Now adds time.wallShift. Timers and the monotonic clock stay as they are
//	next.json    that, and the release after this one: a further migration, and an SQL function that uses what it adds
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed next.sql
var migration string

// wallShift stands in package time.
const wallShift = `package time

import (
	"sync/atomic"
	_ "unsafe"
)

//go:linkname wallShift
var wallShift atomic.Int64
`

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: overlay FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "overlay:", err)
		os.Exit(1)
	}
}

func write(folder string) error {
	goroot, err := goEnv("GOROOT")
	if err != nil {
		return err
	}
	module, err := goEnv("GOMOD")
	if err != nil {
		return err
	}
	o := overlay{folder: folder, replace: map[string]string{}}
	clock := filepath.Join(goroot, "src", "time")
	schema := filepath.Join(filepath.Dir(module), "internal", "runtime", "schema")
	const reads = "sec, nsec, mono := runtimeNow()\n"
	if err := o.change(filepath.Join(clock, "time.go"), reads, reads+"\tsec += wallShift.Load()\n"); err != nil {
		return err
	}
	if err := o.add(filepath.Join(clock, "shift.go"), wallShift); err != nil {
		return err
	}
	if err := o.write("clock.json"); err != nil {
		return err
	}
	there, err := filepath.Glob(filepath.Join(schema, "migrations", "*.sql"))
	if err != nil {
		return err
	}
	if err := o.add(filepath.Join(schema, "migrations", fmt.Sprintf("%04d_next.sql", len(there)+1)), migration); err != nil {
		return err
	}
	const claims = "claim_token = r.claim_token + 1,"
	if err := o.change(filepath.Join(schema, "functions", "claim.sql"), claims, claims+" next_claims = coalesce(r.next_claims, 0) + 1,"); err != nil {
		return err
	}
	return o.write("next.json")
}

func goEnv(name string) (string, error) {
	out, err := exec.CommandContext(context.Background(), "go", "env", name).Output()
	return strings.TrimSpace(string(out)), err
}

// overlay is what the go command reads instead of files that are there, or as if it were there.
type overlay struct {
	folder  string
	replace map[string]string
}

// change replaces a text that must stand once in a file: what is written differently now needs another change here.
func (o overlay) change(path, before, after string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), before); n != 1 {
		return fmt.Errorf("%q is %d times in %s, want once", before, n, path)
	}
	return o.add(path, strings.Replace(string(text), before, after, 1))
}

func (o overlay) add(path, text string) error {
	own := filepath.Join(o.folder, filepath.Base(path))
	o.replace[path] = own
	return os.WriteFile(own, []byte(text), 0o600)
}

func (o overlay) write(name string) error {
	doc, err := json.Marshal(map[string]any{"Replace": o.replace})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.folder, name), doc, 0o600)
}
