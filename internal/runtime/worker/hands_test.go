package worker

import (
	"runtime"
	"testing"
	"testing/synctest"
)

func TestAHandTakesTheNextRunAndAnotherOneReplacesOneThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hands
		ran := 0
		for range 3 {
			h.do(func() { ran++ })
			synctest.Wait()
		}
		if len(h.idle) != 1 || ran != 3 {
			t.Errorf("%d runs left %d idle goroutines, want three and one", ran, len(h.idle))
		}
		h.do(runtime.Goexit)
		synctest.Wait()
		if len(h.idle) != 0 {
			t.Error("a goroutine that has ended stands among the idle ones")
		}
		block := make(chan struct{})
		h.do(func() { <-block })
		h.do(func() { ran++ })
		synctest.Wait()
		h.close()
		close(block)
		h.wait()
		if ran != 4 {
			t.Errorf("%d runs, want four", ran)
		}
	})
}
