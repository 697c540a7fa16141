package worker

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

func succeed(context.Context, *jobs.Claim) (json.RawMessage, error) { return nil, nil }

func TestEveryRunIsExecutedAndSettledOnce(t *testing.T) {
	inBubble(t, newFakeQueue(t, 57), succeed, func(b *bubble) {
		b.at(time.Second)
		b.wantStatuses(map[string]int{"completed": 57})
		for id := range b.q.runs {
			if r := b.q.run(id); r.token != 1 {
				b.Errorf("run %d was claimed %d times, want once", id, r.token)
			}
		}
		if err := b.drain(); err != nil || !b.q.left {
			b.Errorf("an idle worker did not drain cleanly: %v, lease removed: %v", err, b.q.left)
		}
	})
}

// S4: the deadline counts from the send time of the last confirmed beat, whatever happens to later ones.
func TestHandlersAreCancelledAtTheLeasesDeadlineW12(t *testing.T) {
	h := &blocking{}
	q := newFakeQueue(t, 3)
	q.after["beat"] = func(context.Context) error { <-time.After(2 * time.Second); return nil }
	inBubble(t, q, h.handle, func(b *bubble) {
		b.at(25 * time.Second) // beats of 0 and 20 s are confirmed two seconds later
		b.q.hook(b.q.before, "beat", func(context.Context) error { return errCut })
		b.at(74*time.Second - time.Millisecond)
		if got := h.ended(); len(got) > 0 {
			b.Fatalf("handlers were cancelled before the deadline at 20 s + 60 s - 6 s: %v", got)
		}
		b.at(74 * time.Second)
		causes := h.ended()
		if len(causes) != 3 || !errors.Is(causes[0], jobs.ErrLeaseLost) {
			b.Fatalf("at the deadline handlers ended with %v, want three with ErrLeaseLost", causes)
		}
		if err := b.w.Ready(); err == nil {
			b.Error("a worker that is cut off says that it is ready")
		}
	})
}

func TestOneLostLeaseIsOneSelfFence(t *testing.T) {
	inBubble(t, newFakeQueue(t, 3), lasting(10*time.Minute), func(b *bubble) {
		b.at(25 * time.Second)
		b.q.hook(b.q.before, "beat", func(context.Context) error { return errCut })
		b.at(5 * time.Minute)
		if n := testutil.ToFloat64(b.w.cfg.Metrics.SelfFences); n != 1 {
			b.Errorf("handlers that ignore their context were cancelled %v times for one lost lease", n)
		}
		b.at(11 * time.Minute)
	})
}

// A run cancelled by the self-fence is given back; it spends no attempt.
func TestSelfFenceSpendsNoAttempt(t *testing.T) {
	h := &blocking{}
	inBubble(t, newFakeQueue(t, 1), h.handle, func(b *bubble) {
		b.at(time.Second)
		b.q.hook(b.q.before, "beat", func(context.Context) error { return errCut })
		b.at(60 * time.Second)
		if len(h.ended()) == 0 {
			b.Fatal("the handler was not cancelled at the deadline")
		}
		if r := b.q.run(1); r.status != "pending" || r.attempts != 0 {
			b.Errorf("the run is %s with %d attempts, want pending with none", r.status, r.attempts)
		}
		claims := b.q.count("claim")
		b.at(70 * time.Second)
		if n := b.q.count("claim"); n != claims {
			b.Error("a worker past its deadline claims")
		}
		b.q.hook(b.q.before, "beat", nil)
		b.at(80 * time.Second)
		if r := b.q.run(1); r.status != "running" || r.worker != 1 {
			b.Errorf("after a beat that found its row the run is %s by worker %d, want running by the same incarnation", r.status, r.worker)
		}
	})
}

// S3: a worker whose row is gone cancels everything and gets a new id.
func TestLostRowBeginsANewIncarnation(t *testing.T) {
	h := &blocking{}
	inBubble(t, newFakeQueue(t, 2), h.handle, func(b *bubble) {
		b.at(time.Second)
		b.q.takeOver(1)
		b.at(21 * time.Second)
		if causes := h.ended(); len(causes) != 2 || !errors.Is(causes[0], jobs.ErrLeaseLost) {
			b.Fatalf("handlers ended with %v, want two with ErrLeaseLost", causes)
		}
		b.at(23 * time.Second)
		if r := b.q.run(1); r.worker != 2 || r.token != 2 {
			b.Errorf("the run is held by worker %d under token %d, want the new incarnation 2 under token 2", r.worker, r.token)
		}
	})
}

