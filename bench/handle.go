package main

import (
	"encoding/json"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// handler is the body of every job in a Go worker, the same for all systems.
type handler struct {
	task    task
	handled atomic.Int64

	mu        sync.Mutex
	latencies []int64
}

// input is what a job carries.
type input struct {
	// At is the instant of the enqueue in nanoseconds since 1970; 0 when nobody measures it.
	At int64 `json:"at"`
}

func newHandler(t task) *handler {
	h := &handler{task: t}
	if t.ReportMillis > 0 {
		go h.report()
	}
	return h
}

// handle does one job. In is called only when the latency is measured.
func (h *handler) handle(in func() int64) {
	n := h.handled.Add(1)
	if h.task.Latency {
		l := time.Now().UnixNano() - in()
		h.mu.Lock()
		h.latencies = append(h.latencies, l)
		h.mu.Unlock()
	}
	if n == 1 {
		h.say(event{Event: "first", N: n})
	}
	if h.task.SleepMillis > 0 { // the work itself of a job that takes so long: the case "slots" measures how many fit beside each other
		time.Sleep(time.Duration(h.task.SleepMillis) * time.Millisecond)
	}
	if n == h.task.Count {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.say(event{Event: "last", N: n, Latencies: h.latencies})
	}
}

// say writes one event in one call, so that lines stay whole.
func (h *handler) say(e event) {
	e.At = time.Now().UnixNano()
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // numbers and a word
	}
	_, _ = os.Stdout.Write(append(line, '\n'))
}

func (h *handler) report() {
	for range time.Tick(time.Duration(h.task.ReportMillis) * time.Millisecond) {
		h.say(event{Event: "count", N: h.handled.Load()})
	}
}

func inputAt(raw []byte) int64 {
	var in input
	if err := json.Unmarshal(raw, &in); err != nil {
		return 0
	}
	return in.At
}
