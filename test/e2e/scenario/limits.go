package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// limits edits what else running workers apply: limits, fairness, stops and handlers. Each must be shown within two
// heartbeats and do what it says to the next runs, in the containers that are there.
func (s *Story) limits(ctx context.Context) error {
	return s.keepContainers(ctx, invoices, func() error {
		for _, part := range []func(context.Context) error{s.limitRunning, s.limitStarts, s.holdAndDrain, s.serveAnotherType} {
			if err := part(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// tuneInvoices patches the pool that has one worker.
func (s *Story) tuneInvoices(ctx context.Context, spec string) error {
	return s.tune(ctx, invoices, 1, "merge", `{"spec":`+spec+`}`)
}

// begin starts runs for the endpoint in one transaction, one for each tenant named, and returns the first.
func (s *Story) begin(ctx context.Context, jobType, input string, tenants ...string) (first int64, err error) {
	return s.count(ctx, `SELECT min(x.run) FROM unnest($3::text[]) WITH ORDINALITY AS t (tenant, n)
CROSS JOIN LATERAL syncline.start($1, $2::jsonb, jsonb_build_object('pool', 'invoices', 'tenant', t.tenant)) AS x`, jobType, input, tenants)
}

// hold wants a statement about the runs of the pool from one on, which it calls begun, to give a number. The schedule starts
// runs of another pool meanwhile.
func (s *Story) hold(ctx context.Context, what, statement string, from, want int64) error {
	n, err := s.count(ctx, `WITH begun AS (SELECT * FROM syncline.run WHERE pool = 'invoices' AND id >= $1) `+statement, from)
	if err == nil && n != want {
		err = fmt.Errorf("%s: %d, want %d", what, n, want)
	}
	return err
}

// limitRunning wants two runs at once, and the tenant that came last among the first two.
func (s *Story) limitRunning(ctx context.Context) error {
	if err := s.tuneInvoices(ctx, `{"maxRunning":2,"fairness":"Tenant"}`); err != nil {
		return err
	}
	first, err := s.begin(ctx, "invoice", `{"do": "work", "millis": 300}`, "many", "many", "many", "many", "many", "few")
	if err != nil {
		return err
	}
	if err := s.awaitEnded(ctx); err != nil {
		return err
	}
	// By the database's own times: how many of the runs were running when one was claimed.
	err = s.hold(ctx, "the most runs at once", `SELECT max(n) FROM (
  SELECT count(*) AS n FROM begun r JOIN begun x ON x.claimed_at <= r.claimed_at AND x.finished_at > r.claimed_at GROUP BY r.id) AS at`, first, 2)
	if err != nil {
		return err
	}
	return s.hold(ctx, "whether more than one run was claimed before the other tenant's only one", `SELECT (count(*) > 1)::int
FROM begun r JOIN begun few ON few.tenant = 'few' AND r.claimed_at < few.claimed_at`, first, 0)
}

// limitStarts wants four runs to begin a fifth of a second apart.
func (s *Story) limitStarts(ctx context.Context) error {
	if err := s.tuneInvoices(ctx, `{"maxRunning":0,"startRate":{"startsPerSecond":5,"burst":1}}`); err != nil {
		return err
	}
	first, err := s.begin(ctx, "invoice", `{"do": "answer"}`, "a", "a", "a", "a")
	if err != nil {
		return err
	}
	if err := s.awaitEnded(ctx); err != nil {
		return err
	}
	return s.hold(ctx, "four starts within half a second", `SELECT count(*)
FROM (SELECT max(claimed_at) - min(claimed_at) AS took FROM begun) AS s WHERE took < interval '500 ms'`, first, 0)
}

// holdAndDrain wants a held pool to claim nothing, and a drained one to take a long run back from its endpoint.
func (s *Story) holdAndDrain(ctx context.Context) error {
	if err := s.tuneInvoices(ctx, `{"startRate":null}`); err != nil {
		return err
	}
	long, err := s.begin(ctx, "invoice", `{"do": "work", "millis": 50000}`, "a")
	if err != nil {
		return err
	}
	if err := s.awaitRunning(ctx, long); err != nil {
		return err
	}
	if err := s.tuneInvoices(ctx, `{"stopPolicy":"Hold"}`); err != nil {
		return err
	}
	late, err := s.begin(ctx, "invoice", `{"do": "answer"}`, "a")
	if err != nil {
		return err
	}
	if err := s.hold(ctx, "runs that a held pool let go on", `SELECT count(*) FROM begun WHERE id = $1 AND status = 'running'`, long, 1); err != nil {
		return err
	}
	if err := s.tuneInvoices(ctx, `{"stopPolicy":"HoldAndDrain"}`); err != nil {
		return err
	}
	if err := s.awaitGivenBack(ctx, long); err != nil {
		return err
	}
	if _, err := s.db.Exec(ctx, `SELECT syncline.cancel($1, 'e2e', 'long enough', '{"tenant": "a"}')`, long); err != nil {
		return fmt.Errorf("cancel run %d: %w", long, err)
	}
	released, err := s.now(ctx)
	if err != nil {
		return err
	}
	if err := s.tuneInvoices(ctx, `{"stopPolicy":"None"}`); err != nil {
		return err
	}
	if err := s.awaitEnded(ctx); err != nil {
		return err
	}
	n, err := s.count(ctx, `SELECT count(*) FROM syncline.run WHERE id = $1 AND status = 'completed' AND claimed_at > $2`, late, released)
	if err == nil && n != 1 {
		err = errors.New("a run that was started while its pool was held was claimed before the pool went on")
	}
	return err
}

func (s *Story) awaitRunning(ctx context.Context, run int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("not claimed after 20 s"))
	defer cancel()
	return lab.Await(ctx, fmt.Sprintf("run %d", run), 50*time.Millisecond, func() (bool, error) {
		n, err := s.count(ctx, `SELECT count(*) FROM syncline.run WHERE id = $1 AND status = 'running'`, run)
		return n == 1, err
	})
}

// awaitGivenBack waits until a run is back in the queue without having spent an attempt.
func (s *Story) awaitGivenBack(ctx context.Context, run int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("not given back after 20 s"))
	defer cancel()
	return lab.Await(ctx, fmt.Sprintf("run %d", run), 50*time.Millisecond, func() (bool, error) {
		n, err := s.count(ctx, `SELECT count(*) FROM syncline.run r JOIN syncline.attempt a ON a.run = r.id AND a.outcome = 'given_back'
WHERE r.id = $1 AND r.status = 'pending' AND r.attempts = 0`, run)
		return n == 1, err
	})
}

// serveAnotherType adds a handler: a run of its type, which waited unserved, is posted by the worker that is there.
func (s *Story) serveAnotherType(ctx context.Context) error {
	refund, err := s.begin(ctx, "refund", `{"do": "answer"}`, "a")
	if err != nil {
		return err
	}
	err = s.tune(ctx, invoices, 1, "json", `[{"op":"add","path":"/spec/handlers/-","value":{"type":"refund",
"url":"`+endpoint+`","signingSecretRef":{"name":"invoices-endpoint"}}}]`)
	if err != nil {
		return err
	}
	if err := s.awaitEnded(ctx); err != nil {
		return err
	}
	return s.hold(ctx, "runs of the added type that the endpoint has served",
		`SELECT count(*) FROM begun WHERE id = $1 AND status = 'completed' AND output ->> 'type' = 'refund'`, refund, 1)
}
