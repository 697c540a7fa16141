package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// Names of what the samples declare (config/samples), and of the namespaces of the demo.
const (
	namespace     = "helpdesk"
	system        = "syncline-system"
	pool          = "batch"
	connection    = "helpdesk"
	subscription  = "helpdesk-tickets"
	databaseSpace = "databases"
)

// Story is one telling: what was set up so far and what was done. Its steps run in order, one at a time.
type Story struct {
	env     *lab.Env
	console *lab.Console
	source  *lab.Source
	db      *pgx.Conn
	ledger  *Ledger

	// records are the provider's records in the order of their making.
	records []lab.Record
	// subscriptionID is the subscription's id in the database.
	subscriptionID string
	killed         takeover
}

// New opens a story on a running node.
func New(env lab.Env, console *lab.Console) *Story {
	return &Story{env: &env, console: console, ledger: newLedger()}
}

// Close ends the story's own connection; the servers go on.
func (s *Story) Close(ctx context.Context) {
	if s.db != nil {
		_ = s.db.Close(ctx)
	}
}

// Step is one chapter.
type Step struct {
	// Name is a word for test output.
	Name string
	// Title is the chapter's heading.
	Title string
	// Run tells it. An error ends the story.
	Run func(context.Context) error
}

// Steps are the chapters in order.
func (s *Story) Steps() []Step {
	return []Step{
		{"provider", "A third-party server: PocketBase with 5 000 tickets", s.startProvider},
		{"database", "A database: PostgreSQL with an empty database of an ordinary role", s.startDatabase},
		{"install", "The operator: helm install", s.install},
		{"declare", "The flow: kubectl apply of three resources", s.declare},
		{"first-sync", "The first sync", s.firstSync},
		{"edit", "Three tickets are edited at the provider", s.edit},
		{"unchanged", "A ticket is saved without a change", s.touch},
		{"delete", "Two tickets are deleted at the provider", s.remove},
		{"resurrect", "One of them comes back", s.restore},
		{"kill", "A worker pod is killed with SIGKILL in the middle of a sync", s.kill},
	}
}

// kubectl shows a command and its output as a person at the prompt would see them.
func (s *Story) kubectl(ctx context.Context, args ...string) error {
	out, err := s.env.Run(ctx, "kubectl", args...)
	if err != nil {
		return err
	}
	s.console.Block(display("kubectl", args), out)
	return nil
}

// query shows what psql prints for a statement.
func (s *Story) query(ctx context.Context, statement string) error {
	out, err := s.env.Run(ctx, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-c", statement)
	if err != nil {
		return err
	}
	s.console.Block("psql -c \""+statement+"\"", out)
	return nil
}

func display(name string, args []string) string {
	words := []string{name}
	for _, a := range args {
		words = append(words, quote(a))
	}
	return strings.Join(words, " ")
}

// quote makes an argument safe to paste.
func quote(arg string) string {
	for _, r := range arg {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		case r == '-', r == '_', r == '.', r == '/', r == '=', r == ':', r == ',', r == '@':
		default:
			return "'" + arg + "'"
		}
	}
	return arg
}

// count reads one number.
func (s *Story) count(ctx context.Context, statement string, args ...any) (int64, error) {
	var n int64
	if err := s.db.QueryRow(ctx, statement, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("%s: %w", statement, err)
	}
	return n, nil
}
