//go:build chaos

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/syncline-dev/syncline/test/chaos/history"
)

// wallShift is by how many seconds this process's wall clock is wrong, in everything that it executes. Package overlay puts
// it into package time.
//
//go:linkname wallShift time.wallShift
var wallShift atomic.Int64

// readClock reads one of the machine's clocks, whatever this process believes.
func readClock(id uintptr) time.Duration {
	var now syscall.Timespec
	if _, _, e := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&now)), 0); e != 0 {
		panic(e)
	}
	return time.Duration(now.Nano())
}

// machineClock is the machine's monotonic clock, the same in all processes; machineWall is its wall clock.
func machineClock() time.Duration { return readClock(1) }

func machineWall() time.Duration { return readClock(0) }

// wrongBy is how far an instant of a process's wall clock is ahead of the machine's, which was read at the same moment.
func wrongBy(wall time.Time, at time.Duration) time.Duration {
	return time.Duration(wall.UnixNano()) - (machineWall() - machineClock() + at)
}

// stepSignal makes a worker's wall clock go further wrong. Until it listens, the signal does nothing to it.
const stepSignal = syscall.SIGWINCH

// misled makes this process's wall clock wrong, and wronger at every step.
func misled(by time.Duration) {
	wallShift.Store(int64(by.Seconds()))
	steps := make(chan os.Signal, 1)
	signal.Notify(steps, stepSignal)
	go func() {
		for range steps {
			wallShift.Add(int64(by.Seconds()))
		}
	}()
}

// wander moves this process's wall clock, which is that of all callers and endpoints here, until ctx ends.
func wander(ctx context.Context) {
	defer wallShift.Store(0)
	for wait(ctx, 700) == nil {
		wallShift.Store(rand.Int64N(20*3600) - 10*3600)
	}
}

// wrongClocks wants the workers' wall clocks to have been as wrong as they were to be.
func (w *world) wrongClocks(marks []history.Mark) (problems []string) {
	for _, p := range w.all() {
		for _, m := range marks {
			if off := wrongBy(m.Wall, m.At); m.Process == p.name && off.Abs() < p.clock.Abs()-time.Minute {
				problems = append(problems, fmt.Sprintf("the clock of %s is wrong by %v, want at least %v: build with hack/chaos.sh", p.name, off, p.clock))
				break
			}
		}
	}
	return problems
}
