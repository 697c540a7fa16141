package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// invoicing is the pool of config/samples/custom-worker; orders is how many runs of its own job type are started.
const (
	invoicing = "invoicing"
	orders    = 200
)

// customWorker runs jobs of a user's own program: the sample of config/samples/custom-worker in an image of its own, started
// from SQL, each with one effect in the database.
func (s *Story) customWorker(ctx context.Context) error {
	folder := filepath.Join(s.env.Root, "config", "samples", "custom-worker")
	table, err := os.ReadFile(filepath.Join(folder, "schema.sql"))
	if err != nil {
		return fmt.Errorf("read the sample's table: %w", err)
	}
	if _, err := s.db.Exec(ctx, string(table)); err != nil {
		return fmt.Errorf("create the sample's table: %w", err)
	}
	if err := s.kubectl(ctx, "apply", "--namespace", namespace, "-f", filepath.Join(folder, "jobpool.yaml")); err != nil {
		return err
	}
	err = s.console.During("wait until the pool is Ready", func() error {
		_, err := s.env.Run(ctx, "kubectl", "wait", "--namespace", namespace, "--for=condition=Ready", "--timeout=90s", "jobpool/"+invoicing)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.query(ctx, `SELECT count(*) AS started FROM generate_series(1, 200) AS n
CROSS JOIN LATERAL syncline.start('invoice', jsonb_build_object('customer', 'c' || n % 7, 'cents', n),
  jsonb_build_object('pool', 'invoicing', 'lane', 'c' || n % 7))`); err != nil {
		return err
	}
	if err := s.console.During("wait until all have ended", func() error { return s.awaitInvoices(ctx) }); err != nil {
		return err
	}
	return s.holdInvoices(ctx)
}

func (s *Story) awaitInvoices(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 60*time.Second, errors.New("runs are left after 60 s"))
	defer cancel()
	return lab.Await(ctx, "the invoices", 200*time.Millisecond, func() (bool, error) {
		left, err := s.count(ctx, `SELECT count(*) FROM syncline.run WHERE job_type = 'invoice' AND status IN ('pending', 'running')`)
		return left == 0, err
	})
}

// holdInvoices wants every run completed, each with one row and both steps memoised.
func (s *Story) holdInvoices(ctx context.Context) error {
	for statement, want := range map[string]int64{
		`SELECT count(*) FROM syncline.run WHERE job_type = 'invoice' AND status = 'completed' AND attempts = 1`:                           orders,
		`SELECT count(*) FROM public.invoice i JOIN syncline.run r ON r.id = i.run AND (r.output ->> 'number')::bigint = i.number`:         orders,
		`SELECT count(*) FROM syncline.step s JOIN syncline.run r ON r.id = s.run WHERE r.job_type = 'invoice' AND s.status = 'completed'`: 2 * orders,
		`SELECT count(*) FROM syncline.lane_hold h JOIN syncline.run r ON r.id = h.run WHERE r.job_type = 'invoice'`:                       0,
	} {
		n, err := s.count(ctx, statement)
		if err != nil {
			return err
		}
		if n != want {
			return fmt.Errorf("%s gives %d, want %d", statement, n, want)
		}
	}
	return s.query(ctx, `SELECT r.pool, r.job_type, r.status, count(*) AS runs, count(DISTINCT r.lane_key) AS lanes, sum(i.cents) AS cents
FROM syncline.run r JOIN public.invoice i ON i.run = r.id GROUP BY 1, 2, 3`)
}
