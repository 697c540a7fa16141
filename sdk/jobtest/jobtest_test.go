package jobtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/syncline-dev/syncline/internal/pgtest"
	"github.com/syncline-dev/syncline/internal/runtime/schema/schematest"
	"github.com/syncline-dev/syncline/sdk/job"
	"github.com/syncline-dev/syncline/sdk/jobtest"
)

func TestMain(m *testing.M) { pgtest.Main(m, goleak.IgnoreCurrent()) }

type person struct{ Name string }

type greeting struct {
	Text string
	At   time.Time
}

func greet(_ context.Context, r *job.Run, in person) (greeting, error) {
	if in.Name == "" {
		return greeting{}, job.Permanent("no_name", errors.New("nobody to greet"))
	}
	return greeting{Text: fmt.Sprintf("hello %s, attempt %d", in.Name, r.Attempt)}, nil
}

// databaseURI gives each test a database.
func databaseURI(t *testing.T) string { return schematest.NewDB(t).URI }

func TestGreet(t *testing.T) {
	b := jobtest.New(t, databaseURI(t), job.Handle("greet", greet))
	got, err := jobtest.Output[greeting](b.Do("greet", person{Name: "Ann"}))
	if err != nil || got.Text != "hello Ann, attempt 1" {
		t.Errorf("the output is %+v, %v", got, err)
	}
}

func TestThePackageShowsATestThatRuns(t *testing.T) {
	t.Parallel()
	var sources [2]string
	for i, file := range []string{"jobtest.go", "jobtest_test.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources[i] = string(text)
	}
	var shown strings.Builder
	for line := range strings.Lines(sources[0]) {
		if code, ok := strings.CutPrefix(line, "//\t"); ok {
			shown.WriteString(code)
		}
	}
	if shown.Len() == 0 || !strings.Contains(sources[1], shown.String()) {
		t.Errorf("the package's comment shows a test that is none here:\n%s", shown.String())
	}
}

// A bench takes what a worker takes.
func TestTypesThatCannotBeServedAreRefused(t *testing.T) {
	t.Parallel()
	uri := databaseURI(t)
	spy := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		jobtest.New(spy, uri, job.Handle("greet", greet), job.Handle("greet", greet))
	}()
	<-done
	if !strings.Contains(spy.said, `"greet" is registered twice`) {
		t.Errorf("a bench with two types of one name says %q", spy.said)
	}
}

// failing is a test that is meant to fail: it remembers why, and ends its goroutine as a test does.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestTypedHandlersGiveTypedOutputs(t *testing.T) {
	t.Parallel()
	b := jobtest.New(t, schematest.NewDB(t).URI, job.Handle("greet", greet))
	got, err := jobtest.Output[greeting](b.Do("greet", person{Name: "Ann"}))
	if err != nil || got.Text != "hello Ann, attempt 1" {
		t.Errorf("the output is %+v, %v", got, err)
	}
	failed := b.Do("greet", person{})
	if failed.Status != "failed" || failed.ErrorCode != "no_name" || failed.Error != "nobody to greet" || failed.Attempts != 1 {
		t.Errorf("a permanent error ends the run as %s %s: %s after %d attempts", failed.Status, failed.ErrorCode, failed.Error, failed.Attempts)
	}
	wrong := b.Do("greet", []int{1})
	if wrong.Status != "failed" || wrong.ErrorCode != "invalid_input" || wrong.Attempts != 1 {
		t.Errorf("an input of another type ends the run as %s %s: %s", wrong.Status, wrong.ErrorCode, wrong.Error)
	}
}

// The steps of a run that fails and is retried are executed once, and give the same result each time.
func TestStepsAreExecutedOnce(t *testing.T) {
	t.Parallel()
	db := schematest.NewDB(t)
	if _, err := db.Pool.Exec(t.Context(), "CREATE TABLE effect (run bigint, at timestamptz)"); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	var dates []time.Time
	b := jobtest.New(t, db.URI, job.Handle("charge", func(ctx context.Context, r *job.Run, _ struct{}) (time.Time, error) {
		at, err := job.Step(ctx, r, "now", func(context.Context) (time.Time, error) {
			calls.Add(1)
			return time.Now(), nil
		})
		if err != nil {
			return at, err
		}
		dates = append(dates, at)
		_, err = job.StepTx(ctx, r, "effect", func(ctx context.Context, tx pgx.Tx) (bool, error) {
			_, err := tx.Exec(ctx, "INSERT INTO effect (run, at) VALUES ($1, $2)", r.ID, at)
			return true, err
		})
		if err == nil && r.Attempt < 3 {
			err = errors.New("the last mile is long")
		}
		return at, err
	}, job.Retry(job.RetryPolicy{Base: time.Millisecond})))
	d := b.Do("charge", struct{}{})
	if d.Status != "completed" || d.Attempts != 3 || calls.Load() != 1 {
		t.Fatalf("the run is %s after %d attempts, its step was called %d times: %s", d.Status, d.Attempts, calls.Load(), d.Error)
	}
	if len(dates) != 3 || !dates[0].Equal(dates[2]) || dates[0].String() != dates[2].String() {
		t.Errorf("the step gave %v, want one date", dates)
	}
	var effects int
	if err := db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM effect").Scan(&effects); err != nil || effects != 1 {
		t.Errorf("%d effects, %v, want one", effects, err)
	}
	var names []string
	for _, s := range b.Steps(d.ID) {
		names = append(names, fmt.Sprintf("%d %s %s", s.Seq, s.Name, s.Status))
	}
	if want := []string{"1 now completed", "2 effect completed"}; !slices.Equal(names, want) {
		t.Errorf("steps are %v, want %v", names, want)
	}
}

