package worker

import "sync"

// hands are the goroutines that execute runs, one run at a time each. One that has finished waits for the next run: its
// stack has grown to what handlers need, and growing it anew for every short run would cost more than the run. There are
// as many as ever ran at once.
type hands struct {
	mu     sync.Mutex
	idle   []chan func() // the one that finished last takes the next run
	closed bool
	all    sync.WaitGroup
}

// do has a goroutine call f. A call that ends its goroutine costs that goroutine and nothing else.
func (h *hands) do(f func()) {
	h.mu.Lock()
	n := len(h.idle)
	if n == 0 {
		h.mu.Unlock()
		h.all.Go(func() { h.work(f) })
		return
	}
	next := h.idle[n-1]
	h.idle = h.idle[:n-1]
	h.mu.Unlock()
	next <- f
}

func (h *hands) work(f func()) {
	next := make(chan func(), 1) // a run can be put there before its goroutine looks
	for ok := true; ok; f, ok = <-next {
		f()
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			return
		}
		h.idle = append(h.idle, next)
		h.mu.Unlock()
	}
}

// close ends the idle goroutines, and each other one when it has finished. Nothing may be done any more.
func (h *hands) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, next := range h.idle {
		close(next)
	}
	h.idle = nil
}

// wait waits until all have ended, after close.
func (h *hands) wait() { h.all.Wait() }
