package worker

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// endless is a store with n due runs that answers at once.
type endless struct {
	Store
	left    atomic.Int64
	settled atomic.Int64
	want    int64
	done    chan struct{}
}

func (s *endless) Register(context.Context, jobs.WorkerInfo) (*jobs.Incarnation, error) {
	tuning := spec.DefaultPool()
	tuning.Concurrency = 1000
	return &jobs.Incarnation{ID: 1, Pool: "p", Types: []string{"noop"}, Tuning: tuning}, nil
}

func (s *endless) Claim(_ context.Context, _ *jobs.Incarnation, slots int) ([]*jobs.Claim, time.Duration, error) {
	var claims []*jobs.Claim
	for range slots {
		n := s.left.Add(-1)
		if n < 0 {
			break
		}
		claims = append(claims, &jobs.Claim{RunID: n, Token: 1, Worker: 1, Type: "noop", Attempt: 1})
	}
	return claims, 0, nil
}

func (s *endless) Settle(_ context.Context, _ *jobs.Incarnation, batch []jobs.Settlement) ([]jobs.SettleResult, error) {
	if s.settled.Add(int64(len(batch))) == s.want {
		close(s.done)
	}
	return make([]jobs.SettleResult, len(batch)), nil
}

func (s *endless) Promote(context.Context, string) (int, time.Duration, error) { return 0, -1, nil }

func (s *endless) Leave(context.Context, *jobs.Incarnation) (bool, error) { return true, nil }

// BenchmarkRun is what a worker itself costs for a run, without the database.
func BenchmarkRun(b *testing.B) {
	b.ReportAllocs()
	s := &endless{want: int64(b.N), done: make(chan struct{})}
	s.left.Store(int64(b.N))
	handler := jobs.HandlerFunc(func(context.Context, *jobs.Claim) (json.RawMessage, error) { return nil, nil })
	w, err := New(Config{
		Pool: "p", Types: map[string]Registration{"noop": {Handler: handler}}, Store: s,
		Dial: func(context.Context) (*pgx.Conn, error) { return nil, errors.New("there is no database") },
		Log:  slog.New(slog.DiscardHandler), Metrics: telemetry.NewWorker(prometheus.NewRegistry(), "p"),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error, 1)
	b.ResetTimer()
	go func() { ended <- w.Run(ctx) }()
	<-s.done
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
