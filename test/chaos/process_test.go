//go:build chaos

package chaos_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/syncline-dev/syncline/test/chaos/history"
	"github.com/syncline-dev/syncline/test/kill/proxy"
)

// process is a worker in a process of its own, with a proxy before its database.
type process struct {
	world *world
	name  string
	cmd   *exec.Cmd
	log   *logBuffer
	proxy *proxy.Proxy
	done  chan struct{}
	told  atomic.Bool // to drain, while faults were all around
	clock time.Duration
	aside bool // it is no worker
	began time.Duration
	died  time.Duration // once done is closed
}

// logBuffer collects what a process writes.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// launch starts a worker. It is killed with the world, or with the test binary, whichever ends first. Faults of its proxy
// are armed before it begins.
func (w *world) launch(name string, change func(*settings), arm ...func(*proxy.Proxy)) *process {
	w.t.Helper()
	p := &process{world: w, name: name, log: &logBuffer{}, done: make(chan struct{}), began: machineClock()}
	var err error
	if p.proxy, err = proxy.Listen(fmt.Sprintf("127.0.0.1:%d", w.server.Port())); err != nil {
		w.t.Fatal(err)
	}
	s := settings{
		Name: name, URI: w.through(p.proxy), Journal: w.dir + "/" + name + ".journal", Pool: poolName, Build: "this release", Types: allTypes,
		DrainTimeout: 5 * time.Second, Keys: w.keys,
	}
	change(&s)
	p.clock, p.aside = s.Clock, s.Migrate
	for _, a := range arm {
		a(p.proxy)
	}
	doc, err := json.Marshal(s)
	if err != nil {
		w.t.Fatal(err)
	}
	binary := os.Args[0]
	if s.Build == nextRelease {
		binary = nextBinary(w.t)
	}
	p.cmd = exec.CommandContext(context.Background(), binary)
	p.cmd.Env = append(withoutPreload(), childEnv+"="+string(doc), "GOMAXPROCS=2")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.start()
	w.mu.Lock()
	w.processes = append(w.processes, p)
	w.mu.Unlock()
	return p
}

// withoutPreload is the environment without what servers are started with.
func withoutPreload() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LD_PRELOAD=") {
			env = append(env, v)
		}
	}
	return env
}

func (p *process) start() {
	started := make(chan error)
	go func() {
		defer close(p.done)
		runtime.LockOSThread() // the kernel sends the death signal when this thread ends
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in its state
		}
		p.died = machineClock()
	}()
	if err := <-started; err != nil {
		p.world.t.Fatalf("start worker %s: %v", p.name, err)
	}
}

// signal sends a signal to a process that may have ended.
func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

func (p *process) lives() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// exit waits for the process's end: its exit code, -1 when a signal ended it or it did not end in time.
func (p *process) exit(within time.Duration) int {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		return -1
	}
}

// end kills the process and closes its proxy.
func (p *process) end() error {
	p.signal(syscall.SIGKILL)
	<-p.done
	return p.proxy.Close()
}

// life is what the checker is told about the process.
func (p *process) life() history.Process {
	l := history.Process{Name: p.name, Started: p.began}
	if !p.lives() {
		l.Died = p.died
	}
	return l
}
