package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	record "github.com/syncline-dev/syncline/test/model/history"
)

// seeds is the number of random histories; SEEDS asks for more.
func seeds(t *testing.T) uint64 {
	t.Helper()
	if text := os.Getenv("SEEDS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatalf("SEEDS: %v", err)
		}
		return n
	}
	return 4
}

// TestRandomHistories lets workers that crash, lose replies and come back as zombies, sweepers and callers loose on one
// queue, and checks all the time that the data are sound, and at the end that everything has ended, once.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	for seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			newHistory(t, seed).play()
		})
	}
}

const (
	historyRuns    = 150
	historyWorkers = 3
)

// history is one random run of the whole queue.
type history struct {
	*queue
	seed uint64
	ctx  context.Context // of the test: what an actor has begun when the others end, it finishes
	over atomic.Bool

	mu      sync.Mutex
	settled map[jobs.Held]int // settles of each claim that were answered done and completed the run
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{queue: newQueue(t), seed: seed, ctx: t.Context(), settled: map[jobs.Held]int{}}
	h.exec(`CREATE TABLE effect (run bigint, token bigint)`)
	h.fail("record the history", errors.Join(record.Install(t.Context(), h.db), record.Watch(t.Context(), h.db, "effect")))
	return h
}

func (h *history) play() {
	var actors sync.WaitGroup
	defer func() {
		h.over.Store(true)
		actors.Wait()
	}()
	for i := range historyWorkers {
		actors.Go(func() { (&player{history: h, rnd: h.random(i)}).work() })
	}
	actors.Go(h.sweeper)
	actors.Go(h.checker)
	var callers sync.WaitGroup
	for i := range 2 {
		callers.Go(func() { h.caller(h.random(100 + i)) })
	}
	callers.Wait()
	h.await("every run has ended", func() bool {
		return h.t.Failed() || one[bool](h.queue, `SELECT NOT EXISTS (SELECT FROM run WHERE status IN ('pending', 'running'))`)
	})
	h.over.Store(true)
	actors.Wait()
	h.verdict()
}

func (h *history) random(actor int) *rand.Rand { return rand.New(rand.NewPCG(h.seed, uint64(actor))) }

func (h *history) going() bool { return !h.over.Load() && !h.t.Failed() }

func (h *history) fail(what string, err error) {
	if err != nil {
		h.t.Errorf("seed %d: %s: %v", h.seed, what, err)
	}
}

func (h *history) sweeper() {
	for h.going() {
		_, err := h.store.Sweep(h.ctx)
		h.fail("sweep", err)
		_, _, err = h.store.Promote(h.ctx, pool)
		h.fail("promote", err)
	}
}

func (h *history) checker() {
	for h.going() {
		if p := h.problems(h.ctx, h.db); len(p) > 0 {
			h.t.Errorf("seed %d: the data are not sound: %v", h.seed, p)
		}
	}
}

// caller starts runs and cancels some, in transactions that stay open for a while and are not always committed.
func (h *history) caller(rnd *rand.Rand) {
	for range historyRuns / 10 {
		tx, err := h.db.Begin(h.ctx)
		if err != nil {
			h.fail("begin", err)
			return
		}
		for range 5 {
			_, err := jobs.Start(h.ctx, tx, h.params(rnd))
			h.fail("start", err)
		}
		if rnd.IntN(3) == 0 {
			_, err := jobs.Cancel(h.ctx, tx, jobs.CancelParams{Run: 1 + rnd.Int64N(historyRuns), By: "caller", Reason: "enough"})
			h.fail("cancel", err)
		}
		if rnd.IntN(8) == 0 {
			h.fail("rollback", tx.Rollback(h.ctx))
			continue
		}
		h.fail("commit", tx.Commit(h.ctx))
	}
}

func (h *history) params(rnd *rand.Rand) jobs.StartParams {
	p := jobs.StartParams{Type: jobType, Pool: pool, Priority: rnd.IntN(3)}
	if n := rnd.IntN(6); n < 4 {
		p.Lane, p.LaneLimit = fmt.Sprint("lane", n), 1+n/3
	}
	if rnd.IntN(5) == 0 {
		p.Delay = time.Duration(rnd.IntN(20)) * time.Millisecond
	}
	return p
}

