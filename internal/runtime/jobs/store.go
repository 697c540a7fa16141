package jobs

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Store is the queue as a worker process sees it. It is safe for concurrent use; the rules about what may not be under
// way together (a claim and a reconcile of one incarnation) are the caller's.
type Store struct {
	db       *pgxpool.Pool
	handlers *pgxpool.Pool
	log      *slog.Logger
}

// NewStore uses a pool made by schema.Connect, whose connections have the queue's search path and timeouts.
func NewStore(db *pgxpool.Pool) *Store { return &Store{db: db, handlers: db, log: slog.Default()} }

// LendTo gives the steps of handlers a pool of connections of their own, so that they cannot take those that claims and
// settles need, and a logger for what their authors should know. The pool is made as the queue's own is. Call it before
// the first Register.
func (s *Store) LendTo(handlers *pgxpool.Pool, log *slog.Logger) *Store {
	s.handlers, s.log = handlers, log
	return s
}

// access is what the steps of a claim's handler work with.
type access struct {
	db    *pgxpool.Pool
	log   *slog.Logger
	build string
}

func (s *Store) lend(build string) *access { return &access{db: s.handlers, log: s.log, build: build} }

// WorkerInfo describes a worker process.
type WorkerInfo struct {
	Pool      string
	Pod       string
	Namespace string
	Build     string
	// Types are the job types that the process serves; it claims no others.
	Types []string
}

// Incarnation is one lease of one worker process. Its id is claimed for once: after its row is gone the process
// registers again and gets another.
type Incarnation struct {
	ID   int64
	Pool string
	// Types are claimed; Serve changes them.
	Types []string
	// Tuning and TuningGeneration are the pool's at registration.
	Tuning           spec.Pool
	TuningGeneration int64

	access   *access
	mu       sync.Mutex
	receipts map[int64]int // runs of each receipt that are not confirmed as settled
	next     place         // where the last claim ended
	headAt   time.Time     // when a claim begins at the head again
}

// BeatParams is what a worker says about itself with a renewal.
type BeatParams struct {
	// Number grows with every beat of an incarnation; the row takes only a higher one.
	Number int64
	// Lease is how long the lease lasts from the moment the database reads this beat.
	Lease time.Duration
	// Heartbeat is the time between two beats.
	Heartbeat time.Duration
	// TuningGeneration is the tuning in force in this process.
	TuningGeneration int64
	InFlight         int
	Draining         bool
	// Completed, Failed and FencedWrites count since the incarnation began.
	Completed    int64
	Failed       int64
	FencedWrites int64
}

// BeatResult is what the database says back.
type BeatResult struct {
	// Confirmed says that this beat renewed the lease. Neither Confirmed nor Gone: a later beat had already been read.
	Confirmed bool
	// Gone says that the incarnation has no row any more: everything it holds is lost.
	Gone bool
	// Cancels are the requests about runs that this incarnation holds.
	Cancels []CancelNotice
	// Tuning is the pool's row; nil when it cannot be read, and TuningErr says why.
	Tuning           *spec.Pool
	TuningErr        error
	TuningGeneration int64
	// NeedsReconcile says that the database holds a receipt that this process does not know, or has nothing left of.
	// It is a hint: a claim in flight looks the same. Reconcile decides.
	NeedsReconcile bool
	// LongestHeartbeat is the longest of all workers of the database: a process sweeps only after its own contact has
	// been unbroken for that long.
	LongestHeartbeat time.Duration
}

// CancelNotice is a request about a run that is held here.
type CancelNotice struct {
	RunID int64
	Token int64
	CancelRequested
}

// SweepResult counts what one sweep did.
type SweepResult struct {
	// Workers are the leases that had run out.
	Workers int
	// Recovered runs are due again, Ended are out of their budget of lease losses, past their deadline or cancelled.
	Recovered int
	Ended     int
	// Holds are lane holds of dead workers that were freed.
	Holds int
	// Promoted runs became due or got their lane.
	Promoted int
	// Repaired are runs that the audit found in no place.
	Repaired int
}

// Held names a claim that the process holds: from hand-out to the confirmed settle.
type Held struct {
	RunID int64
	Token int64
}

// Store's methods, one file each.
var _ interface {
	Register(ctx context.Context, info WorkerInfo) (*Incarnation, error)
	Beat(ctx context.Context, conn *pgx.Conn, inc *Incarnation, p BeatParams) (BeatResult, error)
	Serve(ctx context.Context, inc *Incarnation, types []string, build string) error
	Claim(ctx context.Context, inc *Incarnation, slots int) (claims []*Claim, again time.Duration, err error)
	Settle(ctx context.Context, inc *Incarnation, batch []Settlement) ([]SettleResult, error)
	GiveBack(ctx context.Context, inc *Incarnation, claims ...*Claim) ([]SettleResult, error)
	Reconcile(ctx context.Context, inc *Incarnation, held []Held) (int, error)
	Sweep(ctx context.Context) (SweepResult, error)
	Promote(ctx context.Context, pool string) (moved int, next time.Duration, err error)
	Leave(ctx context.Context, inc *Incarnation) (bool, error)
} = (*Store)(nil)
