package worker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// givesBack answers every give-back in one way.
type givesBack struct {
	Store
	result jobs.SettleResult
	err    error
}

func (g givesBack) GiveBack(context.Context, *jobs.Incarnation, ...*jobs.Claim) ([]jobs.SettleResult, error) {
	return []jobs.SettleResult{g.result}, g.err
}

// S6: what was claimed and not handed out is reconciled until the database knows nothing of it any more. One reconcile may
// not be enough, because it passes over what somebody has locked.
func TestBeatsAskToReconcileWhatWasNotHandedOut(t *testing.T) {
	for name, c := range map[string]struct {
		length time.Duration // of the lease
		store  func(Store) Store
	}{
		"past the deadline":               {store: func(s Store) Store { return s }},
		"in a drain, and busy":            {length: time.Hour, store: func(s Store) Store { return givesBack{Store: s, result: jobs.Busy} }},
		"in a drain, and not confirmed":   {length: time.Hour, store: func(s Store) Store { return givesBack{Store: s, err: errors.New("cut")} }},
		"in a drain, and given back well": {length: time.Hour, store: func(s Store) Store { return s }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := onPostgreSQL(t)
			inc, err := r.store.Register(t.Context(), jobs.WorkerInfo{Pool: "batch", Types: []string{"work"}})
			if err != nil {
				t.Fatal(err)
			}
			run := r.start(jobs.StartParams{Type: "work"})
			claims, _, err := r.store.Claim(t.Context(), inc, 1)
			if err != nil || len(claims) != 1 {
				t.Fatalf("claimed %d runs, %v", len(claims), err)
			}
			loop := &claimer{
				store: c.store(r.store), life: newLife(), ledger: newLedger(), tuning: newTuning(r.tuning, 0), givenUp: t.Context(),
				log: slog.New(slog.NewTextHandler(io.Discard, nil)), metrics: telemetry.NewWorker(prometheus.NewRegistry(), "batch"),
			}
			loop.life.begin(inc.ID, time.Now(), time.Now(), c.length, time.Second)
			loop.stopped.Store(true)
			loop.dispatch(t.Context(), inc, claims)

			conn, err := pgx.ConnectConfig(t.Context(), r.db.Config().ConnConfig)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
			beat, err := r.store.Beat(t.Context(), conn, inc, jobs.BeatParams{Number: 1, Lease: time.Hour, Heartbeat: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			running := r.text(`SELECT status FROM run WHERE id = $1`, run) == "running"
			if beat.NeedsReconcile != running || loop.unsure.Load() != running {
				t.Errorf("running: %t, the beat asks for a reconcile: %t, the loop for one: %t", running, beat.NeedsReconcile, loop.unsure.Load())
			}
		})
	}
}
