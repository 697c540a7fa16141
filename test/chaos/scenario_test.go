//go:build chaos

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/test/chaos/history"
	"github.com/syncline-dev/syncline/test/kill/proxy"
)

// scenario is a situation that a rule of the protocol is for. The worker "a" is the one that breaks it, if any does.
type scenario struct {
	name string
	play func(*world) []history.Violation
	// patience is how long the runs may take to end afterwards.
	patience time.Duration
}

// stage is a world for scenarios.
func stage(t *testing.T, s *server, r rule) *world {
	w := newWorld(t, s, r.mutations...)
	w.breaks = func(s *settings) {
		if s.Name == "a" {
			s.Broken, s.Clock = r.broken, 10*time.Hour
		}
	}
	return w
}

func plainly(*jobs.StartParams) {}

func inLane(lane string, limit int) func(*jobs.StartParams) {
	return func(p *jobs.StartParams) { p.Lane, p.LaneLimit = lane, limit }
}

// worker starts a worker that obeys the rules, but for "a" if it shall not.
func (w *world) worker(name string, arm ...func(*proxy.Proxy)) *process {
	return w.launch(name, w.breaks, arm...)
}

// began counts the executions that a worker has begun, of a run or, when it is 0, of any.
func (w *world) began(name string, run int64) (n int) {
	w.t.Helper()
	text, err := os.ReadFile(w.dir + "/" + name + ".journal")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"event":"began"`) && (run == 0 || strings.Contains(line, fmt.Sprintf(`"run":%d,`, run))) {
			n++
		}
	}
	return n
}

// begins waits until a worker has begun n executions.
func (w *world) begins(name string, n int) {
	w.t.Helper()
	w.must(fmt.Sprintf("%s begins %d executions", name, n), func() bool { return w.began(name, 0) >= n })
}

// frozen stops a process from executing until something has happened, and a moment longer.
func (p *process) frozen(atLeast time.Duration, until func()) {
	p.world.during(p.name, "SIGSTOP", true, func() {
		p.signal(syscall.SIGSTOP)
		began := machineClock()
		until()
		_ = wait(context.Background(), max(0, (atLeast-(machineClock()-began)).Milliseconds()))
		p.signal(syscall.SIGCONT)
	})
}

// zombie is a process that is frozen past its lease and comes back, with results, while its successor executes.
var zombie = scenario{"zombie", func(w *world) []history.Violation {
	for _, t := range []task{{Deaf: true}, {Deaf: true, Complete: true}, {Deaf: true, Fenced: true}, {Deaf: true, Steps: 1}} {
		t.Acts, t.Pause = 1, 1500
		w.enqueue(1, t, plainly)
	}
	a := w.worker("a")
	w.begins("a", 4)
	_ = wait(w.t.Context(), 900)
	w.worker("b")
	a.frozen(lease, func() { w.begins("b", 4) })
	return nil
}, patience}

// lateSettle is a settle that arrives when the same worker executes the run again.
var lateSettle = scenario{"late settle", func(w *world) []history.Violation {
	ids := w.enqueue(1, task{Fail: 1, Acts: 20, Pause: 100}, plainly)
	var late *proxy.Fault
	w.worker("a", func(p *proxy.Proxy) { late = p.Arm("FROM settle(", proxy.HoldRequest) })
	w.must("the run is executed again", func() bool { return w.began("a", ids[0]) == 2 })
	late.Release()
	return nil
}, patience}

// cutOff is a worker that loses its database while its handlers have effects elsewhere.
var cutOff = scenario{"cut off", func(w *world) []history.Violation {
	w.enqueue(3, task{Acts: 60, Pause: 100}, plainly)
	a := w.worker("a")
	w.begins("a", 3)
	w.worker("b")
	w.during("a", "half-open", false, func() {
		a.proxy.Silence()
		w.begins("b", 3)
		_ = wait(w.t.Context(), 1000)
		a.proxy.Resume()
		a.proxy.Cut()
	})
	return nil
}, patience}

// killed is a worker that dies with runs in flight.
var killed = scenario{"killed", func(w *world) []history.Violation {
	w.enqueue(3, task{Acts: 20, Pause: 100}, plainly)
	a := w.worker("a")
	w.begins("a", 3)
	w.must("a has renewed its lease", func() bool { return w.count("SELECT coalesce(max(beat), 0) FROM worker") > 1 })
	a.signal(syscall.SIGKILL)
	<-a.done
	w.worker("b")
	return nil
}, 10 * time.Second}

// lockedAtSweep is a run that somebody has locked when its dead worker's row is removed.
var lockedAtSweep = scenario{"locked at the first sweep", func(w *world) []history.Violation {
	ids := w.enqueue(1, task{Acts: 20, Pause: 100}, plainly)
	a := w.worker("a")
	w.begins("a", 1)
	a.signal(syscall.SIGKILL)
	<-a.done
	w.open(func(tx pgx.Tx) {
		w.in(tx, "SELECT FROM run WHERE id = $1 FOR UPDATE", ids[0])
		w.worker("b")
		w.must("the dead worker's row is removed", func() bool { return w.count("SELECT count(*) FROM worker WHERE pod = 'a'") == 0 })
		_ = wait(w.t.Context(), 500)
	})
	return nil
}, 10 * time.Second}

// frozenInTransaction is a process that is frozen between a completion and its commit.
var frozenInTransaction = scenario{"frozen in a transaction", func(w *world) []history.Violation {
	w.enqueue(1, task{Complete: true, Hold: 30_000, Once: true}, plainly)
	a := w.worker("a")
	w.begins("a", 1)
	const completes = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state = 'idle in transaction' AND query LIKE '%complete%'"
	w.must("the handler has completed and not committed", func() bool { return w.count(completes, application("a")) > 0 })
	w.worker("b")
	a.frozen(lease+sweeps+lease/3+2*busy+time.Second, func() {})
	return nil
}, patience}

// halfOfAReceipt is a dead worker's receipt of which one run is executed by somebody else already.
var halfOfAReceipt = scenario{"half of a receipt", func(w *world) []history.Violation {
	first := w.enqueue(1, task{Fail: 1, RetryAfter: 700, Acts: 50, Pause: 100}, plainly)
	w.enqueue(1, task{Acts: 20, Pause: 100}, plainly)
	a := w.worker("a")
	w.must("the first run waits for its retry", func() bool { return w.count("SELECT count(*) FROM scheduled WHERE id = $1", first[0]) == 1 })
	a.frozen(lease+time.Second, func() {
		w.worker("b")
		w.must("b executes both", func() bool { return w.began("b", 0) >= 2 })
	})
	return nil
}, patience}

// lostClaim is a claim whose reply never came.
var lostClaim = scenario{"lost reply to a claim", func(w *world) []history.Violation {
	w.enqueue(3, task{Acts: 1, Pause: 10}, plainly)
	w.worker("a", func(p *proxy.Proxy) { p.Arm("FROM claim(", proxy.LoseReply) })
	return nil
}, 8 * time.Second}

// sameKeys is callers who start runs under the same keys at once: the second ones come while the first have not committed.
var sameKeys = scenario{"same keys", func(w *world) []history.Violation {
	w.worker("a")
	for _, p := range []jobs.StartParams{{DedupeKey: "k", DedupeWindow: time.Minute}, {IdempotencyKey: "k"}} {
		p.Type, p.Pool = oldType, poolName
		start := func(q jobs.Querier) {
			r, err := jobs.Start(w.t.Context(), q, p)
			if err != nil {
				w.t.Errorf("start: %v", err)
			}
			w.acknowledged(history.Start{Run: r.RunID, Key: p.IdempotencyKey})
		}
		var second sync.WaitGroup
		err := pgx.BeginFunc(w.t.Context(), w.queue, func(tx pgx.Tx) error {
			start(tx)
			second.Go(func() { start(w.queue) })
			waits := func() bool {
				return w.count("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'caller' AND datname = $1 AND wait_event_type = 'Lock'", w.db.Name) > 0
			}
			eventually(500*time.Millisecond, waits) // with the rule off it may not wait
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
		second.Wait()
	}
	return nil
}, patience}

// bustle is three workers of two pools with all kinds of runs and no faults.
var bustle = scenario{"bustle", func(w *world) []history.Violation {
	w.worker("a")
	w.worker("b")
	w.launch("c", func(s *settings) { s.Pool = slowPool })
	ctx, end := context.WithTimeout(w.t.Context(), 4*time.Second)
	defer end()
	var callers sync.WaitGroup
	for i := range uint64(3) {
		callers.Go(func() { (&caller{world: w, rnd: rand.New(rand.NewPCG(1, i))}).run(ctx) })
	}
	callers.Wait()
	return nil
}, patience}

// lanesOfOne is three workers that want the same lanes.
var lanesOfOne = scenario{"lanes", func(w *world) []history.Violation {
	for i := range 20 {
		w.enqueue(1, task{Complete: true, Linger: 300}, inLane(strconv.Itoa(i%2), 1))
	}
	for _, name := range []string{"a", "b", "c"} {
		w.worker(name)
	}
	return nil
}, patience}

// sharedLanes is three workers that settle batches with many lanes.
var sharedLanes = scenario{"shared lanes", func(w *world) []history.Violation {
	for i := range 120 {
		w.enqueue(1, task{}, inLane(strconv.Itoa(i%6), 4))
	}
	for _, name := range []string{"a", "b", "c"} {
		w.worker(name)
	}
	return nil
}, patience}

// keptLane is a run that keeps its lane for a retry and is cancelled meanwhile.
var keptLane = scenario{"kept lane", func(w *world) []history.Violation {
	first := w.enqueue(1, task{Fail: 1, RetryAfter: 60_000}, inLane("l", 1))
	w.worker("a")
	w.must("the first run waits for its retry", func() bool { return w.count("SELECT count(*) FROM scheduled WHERE id = $1", first[0]) == 1 })
	w.enqueue(1, task{}, inLane("l", 1))
	w.must("the second run waits for the lane", func() bool { return w.count("SELECT count(*) FROM blocked") == 1 })
	w.exec("SELECT cancel($1, 'caller', 'not needed')", first[0])
	return nil
}, 8 * time.Second}

// drained is a worker that is told to stop while its handlers need seconds more.
var drained = scenario{"drained", func(w *world) []history.Violation {
	w.enqueue(3, task{Acts: 35, Pause: 100}, plainly)
	a := w.worker("a")
	w.begins("a", 3)
	w.worker("b")
	_ = wait(w.t.Context(), 500)
	a.signal(syscall.SIGTERM) // and again at the end, which changes nothing
	return nil
}, patience}

// forgetful is a handler whose completion was rolled back and that returns as if all were well.
var forgetful = scenario{"forgetful", func(w *world) []history.Violation {
	w.enqueue(3, task{Complete: true, Forget: true}, plainly)
	w.worker("a")
	return nil
}, patience}

// cancelMeetsClaim is a caller that cancels a run just before it is claimed.
var cancelMeetsClaim = scenario{"cancel meets claim", func(w *world) []history.Violation {
	ids := w.enqueue(1, task{}, func(p *jobs.StartParams) { p.Delay = 1500 * time.Millisecond })
	w.worker("a")
	w.open(func(tx pgx.Tx) {
		_, _ = tx.Exec(w.t.Context(), "SELECT cancel($1, 'caller', 'not needed')", ids[0]) // with the rule off it may be the one that dies
		_ = wait(w.t.Context(), 2500)
	})
	return nil
}, patience}

// callerStays is a caller who wishes for the end of a running run and stays in the transaction.
var callerStays = scenario{"caller stays", func(w *world) (found []history.Violation) {
	ids := w.enqueue(3, task{Acts: 10, Pause: 50}, plainly)
	w.worker("a")
	w.begins("a", 3)
	w.open(func(tx pgx.Tx) {
		w.in(tx, "SELECT cancel($1, 'caller', 'perhaps')", ids[0])
		if !w.settle(6 * time.Second) {
			found = append(found, history.Violation{
				Invariant: history.NobodyWaits, Run: ids[0], At: machineClock(), Detail: "its settle waits for a caller's transaction",
			})
		}
	})
	return found
}, patience}

// replayed is a run that gets another life as soon as it may.
var replayed = scenario{"replayed", func(w *world) []history.Violation {
	ids := w.enqueue(1, task{Complete: true, Linger: 2000}, plainly)
	w.worker("a")
	w.must("the run is replayed", func() bool {
		_, err := w.queue.Exec(w.t.Context(), "SELECT replay($1)", ids[0])
		return err == nil
	})
	w.must("it begins its next life", func() bool { return w.began("a", ids[0]) == 2 })
	return nil
}, patience}

// silentCommit is a step whose transaction commits on a connection that falls silent.
var silentCommit = scenario{"silent commit of a step", func(w *world) []history.Violation {
	a := w.worker("a")
	w.must("a has registered", func() bool { return w.count("SELECT count(*) FROM worker") == 1 })
	a.proxy.Arm("commit", proxy.LoseReplySilently)
	w.enqueue(1, task{Steps: 1}, plainly)
	return nil
}, patience}

// open does something in a caller's transaction that stays open meanwhile and is rolled back.
func (w *world) open(do func(pgx.Tx)) {
	w.t.Helper()
	tx, err := w.queue.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	w.in(tx, "SET LOCAL idle_in_transaction_session_timeout = 0")
	do(tx)
}

func (w *world) in(tx pgx.Tx, sql string, args ...any) {
	w.t.Helper()
	if _, err := tx.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}
