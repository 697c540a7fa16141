package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// task is what a worker process is asked to do. Workers of every system, in Go or in JavaScript, read it as JSON from
// their first argument and answer with events, one JSON object a line, on standard output.
type task struct {
	System string `json:"system"`
	URI    string `json:"uri"`
	// Count is the number of jobs after which the event "last" is written.
	Count int64 `json:"count"`
	// Concurrency is the number of jobs in work at once.
	Concurrency int `json:"concurrency"`
	// SleepMillis is how long every job takes.
	SleepMillis int `json:"sleepMillis"`
	// Latency makes the worker note, for every job, the time since the instant that its input names.
	Latency bool `json:"latency"`
	// ReportMillis is the time between two events "count"; 0 is never.
	ReportMillis int `json:"reportMillis"`
	// SetUp and Enqueue make a JavaScript peer create its schema, and enqueue that many jobs, and end.
	SetUp   bool `json:"setUp"`
	Enqueue int  `json:"enqueue"`
	// Profile is the file for a processor profile of a Go worker; empty is none.
	Profile string `json:"profile"`
}

// event is one line of a worker.
type event struct {
	// Event is ready, first, count or last.
	Event string `json:"event"`
	// At is when it happened, in nanoseconds since 1970.
	At int64 `json:"at"`
	// N is the number of jobs handled so far.
	N int64 `json:"n"`
	// Latencies are in nanoseconds, with the event last.
	Latencies []int64 `json:"latencies,omitempty"`
}

// child is a running worker process.
type child struct {
	cmd    *exec.Cmd
	events chan event
	stderr *tail
	gone   chan struct{}
}

// startChild runs a worker process; it is killed when ctx ends.
func startChild(ctx context.Context, t task, argv []string) (*child, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	c := &child{
		cmd:    exec.CommandContext(ctx, argv[0], append(argv[1:], string(raw))...),
		events: make(chan event, 4096), stderr: &tail{}, gone: make(chan struct{}),
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.cmd.Stderr = c.stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start worker of %s: %w", t.System, err)
	}
	go c.read(out)
	return c, nil
}

func (c *child) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Event != "" {
			c.events <- e
		} else {
			_, _ = c.stderr.Write(append(lines.Bytes(), '\n'))
		}
	}
	close(c.events)
	_ = c.cmd.Wait()
	close(c.gone)
}

// await returns the next event of a name.
func (c *child) await(ctx context.Context, name string) (event, error) {
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				return event{}, fmt.Errorf("worker ended before its event %q:\n%s", name, c.stderr)
			}
			if e.Event == name {
				return e, nil
			}
		case <-ctx.Done():
			return event{}, fmt.Errorf("wait for event %q: %w\n%s", name, context.Cause(ctx), c.stderr)
		}
	}
}

// cpu is the processor time of the process so far.
func (c *child) cpu() time.Duration {
	s, err := processStat(c.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	return s.own
}

// stopTimeout is how long a worker may take to end before it is killed.
const stopTimeout = 20 * time.Second

// stop asks the process to end and returns how long it took; it is killed when it does not.
func (c *child) stop() (time.Duration, error) {
	began := time.Now()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	go func() {
		for range c.events { // let the reader reach the end
		}
	}()
	select {
	case <-c.gone:
		return time.Since(began), nil
	case <-time.After(stopTimeout):
		_ = c.cmd.Process.Kill()
		<-c.gone
		return time.Since(began), errors.New("worker did not end in time:\n" + c.stderr.String())
	}
}

// kill ends the process at once.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	go func() {
		for range c.events {
		}
	}()
	<-c.gone
}

// tail keeps the last lines of a process.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 8<<10 {
		t.buf = t.buf[len(t.buf)-4<<10:]
	}
	if os.Getenv("BENCH_VERBOSE") != "" {
		_, _ = os.Stderr.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
