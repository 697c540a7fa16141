package kill_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// workerProcess is a worker in a process of its own.
type workerProcess struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{}
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

// launch starts a worker. It is killed with the test, or with the test binary, whichever ends first; its log is shown
// when the test fails.
func launch(t *testing.T, s settings) *workerProcess {
	t.Helper()
	doc, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	p := &workerProcess{t: t, name: s.Name, cmd: exec.CommandContext(context.Background(), os.Args[0]), log: &logBuffer{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(doc))
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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
	}()
	if err := <-started; err != nil {
		t.Fatalf("start worker %s: %v", s.Name, err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.done
		if t.Failed() {
			t.Logf("log of worker %s:\n%s", s.Name, p.log)
		}
	})
	return p
}

func (p *workerProcess) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("signal worker %s: %v", p.name, err)
	}
}

// exit waits for the process's end and gives its exit code; -1 when a signal ended it.
func (p *workerProcess) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("worker %s has not ended within %v", p.name, patience)
		return 0
	}
}

var servingAt = regexp.MustCompile(`"address":"([^"]+)"`)

// get asks the process's HTTP server; empty while there is none.
func (p *workerProcess) get(path string) string {
	at := servingAt.FindStringSubmatch(p.log.String())
	if at == nil {
		return ""
	}
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+at[1]+path, http.NoBody)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

// counted says whether a counter of the process stands above zero.
func (p *workerProcess) counted(name string) bool {
	for line := range strings.Lines(p.get("/metrics")) {
		if strings.HasPrefix(line, "syncline_worker_"+name+"{") && !strings.HasSuffix(strings.TrimSpace(line), "} 0") {
			return true
		}
	}
	return false
}
