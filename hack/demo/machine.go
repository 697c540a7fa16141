package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// Free space that a cold and a warm start need, in MB: build cache and modules of Kubernetes, and one cluster.
const (
	coldSpace = 9000
	warmSpace = 1500
)

// facts are what the machine must offer.
type facts struct {
	system string
	uid    int
	// cold is true while no cluster program has been built.
	cold bool
	// cacheFree and tempFree are free space in MB where programs are built and where the cluster lives.
	cacheFree, tempFree uint64
}

// refuse says why the demo cannot run here and what to do about it; nil when it can.
func (f facts) refuse() error {
	need := uint64(warmSpace)
	if f.cold {
		need = coldSpace
	}
	switch {
	case f.system != "linux":
		return fmt.Errorf("this is %s, and a real node needs Linux: run it on a Linux machine or in a Linux virtual machine", f.system)
	case f.uid != 0:
		return errors.New("not root, and a real node needs its own namespaces and cgroups: run `sudo env \"PATH=$PATH\" make demo`")
	case f.cacheFree < need:
		return fmt.Errorf("disk full: %d MB are free for built programs, %d are needed: free some space, "+
			"or set SYNCLINE_CACHE, GOCACHE and GOMODCACHE to folders on another disk", f.cacheFree, need)
	case f.tempFree < warmSpace:
		return fmt.Errorf("disk full: %d MB are free for the cluster, %d are needed: free some space, "+
			"or set TMPDIR to a folder on another disk", f.tempFree, warmSpace)
	}
	return nil
}

func look(cache string) (facts, error) {
	f := facts{system: runtime.GOOS, uid: os.Geteuid()}
	built, err := filepath.Glob(filepath.Join(cache, "tools", "*", ".built-e2e"))
	if err != nil {
		return f, fmt.Errorf("look for built programs: %w", err)
	}
	f.cold = len(built) == 0
	if f.cacheFree, err = free(cache); err != nil {
		return f, err
	}
	f.tempFree, err = free(os.TempDir())
	return f, err
}

// free is the space in MB that this process may use in a folder.
func free(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("look at the free space of %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize) >> 20, nil //nolint:gosec // a block size is positive
}
