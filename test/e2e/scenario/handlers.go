package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// invoices is the pool of config/samples/jobpool-handlers.yaml, shop the namespace of the endpoint that it names.
const (
	invoices = "invoices"
	shop     = "shop"
	// endpoint is what the pool posts to.
	endpoint = "http://invoices.shop.svc:8080/runs"
)

// handlers serves a job type by the sample endpoint, a pod behind a Service that knows nothing of Syncline but its pages:
// runs are started and one is completed by a role that may execute two functions and nothing else.
func (s *Story) handlers(ctx context.Context) error {
	if err := s.declareHandlers(ctx); err != nil {
		return err
	}
	if err := s.console.During("wait until the endpoint's Service answers", func() error { return s.refuseUnsigned(ctx) }); err != nil {
		return err
	}
	caller, err := pgx.Connect(ctx, lab.CallerURI())
	if err != nil {
		return fmt.Errorf("connect as %s: %w", lab.CallerRole, err)
	}
	defer func() { _ = caller.Close(ctx) }()
	_, err = caller.Exec(ctx, `SELECT FROM syncline.run`)
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
		return fmt.Errorf("role %s reads syncline.run: %w, want permission denied", lab.CallerRole, err)
	}
	runs := map[string]int64{}
	for do := range answers() {
		var run int64
		err := caller.QueryRow(ctx, startInvoice, do).Scan(&run)
		if err != nil {
			return fmt.Errorf("start a run as %s: %w", lab.CallerRole, err)
		}
		runs[do] = run
	}
	if err := s.console.During("wait until all have ended", func() error { return s.awaitEnded(ctx) }); err != nil {
		return err
	}
	if err := s.holdAnswers(ctx, runs); err != nil {
		return err
	}
	return s.query(ctx, `SELECT id AS run, parent, input->>'do' AS asked, status, attempts, claim_token AS claims, error_code, output
FROM syncline.run WHERE pool = 'invoices' ORDER BY id`)
}

const startInvoice = `SELECT run FROM syncline.start('invoice', jsonb_build_object('do', $1::text, 'cents', 1200), '{"pool": "invoices"}')`

// answers is how a run ends that asks the endpoint for something: status, attempts, claims, code and output, of which some
// parts differ from one telling to the next.
func answers() map[string]string {
	return map[string]string{
		"answer": `completed 1 1 - {"type": "invoice", "attempt": 1}`,
		"retry":  `completed 2 2 - {"type": "invoice", "attempt": 2}`,
		"snooze": `completed 1 2 - {"type": "invoice", "attempt": 1}`,
		"extend": `completed 1 1 - {"left": %, "type": "invoice", "attempt": 1}`,
		"report": `completed 1 1 - {"type": "invoice", "attempt": 1}`,
		"spawn":  `completed 1 1 - {"type": "invoice", "child": %, "attempt": 1}`,
		"pay":    `completed 1 1 - {"paid": true}`,
		"sing":   `failed 1 1 http_422 -`,
	}
}