// S4, S6: a claim whose reply comes after the deadline hands nothing out; the reconcile gives it back.
func TestNothingIsHandedOutPastTheDeadline(t *testing.T) {
	started := make(chan *jobs.Claim, 10)
	handler := func(_ context.Context, c *jobs.Claim) (json.RawMessage, error) { started <- c; return nil, nil }
	q := newFakeQueue(t, 1)
	q.tuning.LeaseMillis, q.tuning.HeartbeatMillis = 12_000, 3_900 // deadline 10.8 s, statements are given up after 4 s
	q.runs[1].status = "hidden"                                    // before the worker begins, whose first claim is at 0
	inBubble(t, q, handler, func(b *bubble) {
		b.at(7900 * time.Millisecond) // beats at 0, 3.9 and 7.8 s
		b.q.hook(b.q.before, "beat", func(context.Context) error { return errCut })
		b.at(16 * time.Second) // deadline at 18.6 s; claims go out every second
		b.q.hook(b.q.after, "claim", func(context.Context) error {
			b.q.hook(b.q.after, "claim", nil)
			<-time.After(time.Until(b.begin.Add(18700 * time.Millisecond)))
			return nil
		})
		b.q.mu.Lock()
		b.q.runs[1].status = "pending"
		b.q.mu.Unlock()
		b.at(21 * time.Second)
		select {
		case c := <-started:
			b.Errorf("claim with token %d was handed out past the deadline", c.Token)
		default:
		}
		if r := b.q.run(1); r.status != "pending" || r.token != 1 {
			b.Errorf("the run is %s after %d claims, want it given back after one", r.status, r.token)
		}
	})
}

func TestNothingOfAnEarlierIncarnationIsHandedOut(t *testing.T) {
	started := make(chan *jobs.Claim, 10)
	handler := func(_ context.Context, c *jobs.Claim) (json.RawMessage, error) { started <- c; return nil, nil }
	inBubble(t, newFakeQueue(t, 1), handler, func(b *bubble) {
		synctest.Wait()
		c := <-started
		if c.Worker != 1 {
			b.Fatalf("the first claim is worker %d's, want 1", c.Worker)
		}
		b.q.mu.Lock()
		b.q.runs[1].status = "pending"
		b.q.mu.Unlock()
		release := make(chan struct{})
		b.q.hook(b.q.after, "claim", func(context.Context) error {
			b.q.hook(b.q.after, "claim", nil)
			<-release
			return nil
		})
		b.at(18 * time.Second) // the claim's reply is on its way
		b.w.claimer.wake()
		b.q.takeOver(1)
		b.at(21 * time.Second) // the beat has found no row and a new incarnation has begun
		close(release)
		b.at(25 * time.Second)
		if len(started) == 0 {
			b.Error("the new incarnation executed nothing")
		}
		for len(started) > 0 {
			if c := <-started; c.Worker != 2 {
				b.Errorf("a claim of incarnation %d was handed out by incarnation 2", c.Worker)
			}
		}
	})
}

// S6: what a claim did whose reply was lost is found out before the next claim, by token, without spending anything.
func TestLostClaimReplyIsReconciledBeforeTheNextClaim(t *testing.T) {
	q := newFakeQueue(t, 5)
	q.after["claim"] = func(context.Context) error { q.hook(q.after, "claim", nil); return errCut }
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(5 * time.Second)
		b.wantStatuses(map[string]int{"completed": 5})
		if n := b.q.count("reconcile"); n != 1 {
			b.Errorf("%d reconciles, want 1", n)
		}
		if r := b.q.run(1); r.token != 2 || r.attempts != 1 {
			b.Errorf("the run was claimed %d times and spent %d attempts, want two claims and one attempt", r.token, r.attempts)
		}
	})
}

// A claim that falls silent is given up in time, and never overlaps with the reconcile that it makes due.
func TestSilentClaimIsGivenUp(t *testing.T) {
	q := newFakeQueue(t, 1)
	q.after["claim"] = func(ctx context.Context) error {
		q.hook(q.after, "claim", nil)
		<-ctx.Done()
		return ctx.Err()
	}
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(10*time.Second - time.Millisecond)
		if n := b.q.count("reconcile"); n != 0 {
			b.Fatal("a reconcile ran while the claim was under way")
		}
		b.at(13 * time.Second)
		b.wantStatuses(map[string]int{"completed": 1})
	})
}

// S2: a settle whose reply was lost is asked again and is answered as already done.
func TestLostSettleReplyIsAskedAgain(t *testing.T) {
	q := newFakeQueue(t, 3)
	q.after["settle"] = func(context.Context) error { q.hook(q.after, "settle", nil); return errCut }
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(2 * time.Second)
		b.wantStatuses(map[string]int{"completed": 3})
		if n := b.q.count("settle"); n != 2 {
			b.Errorf("%d settles, want the lost one and one more", n)
		}
		if running, unsettled := b.w.ledger.load(); running+unsettled != 0 {
			b.Errorf("the worker still holds %d running and %d unsettled", running, unsettled)
		}
	})
}

