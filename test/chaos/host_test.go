//go:build chaos

package chaos_test

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

//go:embed host/host.c
var hostSource []byte

// badHosts is the folder of what makes servers believe to be on a bad host: the library that they preload, and a file for
// each that says how slow its disk is.
var badHosts string

// buildHost compiles the library into a folder that the servers' user can read; end removes it.
func buildHost() (end func(), err error) {
	if badHosts, err = os.MkdirTemp("", "host"); err != nil {
		return nil, err
	}
	end = func() { _ = os.RemoveAll(badHosts) }
	if err := os.Chmod(badHosts, 0o755); err != nil {
		return end, err
	}
	source := filepath.Join(badHosts, "host.c")
	if err := os.WriteFile(source, hostSource, 0o644); err != nil {
		return end, err
	}
	gcc := exec.CommandContext(context.Background(), "gcc", "-shared", "-fPIC", "-O2", "-o", filepath.Join(badHosts, "host.so"), source)
	if out, err := gcc.CombinedOutput(); err != nil {
		return end, fmt.Errorf("gcc (install it, e.g. apt-get install gcc libc6-dev): %w\n%s", err, out)
	}
	return end, nil
}

// host is where a server believes to be.
type host struct {
	skew time.Duration // of its wall clock
	disk *os.File
}

func newHost(skew time.Duration) (*host, error) {
	disk, err := os.CreateTemp(badHosts, "disk")
	if err != nil {
		return nil, err
	}
	h := &host{skew: skew, disk: disk}
	return h, errors.Join(disk.Chmod(0o644), h.delayWrites(0))
}

// delayWrites makes every write of the server to its disk take so much longer, from now on.
func (h *host) delayWrites(by time.Duration) error {
	_, err := h.disk.WriteAt(binary.NativeEndian.AppendUint32(nil, uint32(by.Microseconds())), 0)
	return err
}

// environment is this process's own, which servers inherit: one of them starts at a time.
var environment sync.Mutex

// during calls start while the environment puts processes that begin on the host.
func (h *host) during(start func() error) error {
	environment.Lock()
	defer environment.Unlock()
	env := map[string]string{
		"LD_PRELOAD": filepath.Join(badHosts, "host.so"), "CHAOS_CLOCK_SECONDS": strconv.FormatInt(int64(h.skew.Seconds()), 10), "CHAOS_DISK": h.disk.Name(),
	}
	var errs []error
	for name, value := range env {
		errs = append(errs, os.Setenv(name, value))
	}
	errs = append(errs, start())
	for name := range env {
		errs = append(errs, os.Unsetenv(name))
	}
	return errors.Join(errs...)
}