// declareHandlers applies both samples as they stand, but for the drain timeout of the pool, which the next chapter waits for.
func (s *Story) declareHandlers(ctx context.Context) error {
	samples := filepath.Join(s.env.Root, "config", "samples")
	rights, err := os.ReadFile(filepath.Join(samples, "endpoint", "schema.sql"))
	if err != nil {
		return fmt.Errorf("read the sample's rights: %w", err)
	}
	if _, err := s.db.Exec(ctx, string(rights)); err != nil {
		return fmt.Errorf("grant the sample's rights: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(samples, "jobpool-handlers.yaml"))
	if err != nil {
		return fmt.Errorf("read the sample's pool: %w", err)
	}
	declared := strings.Replace(string(text), "\nspec:\n", "\nspec:\n  drainTimeoutSeconds: 2\n", 1)
	if declared == string(text) {
		return errors.New("the sample's pool has no spec to set a drain timeout in")
	}
	if err := s.kubectl(ctx, "apply", "-f", filepath.Join(samples, "endpoint", "deployment.yaml")); err != nil {
		return err
	}
	if _, err := s.env.RunInput(ctx, declared, "kubectl", "apply", "--namespace", namespace, "-f", "-"); err != nil {
		return err
	}
	return s.console.During("wait until pool and endpoint are there", func() error {
		_, err := s.env.Run(ctx, "kubectl", "wait", "--namespace", namespace, "--for=condition=Ready", "--timeout=90s", "jobpool/"+invoices)
		if err != nil {
			return err
		}
		_, err = s.env.Run(ctx, "kubectl", "rollout", "status", "--namespace", shop, "--timeout=90s", "deployment/invoices")
		return err
	})
}

// refuseUnsigned shows that the endpoint takes nothing that no worker has signed. A pod that is ready is reached through
// its Service a moment later, when the node and its DNS have heard of it: until then a request fails, here and to the workers.
func (s *Story) refuseUnsigned(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("not reached after 30 s"))
	defer cancel()
	return lab.Await(ctx, "the endpoint's Service", 100*time.Millisecond, func() (bool, error) { return refusesUnsigned(ctx) })
}

func refusesUnsigned(ctx context.Context) (bool, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(`{"run": 1, "input": {"do": "answer"}}`))
	if err != nil {
		return false, &lab.FatalError{Err: err}
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return false, fmt.Errorf("post to the endpoint: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusUnauthorized {
		return false, &lab.FatalError{Err: fmt.Errorf("the endpoint answers %s to a request without a signature, want 401", answer.Status)}
	}
	return true, nil
}

// awaitEnded waits until no run of the pool is left that is to be executed.
func (s *Story) awaitEnded(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 60*time.Second, errors.New("runs are left after 60 s"))
	defer cancel()
	return lab.Await(ctx, "runs of pool "+invoices, 100*time.Millisecond, func() (bool, error) {
		left, err := s.count(ctx, `SELECT count(*) FROM syncline.run WHERE pool = $1 AND status IN ('pending', 'running')`, invoices)
		return left == 0, err
	})
}

const endedAs = `SELECT concat_ws(' ', status, attempts, claim_token, coalesce(error_code, '-'), coalesce(output::text, '-')) LIKE $2, concat_ws(' ', status,
  attempts, claim_token, coalesce(error_code, '-'), coalesce(error, ''), coalesce(output::text, '-')) FROM syncline.run WHERE id = $1`

// holdAnswers wants every run to have ended as its answer says, with the child, the report and the payment there once.
func (s *Story) holdAnswers(ctx context.Context, runs map[string]int64) error {
	for do, want := range answers() {
		var ok bool
		var got string
		if err := s.db.QueryRow(ctx, endedAs, runs[do], want).Scan(&ok, &got); err != nil {
			return fmt.Errorf("read run %d: %w", runs[do], err)
		}
		if !ok {
			return fmt.Errorf("the run that asked for %q ended as %s, want %s", do, got, want)
		}
	}
	for statement, run := range map[string]string{
		`SELECT count(*) FROM syncline.run WHERE id = $1 AND (output->>'left')::int BETWEEN 240000 AND 300000`: "extend",
		`SELECT count(*) FROM syncline.progress WHERE run = $1 AND value = '{"done": 3, "of": 10}'`:            "report",
		`SELECT count(*) FROM public.paid WHERE run = $1 AND cents = 1200`:                                     "pay",
		`SELECT count(*) FROM syncline.run c JOIN syncline.run p ON p.id = c.parent AND (p.output #>> '{child,run}')::bigint = c.id
WHERE p.id = $1 AND c.status = 'completed'`: "spawn",
	} {
		n, err := s.count(ctx, statement, runs[run])
		if err != nil {
			return err
		}
		if n != 1 {
			return fmt.Errorf("%s gives %d for the run that asked for %q, want 1", statement, n, run)
		}
	}
	return nil
}
