package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/sdk/job"
)

// A handler, a program that serves it, and one that starts a run of it.
func Example() {
	type person struct{ Name string }
	greet := job.Handle("greet", func(_ context.Context, _ *job.Run, in person) (string, error) {
		if in.Name == "" {
			return "", job.Permanent("no_name", errors.New("nobody to greet"))
		}
		return "hello " + in.Name, nil
	}, job.Retry(job.RetryPolicy{MaxAttempts: 3}), job.Timeout(time.Minute))

	// In a program of its own this is: func main() { worker.Main(greet) }
	uri := serve(greet)

	ctx := context.Background()
	client, err := job.Open(ctx, uri, job.DefaultSchema, 2)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for _, input := range []string{`{"Name": "Ann"}`, `{}`} {
		started, err := client.Start(ctx, job.StartParams{Type: "greet", Pool: "batch", Input: json.RawMessage(input)})
		if err != nil {
			panic(err)
		}
		run := ended(client, started.RunID)
		fmt.Println(run.Status, string(run.Output)+run.Error)
	}
	// Output:
	// completed "hello Ann"
	// failed nobody to greet
}

// The row and the result of the step are one transaction: although the handler fails afterwards and is executed again, there
// is one invoice.
func ExampleStepTx() {
	type order struct{ Cents int }
	uri := serve(job.Handle("invoice", func(ctx context.Context, run *job.Run, in order) (int64, error) {
		number, err := job.StepTx(ctx, run, "write", func(ctx context.Context, tx pgx.Tx) (n int64, err error) {
			return n, tx.QueryRow(ctx, `INSERT INTO invoice (cents) VALUES ($1) RETURNING number`, in.Cents).Scan(&n)
		})
		if err == nil && run.Attempt == 1 {
			err = errors.New("the printer is out of paper")
		}
		return number, err
	}, job.Retry(job.RetryPolicy{Base: time.Millisecond})))

	ctx := context.Background()
	db := connect(uri)
	defer db.Close()
	if _, err := db.Exec(ctx, `CREATE TABLE invoice (number bigint GENERATED ALWAYS AS IDENTITY, cents int)`); err != nil {
		panic(err)
	}
	client, err := job.Open(ctx, uri, job.DefaultSchema, 2)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	started, err := client.Start(ctx, job.StartParams{Type: "invoice", Pool: "batch", Input: json.RawMessage(`{"Cents": 1200}`)})
	if err != nil {
		panic(err)
	}
	run := ended(client, started.RunID)
	var invoices int
	if err := db.QueryRow(ctx, `SELECT count(*) FROM invoice`).Scan(&invoices); err != nil {
		panic(err)
	}
	fmt.Println(run.Status, "after", run.Attempts, "attempts, with", invoices, "invoice")
	// Output: completed after 2 attempts, with 1 invoice
}

// A run waits for people without a worker's slot: its handler is executed again from the start when the signal has come, and
// gets what its steps have stored.
func ExampleWaitSignal() {
	type decision struct{ By string }
	uri := serve(job.Handle("refund", func(ctx context.Context, run *job.Run, _ struct{}) (string, error) {
		amount, err := job.Step(ctx, run, "amount", func(context.Context) (string, error) { return "12 EUR", nil })
		if err != nil {
			return "", err
		}
		approved, err := job.WaitSignal[decision](ctx, run, "approval", 24*time.Hour)
		if errors.Is(err, job.ErrWaitTimeout) {
			return "nobody cared", nil
		}
		if err != nil {
			return "", err // this is also how the handler ends to wait
		}
		return amount + " approved by " + approved.By, nil
	}))

	ctx := context.Background()
	client, err := job.Open(ctx, uri, job.DefaultSchema, 2)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	started, err := client.Start(ctx, job.StartParams{Type: "refund", Pool: "batch"})
	if err != nil {
		panic(err)
	}
	// A signal that comes before its wait counts too.
	answer, err := client.Signal(ctx, job.SignalParams{Run: started.RunID, Name: "approval", Payload: json.RawMessage(`{"By": "Bo"}`)})
	if err != nil {
		panic(err)
	}
	run := ended(client, started.RunID)
	fmt.Println(answer, run.Status, string(run.Output))
	// Output: accepted completed "12 EUR approved by Bo"
}

// A run spawns children and waits for them. The key of a child makes spawning it again harmless.
func ExampleRun_Spawn() {
	type part struct{ N int }
	uri := serve(
		job.Handle("square", func(_ context.Context, _ *job.Run, in part) (int, error) { return in.N * in.N, nil }),
		job.Handle("squares", func(ctx context.Context, run *job.Run, in part) (sum int, err error) {
			for n := range in.N {
				input, _ := json.Marshal(part{N: n})
				if _, err := run.Spawn(ctx, fmt.Sprint("square of ", n), job.StartParams{Type: "square", Input: input}); err != nil {
					return 0, err
				}
			}
			children, err := job.Await(ctx, run, "all squares")
			for _, c := range children {
				var square int
				if err := json.Unmarshal(c.Output, &square); err != nil {
					return 0, err
				}
				sum += square
			}
			return sum, err
		}))

	ctx := context.Background()
	client, err := job.Open(ctx, uri, job.DefaultSchema, 2)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	started, err := client.Start(ctx, job.StartParams{Type: "squares", Pool: "batch", Input: json.RawMessage(`{"N": 4}`)})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(ended(client, started.RunID).Output))
	// Output: 14
}

// A run that is started in a transaction exists if and only if the transaction commits.
func ExampleOver() {
	uri := serve()
	ctx := context.Background()
	db := connect(uri)
	defer db.Close()
	for _, regret := range []error{errors.New("changed my mind"), nil} {
		err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			_, err := job.Over(tx, job.DefaultSchema).Start(ctx, job.StartParams{Type: "greet", Pool: "batch"})
			return errors.Join(err, regret)
		})
		var runs int
		if err := db.QueryRow(ctx, `SELECT count(*) FROM syncline.run`).Scan(&runs); err != nil {
			panic(err)
		}
		fmt.Println(err, runs)
	}
	// Output:
	// changed my mind 0
	// <nil> 1
}
