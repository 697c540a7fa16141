package main

import (
	"context"
	"fmt"
	"os/exec"

	"encoding/json"

	"github.com/jackc/pgx/v5"
)

// peers is the folder with the JavaScript peers, their packages and a Node.js that all of them run on.
type peers string

// command runs one of them.
func (p peers) command() []string {
	return []string{string(p) + "/node_modules/.bin/node", string(p) + "/worker.mjs"}
}

// once runs one to its end.
func (p peers) once(ctx context.Context, t task) error {
	raw, err := json.Marshal(t)
	if err != nil {
		return err
	}
	argv := append(p.command(), string(raw))
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s: %w\n%s", t.System, err, out)
	}
	return nil
}

type graphileSystem struct{ peers }

func (graphileSystem) name() string { return "graphile" }

func (g graphileSystem) setUp(ctx context.Context, db *database) error {
	cli := string(g.peers) + "/node_modules/graphile-worker/dist/cli.js"
	out, err := exec.CommandContext(ctx, string(g.peers)+"/node_modules/.bin/node", cli, "-c", db.URI, "--schema-only").CombinedOutput()
	if err != nil {
		return fmt.Errorf("make the schema of graphile-worker: %w\n%s", err, out)
	}
	return nil
}

func (graphileSystem) enqueue(ctx context.Context, db *database, n int) error {
	return db.exec(ctx, `SELECT count(*) FROM graphile_worker.add_jobs(ARRAY(
  SELECT ('noop', '{"at": 0}', NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec FROM generate_series(1, $1::bigint)))`, n)
}

func (graphileSystem) enqueueOne(ctx context.Context, conn *pgx.Conn, at int64) error {
	in, err := json.Marshal(input{At: at})
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `SELECT graphile_worker.add_job('noop', $1::json)`, string(in))
	return err
}

func (graphileSystem) settledSQL() string {
	return `SELECT NOT EXISTS (SELECT FROM graphile_worker._private_jobs)`
}

// keptSQL: completed jobs are deleted.
func (graphileSystem) keptSQL() string { return `SELECT 0::bigint` }

func (g graphileSystem) command(context.Context, *database, task) ([]string, error) {
	return g.peers.command(), nil
}

type pgbossSystem struct{ peers }

func (pgbossSystem) name() string { return "pgboss" }

func (p pgbossSystem) setUp(ctx context.Context, db *database) error {
	return p.once(ctx, task{System: p.name(), URI: db.URI, SetUp: true})
}

func (p pgbossSystem) enqueue(ctx context.Context, db *database, n int) error {
	return p.once(ctx, task{System: p.name(), URI: db.URI, Enqueue: n})
}

func (pgbossSystem) enqueueOne(ctx context.Context, conn *pgx.Conn, at int64) error {
	in, err := json.Marshal(input{At: at})
	if err != nil {
		return err
	}
	// What its client does for a job of a queue with notify: the row, and one notification.
	_, err = conn.Exec(ctx, `INSERT INTO pgboss.job (name, data) VALUES ('noop', $1::jsonb)`, string(in))
	return err
}

func (pgbossSystem) settledSQL() string {
	return `SELECT NOT EXISTS (SELECT FROM pgboss.job WHERE name = 'noop' AND state < 'completed')`
}

func (pgbossSystem) keptSQL() string {
	return `SELECT count(*) FROM pgboss.job WHERE state = 'completed'`
}

func (p pgbossSystem) command(context.Context, *database, task) ([]string, error) {
	return p.peers.command(), nil
}
