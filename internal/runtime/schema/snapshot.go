package schema

import (
	"context"
	_ "embed" // the snapshot query
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// CountLimit is the largest number that the counts of Depth tell apart: counting stops there.
const CountLimit = 10_000

// Snapshot is what a database says about its pools, and about the connections and subscriptions of one cluster, at one
// instant.
type Snapshot struct {
	// Time is the database's.
	Time          time.Time
	Pools         map[string]PoolState
	Connections   map[uuid.UUID]ConnectionState
	Subscriptions map[uuid.UUID]SubscriptionState
}

// PoolState is a pool's row with its workers and runs.
type PoolState struct {
	// Owner is zero for a pool made by hand.
	Owner            Owner `json:"owner"`
	TuningGeneration int64 `json:"tuning_generation"`
	// Sealed says that the row holds secrets of handlers.
	Sealed bool `json:"sealed"`
	// HeartbeatMillis is the time between two beats of the pool's workers.
	HeartbeatMillis int64 `json:"heartbeat_millis"`
	// Workers counts the workers with a lease in force, WorkersCurrent those of them that run the newest tuning,
	// WorkersDraining those that are about to leave.
	Workers         int   `json:"workers"`
	WorkersCurrent  int   `json:"workers_current"`
	WorkersDraining int   `json:"workers_draining"`
	Depth           Depth `json:"depth"`
	// UnservedTypes are the job types of unserved runs, the first ten.
	UnservedTypes []string `json:"unserved_types"`
	// OldestPending is since when the due run that waits longest has been due.
	OldestPending *time.Time `json:"oldest_pending"`
	// OldestBeat is the last beat of the worker that has been silent for longest.
	OldestBeat *time.Time `json:"oldest_beat"`
	// Late says that a worker has missed a beat.
	Late bool `json:"late"`
	// Completed, Failed, FencedWrites and LeasesRecovered count since the pool exists.
	Completed       int64 `json:"completed"`
	Failed          int64 `json:"failed"`
	FencedWrites    int64 `json:"fenced_writes"`
	LeasesRecovered int64 `json:"leases_recovered"`
}

// Depth counts a pool's runs; each is exact up to CountLimit and a lower bound above.
type Depth struct {
	// Pending runs are due and wait for a worker.
	Pending int64 `json:"pending"`
	// Scheduled runs become due later.
	Scheduled int64 `json:"scheduled"`
	// Blocked runs wait for their lane.
	Blocked int64 `json:"blocked"`
	// Running runs are held by a worker.
	Running int64 `json:"running"`
	// Stale runs are held by a worker without a lease.
	Stale int64 `json:"stale"`
	// Unserved runs are due and of a job type that no live worker of the pool serves; Pending counts them too.
	Unserved int64 `json:"unserved"`
}

// ConnectionState is a connection's row.
type ConnectionState struct {
	Owner Owner `json:"owner"`
	// Sealed says that the row holds a credential.
	Sealed bool `json:"sealed"`
}

// SubscriptionState is a subscription's row with its newest run.
type SubscriptionState struct {
	Owner          Owner     `json:"owner"`
	Connection     uuid.UUID `json:"connection"`
	Pool           string    `json:"pool"`
	DeletionPolicy string    `json:"deletion_policy"`
	// Retired says that the resource was deleted and the state kept.
	Retired             bool            `json:"retired"`
	RunHandled          string          `json:"run_handled"`
	NextRun             *time.Time      `json:"next_run"`
	LastSuccess         *time.Time      `json:"last_success"`
	LastChange          *time.Time      `json:"last_change"`
	ConsecutiveFailures int             `json:"consecutive_failures"`
	Cursor              json.RawMessage `json:"cursor"`
	// Quarantined counts the open records, exact up to CountLimit.
	Quarantined int64 `json:"quarantined"`
	// LastRun is the newest attempt of the newest run.
	LastRun *RunState `json:"last_run"`
}

// RunState is one attempt of one run. Outcome and Action are as in the table sync_run.
type RunState struct {
	Run         int64      `json:"run_id"`
	Attempt     int        `json:"attempt"`
	Action      string     `json:"action"`
	Outcome     string     `json:"outcome"`
	Found       int64      `json:"found"`
	Created     int64      `json:"created"`
	Updated     int64      `json:"updated"`
	Deleted     int64      `json:"deleted"`
	Resurrected int64      `json:"resurrected"`
	Unchanged   int64      `json:"unchanged"`
	Stale       int64      `json:"stale"`
	Filtered    int64      `json:"filtered"`
	Quarantined int64      `json:"quarantined"`
	ErrorCode   *string    `json:"error_code"`
	Error       *string    `json:"error"`
	Started     time.Time  `json:"started_at"`
	Finished    *time.Time `json:"finished_at"`
}

//go:embed snapshot.sql
var readSnapshot string

// identity is the same for every URI that leads to the same schema of the same database, and for nothing else.
const identity = `
SELECT encode(sha256(convert_to(concat_ws('/',
	(SELECT system_identifier FROM pg_control_system()),
	(SELECT oid FROM pg_database WHERE datname = current_database()),
	current_schema()), 'UTF8')), 'hex')`

// Identity is a fingerprint of the database and the schema behind a connection: 64 hexadecimal digits that survive a
// changed password, role or host name, and tell nothing about them.
func Identity(ctx context.Context, q Querier) (string, error) {
	var id string
	if err := q.QueryRow(ctx, identity).Scan(&id); err != nil {
		return "", fmt.Errorf("read the database's identity: %w", err)
	}
	return id, nil
}

// ReadSnapshot reads, by one statement, every pool and what the cluster owns of connections and subscriptions.
func ReadSnapshot(ctx context.Context, db *pgxpool.Pool, cluster string) (*Snapshot, error) {
	var (
		s                                 Snapshot
		pools, connections, subscriptions []byte
	)
	err := db.QueryRow(ctx, readSnapshot, cluster, CountLimit).Scan(&s.Time, &pools, &connections, &subscriptions)
	if err != nil {
		return nil, fmt.Errorf("read the snapshot: %w", err)
	}
	for _, part := range []struct {
		document []byte
		into     any
	}{{pools, &s.Pools}, {connections, &s.Connections}, {subscriptions, &s.Subscriptions}} {
		if err := json.Unmarshal(part.document, part.into); err != nil {
			return nil, fmt.Errorf("decode the snapshot: %w", err)
		}
	}
	return &s, nil
}

// LongestHeartbeat is the longest time between two beats of any pool in the database.
func (s *Snapshot) LongestHeartbeat() time.Duration {
	var longest int64
	for _, p := range s.Pools {
		longest = max(longest, p.HeartbeatMillis)
	}
	return time.Duration(longest) * time.Millisecond
}

// maxLeaseLosses is how often a run may lose its worker before it ends as lost, the same as for sweeps of workers.
const maxLeaseLosses = 5

// Sweep has the database put back what dead workers held, as workers do. It is the backstop for databases without one.
func Sweep(ctx context.Context, db *pgxpool.Pool) error {
	if _, err := db.Exec(ctx, "SELECT FROM sweep($1)", maxLeaseLosses); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

// Retire has the database remove one stretch of what has outlived its pool's retention, as workers do, and says whether
// there is more. It is the backstop for databases without a worker.
func Retire(ctx context.Context, db *pgxpool.Pool) (more bool, err error) {
	if err := db.QueryRow(ctx, "SELECT more FROM retire($1)", retireBatch).Scan(&more); err != nil {
		return false, fmt.Errorf("remove old runs: %w", err)
	}
	return more, nil
}

// retireBatch is how many runs of a pool one transaction walks, the same as for workers.
const retireBatch = 1000