// What the handler passed its token to may complete the run and then fail to say so: the handler's error is no news then.
func TestRunThatSomebodyElseCompletedCountsAsCompleted(t *testing.T) {
	q := newFakeQueue(t, 1)
	failing := func(_ context.Context, c *jobs.Claim) (json.RawMessage, error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.runs[c.RunID].settled, q.runs[c.RunID].status = c.Token, "completed"
		return nil, errCut
	}
	inBubble(t, q, failing, func(b *bubble) {
		b.at(time.Second)
		b.wantStatuses(map[string]int{"completed": 1})
		if total, _ := b.w.heart.tally.now(); total.completed != 1 || total.failed != 0 {
			b.Errorf("the worker counts %d completed and %d failed runs, want the one as completed", total.completed, total.failed)
		}
	})
}

// S6: a run is held until its settle is confirmed, so a reconcile meanwhile leaves it alone.
func TestReconcileLeavesUnconfirmedResultsAlone(t *testing.T) {
	q := newFakeQueue(t, 1)
	q.before["settle"] = func(context.Context) error { return errCut }
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(time.Second)
		b.w.claimer.reconcileSoon()
		b.at(3 * time.Second)
		if n := b.q.count("reconcile"); n != 1 {
			b.Fatalf("%d reconciles, want 1", n)
		}
		b.q.hook(b.q.before, "settle", nil)
		b.at(8 * time.Second)
		if r := b.q.run(1); r.status != "completed" || r.token != 1 {
			b.Errorf("the run is %s after %d claims, want completed by its first", r.status, r.token)
		}
	})
}

// ownError is an error as handlers define them, which cannot be read through a nil pointer.
type ownError struct{ text string }

func (e *ownError) Error() string { return e.text }

func TestFailuresOfHandlersAreContainedW13(t *testing.T) {
	tests := map[string]jobs.HandlerFunc{
		"a panic":              func(context.Context, *jobs.Claim) (json.RawMessage, error) { panic("boom") },
		"a nil dereference":    func(context.Context, *jobs.Claim) (json.RawMessage, error) { var c *jobs.Claim; return c.Input, nil },
		"an ended goroutine":   func(context.Context, *jobs.Claim) (json.RawMessage, error) { runtime.Goexit(); return nil, nil },
		"a permanent error":    func(context.Context, *jobs.Claim) (json.RawMessage, error) { return nil, jobs.Permanent("bad", errCut) },
		"a nil error inside":   func(context.Context, *jobs.Claim) (json.RawMessage, error) { return nil, jobs.Permanent("bad", nil) },
		"a nil in an error":    func(context.Context, *jobs.Claim) (json.RawMessage, error) { var e *ownError; return nil, e },
		"its own cancellation": func(context.Context, *jobs.Claim) (json.RawMessage, error) { return nil, context.Canceled },
	}
	for name, handler := range tests {
		t.Run(name, func(t *testing.T) {
			once := Registration{Handler: handler, Config: jobs.TypeConfig{Retry: jobs.RetryPolicy{MaxAttempts: 1}}}
			inBubble(t, newFakeQueue(t, 2), handler, func(b *bubble) {
				b.at(time.Second)
				b.wantStatuses(map[string]int{"failed": 2})
			}, func(c *Config) { c.Types["test"] = once })
		})
	}
}

func TestCancelRequestReachesTheHandlerWithTheNextBeat(t *testing.T) {
	h := &blocking{}
	inBubble(t, newFakeQueue(t, 2), h.handle, func(b *bubble) {
		b.at(time.Second)
		b.q.mu.Lock()
		b.q.cancels = []jobs.CancelNotice{{RunID: 2, Token: 1, CancelRequested: jobs.CancelRequested{By: "ann", Reason: "wrong"}}}
		b.q.mu.Unlock()
		b.at(21 * time.Second)
		causes := h.ended()
		if len(causes) != 1 {
			b.Fatalf("%d handlers ended, want the one that was asked to", len(causes))
		}
		if request, ok := errors.AsType[*jobs.CancelRequested](causes[0]); !ok || request.By != "ann" {
			b.Errorf("the cause is %v, want ann's request", causes[0])
		}
		b.wantStatuses(map[string]int{"cancelled": 1, "running": 1})
	})
}