// player is one worker process and the zombies it left behind.
type player struct {
	*history
	rnd     *rand.Rand
	script  func(*player, *jobs.Claim) jobs.Settlement // how its handlers end; nil is handle
	inc     *jobs.Incarnation
	held    []*jobs.Claim
	zombies []*player
}

func (p *player) work() {
	for p.going() {
		if p.inc == nil {
			inc, err := p.store.Register(p.ctx, jobs.WorkerInfo{Pool: pool, Types: []string{jobType}})
			if err != nil {
				p.fail("register", err)
				return
			}
			p.inc = inc
		}
		switch n := p.rnd.IntN(100); {
		case n < 50:
			p.claim()
		case n < 90:
			p.finish()
		case n < 93:
			p.crash()
		case n < 95:
			p.drain()
		default:
			p.haunt()
		}
	}
}

func (p *player) claim() {
	if len(p.held) > 12 {
		return
	}
	claims, _, err := p.store.Claim(p.ctx, p.inc, 1+p.rnd.IntN(6))
	if errors.Is(err, jobs.ErrLeaseLost) {
		p.inc, p.held = nil, nil
		return
	}
	p.fail("claim", err)
	if p.rnd.IntN(8) == 0 { // the reply is lost
		held := make([]jobs.Held, len(p.held))
		for i, c := range p.held {
			held[i] = jobs.Held{RunID: c.RunID, Token: c.Token}
		}
		_, err := p.store.Reconcile(p.ctx, p.inc, held)
		if !errors.Is(err, jobs.ErrLeaseLost) {
			p.fail("reconcile", err)
		}
		return
	}
	p.held = append(p.held, claims...)
}

// finish ends some of what is held, in one batch, now and then twice because the reply was lost.
func (p *player) finish() {
	if len(p.held) == 0 {
		return
	}
	n := 1 + p.rnd.IntN(len(p.held))
	batch := make([]jobs.Settlement, n)
	for i, c := range p.held[:n] {
		batch[i] = p.execute(c)
	}
	var keep []*jobs.Claim
	results := p.write(batch)
	if p.rnd.IntN(6) == 0 {
		p.write(batch)
	}
	for i, r := range results {
		if r == jobs.Busy {
			keep = append(keep, batch[i].Claim)
		}
	}
	p.held = append(keep, p.held[n:]...)
}

func (p *player) write(batch []jobs.Settlement) []jobs.SettleResult {
	results, err := p.store.Settle(p.ctx, p.inc, batch)
	p.fail("settle", err)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range results {
		if r == jobs.Done && batch[i].Outcome == jobs.Completed {
			p.settled[jobs.Held{RunID: batch[i].Claim.RunID, Token: batch[i].Claim.Token}]++
		}
	}
	return results
}

func (p *player) execute(c *jobs.Claim) jobs.Settlement {
	if p.script != nil {
		return p.script(p, c)
	}
	return p.handle(c)
}

// handle is a handler: it succeeds, fails in all ways, or completes its run in a transaction of its own.
func (p *player) handle(c *jobs.Claim) jobs.Settlement {
	delay := time.Duration(p.rnd.IntN(10)) * time.Millisecond
	switch n := p.rnd.IntN(100); {
	case n < 40:
		return completed(c)
	case n < 65:
		err := p.completeInTransaction(c, p.rnd.IntN(4) > 0)
		if errors.Is(err, jobs.ErrLeaseLost) {
			return jobs.Settlement{Claim: c, Outcome: jobs.GivenBack}
		}
		p.fail("complete", err)
		s := decide(c, nil)
		s.Delay = delay
		return s
	case n < 85:
		return jobs.Settlement{Claim: c, Outcome: jobs.Retried, Delay: delay, KeepLane: n%2 == 0}
	case n < 90:
		return jobs.Settlement{Claim: c, Outcome: jobs.Snoozed, Delay: delay, KeepLane: n%2 == 0}
	case n < 95:
		return jobs.Settlement{Claim: c, Outcome: jobs.GivenBack}
	}
	return jobs.Settlement{Claim: c, Outcome: jobs.Failed, Code: "bad"}
}

var errRollback = errors.New("roll back")

