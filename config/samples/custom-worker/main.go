// A worker of one's own: it serves everything that the standard worker serves, and the job type invoice.
//
// Build it as any Go program, put it into an image (Dockerfile), and name that image in a JobPool (jobpool.yaml). Flags and
// environment are the standard worker's; the operator sets them.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/sdk/job"
	"github.com/syncline-dev/syncline/sdk/worker"
)

// Order is the input of an invoice.
type Order struct {
	Customer string `json:"customer"`
	Cents    int64  `json:"cents"`
}

// Invoice is its output.
type Invoice struct {
	Number int64     `json:"number"`
	Sent   time.Time `json:"sent"`
}

func main() {
	worker.Main(job.Handle("invoice", invoice, job.Retry(job.RetryPolicy{MaxAttempts: 10}), job.Timeout(time.Minute)))
}

// invoice may be executed more than once, after a crash or a retry. Each of its steps has one result all the same.
func invoice(ctx context.Context, run *job.Run, order Order) (Invoice, error) {
	if order.Customer == "" || order.Cents <= 0 {
		return Invoice{}, job.Permanent("invalid_order", errors.New("an order needs a customer and more than 0 cents"))
	}
	// The row and the step's result are one transaction: exactly once.
	number, err := job.StepTx(ctx, run, "write", func(ctx context.Context, tx pgx.Tx) (number int64, err error) {
		return number, tx.QueryRow(ctx, `INSERT INTO public.invoice (run, customer, cents) VALUES ($1, $2, $3) RETURNING number`,
			run.ID, order.Customer, order.Cents).Scan(&number)
	})
	if err != nil {
		return Invoice{}, err
	}
	// An effect outside the database may repeat; the run's id is there for whoever receives it to recognise a repetition.
	sent, err := job.Step(ctx, run, "send", func(ctx context.Context) (time.Time, error) {
		return send(ctx, fmt.Sprintf("invoice-%d", run.ID))
	})
	return Invoice{Number: number, Sent: sent}, err
}

// send stands for a mail service.
func send(ctx context.Context, _ string) (time.Time, error) {
	return time.Now(), ctx.Err()
}
