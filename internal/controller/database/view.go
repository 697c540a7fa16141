package database

import (
	"reflect"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
	"github.com/syncline-dev/syncline/internal/runtime/sink"
)

// View is what an actor knows of its database. The zero value is a database that nothing is known of yet: the
// process has just started or the database was just named, and the first attempt has not ended.
type View struct {
	// Known says that an attempt to reach the database has ended.
	Known bool
	// Reachable says that the database answers; otherwise Message says why not.
	Reachable bool
	Message   string
	// SchemaCurrent says that the schema is one that this process can use; otherwise SchemaReason and SchemaMessage say
	// why not. It has no meaning while the database is not reachable.
	SchemaCurrent bool
	SchemaReason  string
	SchemaMessage string
	// Identity is a fingerprint of the database and the schema that survives a changed password or host name. It is
	// empty until the database has been reached once.
	Identity string
}

// Ready says that rows can be written and read.
func (v View) Ready() bool { return v.Known && v.Reachable && v.SchemaCurrent }

// PoolView is what is known of a pool.
type PoolView struct {
	Database View
	// Row is what became of the pool's row, nil while the newest declaration is not written yet.
	Row *schema.Written
	// State is what the last snapshot said, nil before the first or when the pool has no row.
	State *schema.PoolState
	// CompletedPerMinute is the number of runs completed within the last minute, nil until a minute has been watched.
	CompletedPerMinute *int64
}

// ConnectionView is what is known of a connection in one database.
type ConnectionView struct {
	Database View
	// Row is what became of the connection's row, nil while the newest declaration is not written yet.
	Row *schema.Written
	// State is what the last snapshot said, nil before the first or when the connection has no row.
	State *schema.ConnectionState
}

// SubscriptionView is what is known of a subscription.
type SubscriptionView struct {
	Database View
	// Row is what became of the subscription's row, nil while the newest declaration is not written yet.
	Row *schema.Written
	// State is what the last snapshot said, nil before the first or when the subscription has no row.
	State *schema.SubscriptionState
	// Read says that there was a snapshot: without State the subscription has no row in this database.
	Read bool
	// Sink is what stands under the sink's name, nil while nobody has looked.
	Sink *SinkView
	// Gone says that the row no longer belongs to the resource: the answer to a removal.
	Gone bool
}

// SinkView is the plan for a sink's table.
type SinkView struct {
	// Statements create the table or add columns; workers run them before they write.
	Statements []string
	Problems   []sink.Problem
	// TableMissing says that nothing stands under the name.
	TableMissing bool
	// Failed is set when the table could not be looked at.
	Failed string
}

// shown is what a reconcile could have seen last: what matters at once, and what may wait for a while.
type shown struct {
	view, gauges any
	gaugesAt     time.Time
}

// seen remembers what a reconcile sees now.
func (s *shown) seen(view, gauges any, now time.Time) {
	*s = shown{view: view, gauges: gauges, gaugesAt: now}
}

// news says whether a reconcile should look again, and remembers what it will see. Gauges rest for a while after each
// look.
func (s *shown) news(view, gauges any, now time.Time, rest time.Duration) bool {
	changed := !reflect.DeepEqual(s.view, view)
	moved := now.Sub(s.gaugesAt) >= rest && !reflect.DeepEqual(s.gauges, gauges)
	if changed || moved {
		s.seen(view, gauges, now)
	}
	return changed || moved
}

// significantPool is what a JobPool's status shows at once: everything but the counts, of which it only matters whether
// they are zero.
func significantPool(v PoolView) any {
	v.CompletedPerMinute = nil
	if v.State == nil {
		return v
	}
	state := *v.State
	state.Depth = schema.Depth{
		Pending: min(state.Depth.Pending, 1), Running: min(state.Depth.Running, 1), Stale: min(state.Depth.Stale, 1),
	}
	state.OldestPending, state.OldestBeat, state.Completed, state.Failed = nil, nil, 0, 0
	v.State = &state
	return v
}

// gaugesPool is what may wait. Beats alone are no news.
func gaugesPool(v PoolView) any {
	if v.State != nil {
		state := *v.State
		state.OldestBeat, state.Completed = nil, 0
		v.State = &state
	}
	return v
}

// significantSubscription is what an IntegrationSubscription's status shows at once: whether runs succeed, and answers
// to requests.
func significantSubscription(v SubscriptionView) any {
	if v.State == nil {
		return v
	}
	now := *v.State
	v.State = &schema.SubscriptionState{
		Owner: now.Owner, Retired: now.Retired, RunHandled: now.RunHandled,
		ConsecutiveFailures: now.ConsecutiveFailures, Quarantined: now.Quarantined,
	}
	return v
}