// A handler completes its run in its own transaction, on a connection of its own with a search path of its own.
func TestCompleteCommitsTheHandlersWritesWithTheRun(t *testing.T) {
	t.Parallel()
	db := schematest.NewDB(t)
	if _, err := db.Pool.Exec(t.Context(), "CREATE TABLE effect (run bigint)"); err != nil {
		t.Fatal(err)
	}
	b := jobtest.New(t, db.URI, job.Handle("own", func(ctx context.Context, r *job.Run, _ struct{}) (any, error) {
		return nil, pgx.BeginFunc(ctx, db.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO effect VALUES ($1)", r.ID); err != nil {
				return err
			}
			return r.Complete(ctx, tx, map[string]int{"n": 7})
		})
	}), job.Handle("lent", func(ctx context.Context, r *job.Run, _ struct{}) (any, error) {
		return nil, r.Tx(ctx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO effect VALUES ($1)", r.ID); err != nil {
				return err
			}
			return r.Complete(ctx, tx, "done")
		})
	}))
	for _, name := range []string{"own", "lent"} {
		d := b.Do(name, struct{}{})
		var effects int
		if err := db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM effect WHERE run = $1", d.ID).Scan(&effects); err != nil {
			t.Fatal(err)
		}
		if d.Status != "completed" || effects != 1 || len(d.Output) == 0 || d.Attempts != 1 {
			t.Errorf("%s: the run is %s %s with %d effects after %d attempts: %s", name, d.Status, d.Output, effects, d.Attempts, d.Error)
		}
	}
}

// A run waits for a signal, spawns children and waits for them, without a slot.
func TestRunsWaitForSignalsAndChildren(t *testing.T) {
	t.Parallel()
	b := jobtest.New(t, schematest.NewDB(t).URI,
		job.Handle("parent", func(ctx context.Context, r *job.Run, _ struct{}) (int, error) {
			who, err := job.WaitSignal[person](ctx, r, "go", 0)
			if err != nil {
				return 0, err
			}
			for i := range 3 {
				input := fmt.Appendf(nil, `{"Name": %q}`, who.Name)
				if _, err := r.Spawn(ctx, fmt.Sprint("child ", i), job.StartParams{Type: "greet", Input: input}); err != nil {
					return 0, err
				}
			}
			if err := job.Sleep(ctx, r, "a moment", 10*time.Millisecond); err != nil {
				return 0, err
			}
			children, err := job.Await(ctx, r, "children")
			return len(children), err
		}),
		job.Handle("greet", greet))
	id := b.Begin("parent", struct{}{})
	b.Until(id, func(d job.Detail) bool { return d.WaitsFor == "go" })
	if a, err := b.Signal(t.Context(), job.SignalParams{Run: id, Name: "go", Payload: []byte(`{"Name": "Bo"}`)}); err != nil || a != "accepted" {
		t.Fatalf("the signal is %s, %v", a, err)
	}
	n, err := jobtest.Output[int](b.Wait(id))
	if err != nil || n != 3 {
		t.Errorf("the parent saw %d children end, %v, want 3", n, err)
	}
}

// Cancel reaches a running handler, which learns who asked and why.
func TestCancelReachesTheHandlerWithItsReasonW19(t *testing.T) {
	t.Parallel()
	var by, reason atomic.Value
	started := make(chan int64, 1)
	b := jobtest.New(t, schematest.NewDB(t).URI, job.Handle("long", func(ctx context.Context, r *job.Run, _ struct{}) (any, error) {
		started <- r.ID
		<-ctx.Done()
		who, why, _ := job.CancelledBy(ctx)
		by.Store(who)
		reason.Store(why)
		return nil, ctx.Err()
	}))
	id := b.Begin("long", struct{}{})
	<-started
	if _, err := b.Cancel(t.Context(), job.CancelParams{Run: id, By: "ops", Reason: "too long"}); err != nil {
		t.Fatal(err)
	}
	d := b.Wait(id)
	if d.Status != "cancelled" || by.Load() != "ops" || reason.Load() != "too long" {
		t.Errorf("the run is %s: %s; its handler heard %v, %v", d.Status, d.Error, by.Load(), reason.Load())
	}
}
