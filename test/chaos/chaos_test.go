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
	"sync/atomic"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/test/chaos/history"
)

// plan is which episodes to play.
type plan struct {
	first, last uint64
	until       time.Time // zero: to the last
}

// planned reads SEEDS (a..b, or how many from a random one on) or else CHAOS_SECONDS, how long to go on with new ones.
func planned(t *testing.T) plan {
	t.Helper()
	first := uint64(time.Now().Unix() % 1_000_000)
	number := func(text string) uint64 {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatalf("%q is no number: SEEDS is a..b or a count, CHAOS_SECONDS a count", text)
		}
		return n
	}
	if seeds := os.Getenv("SEEDS"); seeds != "" {
		if a, b, isRange := strings.Cut(seeds, ".."); isRange {
			return plan{first: number(a), last: number(b)}
		}
		return plan{first: first, last: first + number(seeds) - 1}
	}
	seconds := uint64(60)
	if text := os.Getenv("CHAOS_SECONDS"); text != "" {
		seconds = number(text)
	}
	return plan{first: first, last: 1 << 40, until: time.Now().Add(time.Duration(seconds) * time.Second)}
}

// TestEpisodes plays short episodes, each with the faults of its seed, on servers whose clocks are wrong by hours in either
// direction, or by a little. Those of workers and callers are wrong as well, each in its own way.
func TestEpisodes(t *testing.T) {
	p := planned(t)
	t.Logf("seeds from %d on", p.first)
	next := atomic.Uint64{}
	next.Store(p.first)
	var servers []*server
	for _, skew := range []time.Duration{-5 * time.Hour, 7 * time.Hour, 90 * time.Second} {
		servers = append(servers, newServer(t, skew))
	}
	ctx, end := context.WithCancel(t.Context())
	var clock sync.WaitGroup
	clock.Go(func() { wander(ctx) })
	defer clock.Wait()
	defer end()
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(func() {
			for !t.Failed() && (p.until.IsZero() || time.Now().Before(p.until)) {
				seed := next.Add(1) - 1
				if seed > p.last {
					return
				}
				t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { play(t, s, seed) })
			}
		})
	}
	all.Wait()
}

// play plays one episode and judges it.
func play(t *testing.T, s *server, seed uint64) {
	began := time.Now()
	w := newWorld(t, s)
	w.disturb(seed)
	j := w.judge(patience)
	w.verdict(&j, w.stop())
	report.episode(seed, j, time.Since(began))
	if t.Failed() {
		t.Logf("the same schedule again: SEEDS=%d..%d hack/chaos.sh", seed, seed)
	}
}

// disturb is the load and the faults of a seed, to their end.
func (w *world) disturb(seed uint64) {
	random := func(actor uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, actor)) }
	w.endpoint = newEndpoint(w)
	tenants := w.limited(seed)
	f := newFleet(w, random(1))
	length := 3*time.Second + time.Duration(random(2).Int64N(5000))*time.Millisecond
	if seed%2 == 0 {
		length += 3 * time.Second // for a release to be rolled out and back
	}
	ctx, end := context.WithTimeout(w.t.Context(), length)
	defer end()
	var actors sync.WaitGroup
	for i := range uint64(2) {
		actors.Go(func() { (&caller{world: w, rnd: random(10 + i), tenants: tenants}).run(ctx) })
	}
	actors.Go(func() { f.trouble(ctx) })
	if seed%2 == 0 {
		actors.Go(func() { (&fleet{world: w, rnd: random(3), slots: f.slots, family: "r"}).releases(ctx) })
	}
	actors.Wait()
	f.refill()
	w.note("nothing disturbs any more")
	w.retune(context.Background(), func(*spec.Pool) {})
}

// limited gives the pool of every third seed a limit of runs in flight, and of every other third turns of tenants, of which
// it returns how many there are.
func (w *world) limited(seed uint64) (tenants int) {
	w.limits = func(p *spec.Pool) {
		switch seed % 3 {
		case 1:
			p.MaxRunning = 6
		case 2:
			p.Fairness = spec.FairnessTenant
		}
	}
	for _, pool := range []string{poolName, slowPool} {
		w.tunePool(pool, func(*spec.Pool) {})
	}
	if seed%3 == 2 {
		return 3
	}
	return 0
}

// trouble lets faults happen until ctx ends: those of the server beside those of two processes.
func (f *fleet) trouble(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for i, kind := range [][]fault{processFaults, processFaults, serverFaults} {
		own := &fleet{world: f.world, rnd: rand.New(rand.NewPCG(f.rnd.Uint64(), uint64(i))), slots: f.slots, family: string(rune('a' + i))}
		all.Go(func() {
			for wait(ctx, own.millis(100, 2000)) == nil {
				next := kind[own.rnd.IntN(len(kind))]
				report.fault(next.name)
				next.do(own, ctx)
			}
		})
	}
}

// judge lets everything end and reads the evidence.
func (w *world) judge(within time.Duration) judgement {
	if !w.settle(within) {
		w.note("not everything has ended")
	}
	e, err := w.evidence()
	if err != nil {
		w.t.Fatal(err)
	}
	j := judgement{evidence: &e}
	if j.violations, err = history.Check(e); err != nil {
		w.t.Fatal(err)
	}
	j.problems = w.wrongClocks(e.Marks)
	if n := w.deadlocks(); n > 0 {
		j.violations = append(j.violations, history.Violation{Invariant: history.NoDeadlock, At: e.End, Detail: fmt.Sprintf("the server resolved %d", n)})
	}
	return j
}

// judgement is what was found wrong with an episode.
type judgement struct {
	evidence   *history.Evidence
	violations []history.Violation
	problems   []string
}

func (j *judgement) faults() int { return len(j.violations) + len(j.problems) }

// verdict fails the test for what was found, with everything that is known.
func (w *world) verdict(j *judgement, problems []string) {
	w.t.Helper()
	j.problems = append(append(j.problems, problems...), relation(*j.evidence)...)
	if j.faults() == 0 {
		return
	}
	for _, v := range j.violations {
		w.t.Errorf("%v", v)
	}
	for _, p := range j.problems {
		w.t.Errorf("%s", p)
	}
	told := map[int64]bool{}
	for _, v := range j.violations {
		if v.Run != 0 && !told[v.Run] && len(told) < 3 {
			told[v.Run] = true
			w.t.Logf("run %d:\n%s", v.Run, j.evidence.Story(v.Run))
		}
	}
	w.t.Log(w.story())
}
