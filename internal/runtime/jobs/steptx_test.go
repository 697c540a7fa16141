package jobs_test

import (
	"context"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/test/kill/proxy"
)

// effect is the work of a transactional step: a row.
func effect(ctx context.Context, tx pgx.Tx) (int64, error) {
	tag, err := tx.Exec(ctx, `INSERT INTO effects DEFAULT VALUES`)
	return tag.RowsAffected(), err
}

func (q *queue) effects() int {
	q.t.Helper()
	return one[int](q, `SELECT count(*)::int FROM effects`)
}

func newEffects(t *testing.T) *queue {
	t.Helper()
	q := newQueue(t)
	q.exec(`CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY)`)
	return q
}

func TestEffectAndMemoCommitTogetherW64(t *testing.T) {
	t.Parallel()
	q := newEffects(t)
	inc, run := q.register(), q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	for name, fn := range map[string]func(context.Context, pgx.Tx) (int64, error){
		"fails": func(ctx context.Context, tx pgx.Tx) (int64, error) {
			_, _ = effect(ctx, tx)
			return 0, errBoom
		},
		"commits by itself": func(ctx context.Context, tx pgx.Tx) (int64, error) {
			_, _ = effect(ctx, tx)
			return 0, tx.Commit(ctx)
		},
	} {
		if _, err := jobs.StepTx(t.Context(), c, name, fn); err == nil || q.effects() != 0 {
			t.Fatalf("%s: error %v, %d effects, want an error and none", name, err, q.effects())
		}
	}
	for range 3 {
		n, err := jobs.StepTx(t.Context(), c, "charge", effect)
		if err != nil || n != 1 || q.effects() != 1 || q.stepRow(run, "charge") != "completed 1 after 1: " {
			t.Fatalf("result %d, error %v, %d effects, step %q; want one of each", n, err, q.effects(), q.stepRow(run, "charge"))
		}
		c = q.again(inc, c)
	}
}

// The zombie's transaction began while it held the run and reaches its end after the successor has it.
func TestALostClaimsTransactionIsRolledBackW64(t *testing.T) {
	t.Parallel()
	q := newEffects(t)
	a, b := q.register(), q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(a)
	var successor *jobs.Claim
	_, err := jobs.StepTx(t.Context(), c, "charge", func(ctx context.Context, tx pgx.Tx) (int64, error) {
		q.expire(a)
		q.sweep() // waits for nothing that the step holds
		successor = q.claimOne(b)
		return effect(ctx, tx)
	})
	mustIs(t, err, jobs.ErrLeaseLost, "the zombie's step")
	if q.effects() != 0 {
		t.Fatal("the zombie's effect is there")
	}
	if _, err := jobs.StepTx(t.Context(), successor, "charge", effect); err != nil || q.effects() != 1 {
		t.Errorf("the successor's step: %v, %d effects, want 1", err, q.effects())
	}
}

// proxied replaces the connections of steps by ones through a proxy.
func (q *queue) proxied() *proxy.Proxy {
	q.t.Helper()
	u, err := url.Parse(q.uri)
	if err != nil {
		q.t.Fatal(err)
	}
	p, err := proxy.Listen(u.Host)
	if err != nil {
		q.t.Fatal(err)
	}
	u.Host = "127.0.0.1:" + strconv.Itoa(p.Port())
	db, err := schema.Connect(q.t.Context(), func() (string, error) { return u.String(), nil }, "syncline", 10)
	if err != nil {
		q.t.Fatal(err)
	}
	q.t.Cleanup(func() { db.Close(); _ = p.Close() })
	q.store.LendTo(db, nil)
	return p
}

// Whatever reply is lost on the way, the effect is there once and the step has its result.
func TestALostReplyNeitherRepeatsNorLosesAnEffectW64(t *testing.T) {
	t.Parallel()
	again := []jobs.StepOption{jobs.StepRetry(jobs.RetryPolicy{Base: time.Millisecond})}
	for name, test := range map[string]struct {
		statement string
		opts      []jobs.StepOption
	}{
		"begin":               {"begin", again},
		"memo":                {"step_end", again},
		"commit":              {"commit", again},
		"commit, tried once":  {"commit", nil},
		"note of the attempt": {"step_begin", again},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newEffects(t)
			p := q.proxied()
			run := q.start(jobs.StartParams{})
			c := q.claimOne(q.register())
			lost := p.Arm(test.statement, proxy.LoseReply)
			n, err := jobs.StepTx(t.Context(), c, "charge", effect, test.opts...)
			<-lost.Hit()
			if err != nil || n != 1 || q.effects() != 1 {
				t.Errorf("result %d, error %v, %d effects, step %q; want one effect and no error", n, err, q.effects(), q.stepRow(run, "charge"))
			}
		})
	}
}

// A connection that falls silent at the transaction's begin is given up long before the handler is: its next execution has
// another one.
func TestASilentBeginIsGivenUpW64(t *testing.T) {
	t.Parallel()
	q := newEffects(t)
	p := q.proxied()
	inc := q.register()
	q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	held := p.Arm("begin", proxy.HoldRequest)
	ctx, end := context.WithTimeout(t.Context(), time.Minute)
	defer end()
	_, err := jobs.StepTx(ctx, c, "charge", effect)
	<-held.Hit()
	held.Release()
	if err == nil || ctx.Err() != nil || q.effects() != 0 {
		t.Fatalf("error %v, %v, %d effects; want an error while the handler goes on", err, ctx.Err(), q.effects())
	}
	if n, err := jobs.StepTx(ctx, q.again(inc, c), "charge", effect); err != nil || n != 1 || q.effects() != 1 {
		t.Errorf("result %d, error %v, %d effects; want one effect and no error", n, err, q.effects())
	}
}

// A commit that is still on its way holds the run's row: the step waits for it and does not guess.
func TestACommitInDoubtIsWaitedOutW64(t *testing.T) {
	t.Parallel()
	q := newEffects(t)
	p := q.proxied()
	q.start(jobs.StartParams{})
	c := q.claimOne(q.register())
	held := p.Arm("commit", proxy.HoldRequest)
	ctx, cut := context.WithCancelCause(t.Context())
	done := background(func() error {
		_, err := jobs.StepTx(ctx, c, "charge", effect)
		return err
	})
	<-held.Hit()
	cut(jobs.ErrDraining) // the commit is given up; its connection is not closed at the server
	q.awaitWaiter()       // step_find waits for the run's row
	held.Release()
	if err := <-done; err != nil || q.effects() != 1 {
		t.Errorf("error %v, %d effects; want the committed step's result", err, q.effects())
	}
}

// A memo whose reply is lost is written again, not executed again.
func TestALostReplyToAMemoIsAskedAgain(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]jobs.StepOption{nil, {jobs.StepRetry(jobs.RetryPolicy{})}} {
		q := newEffects(t)
		p := q.proxied()
		run := q.start(jobs.StartParams{})
		c := q.claimOne(q.register())
		lost := p.Arm("step_end", proxy.LoseReply)
		calls := 0
		_, err := jobs.Step(t.Context(), c, "charge", func(context.Context) (int, error) { calls++; return 1, nil }, opts...)
		<-lost.Hit()
		if err != nil || calls != 1 || q.stepRow(run, "charge") != "completed 1 after 1: " {
			t.Errorf("%d executions, error %v, step %q; want one", calls, err, q.stepRow(run, "charge"))
		}
	}
}