func TestDeadlineEndsTheContextWithItsCause(t *testing.T) {
	h := &blocking{}
	inBubble(t, newFakeQueue(t, 1), h.handle, func(b *bubble) {
		claim := &jobs.Claim{RunID: 2, Token: 1, Worker: 1, Type: "test", Deadline: time.Now().Add(5 * time.Second)}
		b.q.mu.Lock()
		b.q.runs[2] = &fakeRun{status: "running", worker: 1, token: 1}
		b.q.mu.Unlock()
		b.at(time.Second)
		b.hand(claim)
		b.at(5 * time.Second)
		if causes := h.ended(); len(causes) != 1 || !errors.Is(causes[0], jobs.ErrDeadline) {
			b.Errorf("contexts ended with %v, want one with ErrDeadline", causes)
		}
		if r := b.q.run(2); r.status != "timed_out" {
			b.Errorf("the run is %s, want timed_out", r.status)
		}
	})
}

func TestTuningIsAppliedWhileRunning(t *testing.T) {
	h := &blocking{}
	q := newFakeQueue(t, 20)
	q.tuning.Concurrency = 2
	inBubble(t, q, h.handle, func(b *bubble) {
		b.at(time.Second)
		b.wantStatuses(map[string]int{"pending": 18, "running": 2})
		b.q.tune(func(p *spec.Pool) { p.Concurrency = 5 })
		b.w.heart.poke.set() // what a notification does
		b.at(time.Second + time.Millisecond)
		b.wantStatuses(map[string]int{"pending": 15, "running": 5})
		if last := b.q.params[len(b.q.params)-1]; last.TuningGeneration != 2 {
			b.Errorf("the last beat reports generation %d, want 2 at once", last.TuningGeneration)
		}
		b.q.tune(func(p *spec.Pool) { p.Concurrency = 20; p.Hold = true })
		b.at(45 * time.Second)
		b.wantStatuses(map[string]int{"pending": 15, "running": 5})
		b.q.tune(func(p *spec.Pool) { p.Hold = false })
		b.at(65 * time.Second)
		b.wantStatuses(map[string]int{"running": 20})
	})
}

// S4: a shorter lease lowers the deadline before the beat that asks for it is sent.
func TestShorterLeaseCountsBeforeItIsAskedFor(t *testing.T) {
	h := &blocking{}
	inBubble(t, newFakeQueue(t, 1), h.handle, func(b *bubble) {
		b.at(10 * time.Second)
		b.q.tune(func(p *spec.Pool) { p.LeaseMillis, p.HeartbeatMillis = 9_000, 3_000 })
		beats := 0
		b.q.hook(b.q.before, "beat", func(context.Context) error {
			if beats++; beats > 1 {
				return errCut // the beats that ask for nine seconds are lost
			}
			return nil
		})
		b.w.heart.poke.set()
		b.at(18*time.Second - time.Millisecond)
		if n := len(h.ended()); n != 0 {
			b.Fatal("the handler was cancelled before the shorter deadline")
		}
		b.at(18 * time.Second)
		if n := len(h.ended()); n != 1 {
			b.Error("the handler runs on past a lease that was asked for at 10 s for 9 s, less the margin of 1 s")
		}
	})
}

func TestSweepsOnlyAfterUnbrokenContact(t *testing.T) {
	q := newFakeQueue(t, 0)
	q.longest = 40 * time.Second
	inBubble(t, q, succeed, func(b *bubble) {
		b.at(39 * time.Second)
		if n := b.q.count("sweep"); n != 0 {
			b.Fatalf("%d sweeps before the longest heartbeat period of the database has passed", n)
		}
		b.at(60 * time.Second)
		if n := b.q.count("sweep"); n == 0 {
			b.Fatal("no sweep after unbroken contact")
		}
		b.q.hook(b.q.before, "beat", func(context.Context) error { return errCut })
		b.at(85 * time.Second)
		b.q.hook(b.q.before, "beat", nil)
		b.at(86 * time.Second)
		n := b.q.count("sweep")
		b.at(120 * time.Second)
		if got := b.q.count("sweep"); got != n {
			b.Errorf("%d sweeps within 35 s after an outage, want none before others had time to renew", got-n)
		}
	})
}

func TestTasksRunOnTheirCadenceAndFailuresDoNotEndThemW54(t *testing.T) {
	calls := 0
	task := Task{Name: "tick", Every: 10 * time.Second, Timeout: time.Second, Run: func(context.Context) error { calls++; return errCut }}
	inBubble(t, newFakeQueue(t, 0), succeed, func(b *bubble) {
		b.at(45 * time.Second)
		if calls < 4 || calls > 6 {
			b.Errorf("the task ran %d times in 45 s, want about every 10 s", calls)
		}
	}, func(c *Config) { c.Tasks = []Task{task} })
}
