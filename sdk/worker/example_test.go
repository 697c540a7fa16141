package worker_test

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/sdk/job"
	"github.com/syncline-dev/syncline/sdk/worker"
)

type Order struct{ Cents int }

type Invoice struct{ Number int64 }

func invoice(ctx context.Context, run *job.Run, order Order) (Invoice, error) {
	// The row and the step's result are one transaction: exactly once, whatever is killed and retried.
	number, err := job.StepTx(ctx, run, "write", func(ctx context.Context, tx pgx.Tx) (n int64, err error) {
		return n, tx.QueryRow(ctx, `INSERT INTO invoice (run, cents) VALUES ($1, $2) RETURNING number`, run.ID, order.Cents).Scan(&n)
	})
	return Invoice{Number: number}, err
}

func main() { worker.Main(job.Handle("invoice", invoice)) }

// The whole program of a worker: build it, and start it with --pool and --database-uri-file, or let a JobPool do so.
func Example() { main() }