func (p *player) completeInTransaction(c *jobs.Claim, commits bool) error {
	err := pgx.BeginFunc(p.ctx, p.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(p.ctx, `INSERT INTO effect VALUES ($1, $2)`, c.RunID, c.Token); err != nil {
			return err
		}
		if err := jobs.Complete(p.ctx, tx, c, json.RawMessage(`{}`)); err != nil {
			return err
		}
		if !commits {
			return errRollback
		}
		return nil
	})
	if errors.Is(err, errRollback) {
		return nil
	}
	return err
}

// crash leaves everything behind; what was held may come back as a zombie.
func (p *player) crash() {
	_, err := p.db.Exec(p.ctx, `UPDATE worker SET expires_at = clock_timestamp() - interval '1 ms' WHERE id = $1`, p.inc.ID)
	p.fail("expire", err)
	p.zombies = append(p.zombies, &player{history: p.history, rnd: p.rnd, script: p.script, inc: p.inc, held: p.held})
	p.inc, p.held = nil, nil
}

// haunt lets a process that was frozen past its lease go on as if nothing had happened.
func (p *player) haunt() {
	if len(p.zombies) == 0 {
		return
	}
	p.zombies[0].finish()
	p.zombies = p.zombies[1:]
}

func (p *player) drain() {
	_, err := p.store.GiveBack(p.ctx, p.inc, p.held...)
	p.fail("give back", err)
	removed, err := p.store.Leave(p.ctx, p.inc)
	p.fail("leave", err)
	if !removed {
		_, err = p.db.Exec(p.ctx, `UPDATE worker SET expires_at = clock_timestamp() WHERE id = $1`, p.inc.ID)
		p.fail("expire", err)
	}
	p.inc, p.held = nil, nil
}

// verdict looks at the whole history once it has ended.
func (h *history) verdict() {
	if h.t.Failed() {
		return
	}
	// What the audit or a caller has touched last may need a second sweep.
	h.await("no receipts, holds, lanes or workers are left over", func() bool {
		h.exec(`UPDATE worker SET expires_at = clock_timestamp() - interval '1 ms'`)
		h.sweep()
		return one[bool](h.queue, `
SELECT NOT EXISTS (SELECT FROM receipt) AND NOT EXISTS (SELECT FROM lane_hold) AND NOT EXISTS (SELECT FROM lane) AND NOT EXISTS (SELECT FROM worker)`)
	})
	h.check()
	rows, err := h.db.Query(h.t.Context(), `SELECT r.id, r.settled_token, (SELECT count(*) FROM effect e WHERE e.run = r.id),
  (SELECT count(*) FROM effect e WHERE e.run = r.id AND e.token = r.settled_token) FROM run r WHERE status = 'completed'`)
	if err != nil {
		h.t.Fatal(err)
	}
	completed := 0
	var c jobs.Held
	var effects, own int
	if _, err = pgx.ForEachRow(rows, []any{&c.RunID, &c.Token, &effects, &own}, func() error {
		completed++
		if n := h.settled[c] + own; n != 1 || effects != own {
			h.t.Errorf("seed %d: run %d was completed %d times under its last token, with %d effects, %d of that token", h.seed, c.RunID, n, effects, own)
		}
		return nil
	}); err != nil {
		h.t.Fatal(err)
	}
	if len(h.settled)+one[int](h.queue, `SELECT count(*) FROM effect`) != completed {
		h.t.Errorf("seed %d: %d runs are completed, but %d claims were settled as completed and %d in transactions", h.seed, completed,
			len(h.settled), one[int](h.queue, `SELECT count(*) FROM effect`))
	}
	if completed == 0 {
		h.t.Errorf("seed %d: nothing was completed", h.seed)
	}
	h.protocol()
}

// protocol holds what the database recorded against the transition relation of the claim protocol.
func (h *history) protocol() {
	changes, err := record.Read(h.t.Context(), h.db, "effect")
	h.fail("read the history", err)
	events, err := record.Decode(changes)
	h.fail("decode the history", err)
	relation := record.NewRelation()
	for _, e := range events {
		if err := relation.Apply(e); err != nil {
			h.t.Fatalf("seed %d: the protocol does not allow this history: %v", h.seed, err)
		}
	}
	h.fail("end of the history", errors.Join(relation.Commit(), relation.Quiet()))
}
