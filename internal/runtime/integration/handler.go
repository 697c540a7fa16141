package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// Opener opens sealed credentials: *sealing.File.
type Opener interface {
	Open(sealed []byte, id uuid.UUID, column string) ([]byte, error)
}

// Request is what a source is made of.
type Request struct {
	ConnectionID uuid.UUID
	Connection   spec.Connection
	Subscription spec.Subscription
	Credential   spec.Credential
	// Now is the database's clock, as far as it can be told without asking it each time.
	Now func() time.Time
}

// Sources makes the source of one run. Close, when not nil, is called after it.
type Sources func(r Request) (src source.Source, closeSource func(), err error)

// Config is what a handler is made of. DB is needed, the rest has defaults.
type Config struct {
	// DB is a pool made by schema.Connect.
	DB *pgxpool.Pool
	// Sealing opens credentials; without it the runs of connections with a credential are given back.
	Sealing Opener
	// Sources defaults to HTTPSources.
	Sources Sources
	// ChunkRecords is the most records of one transaction, 500 when 0.
	ChunkRecords int
	// ChunkBytes bounds the records of one transaction as the upstream sent them, 8 MiB when 0; one record may exceed it.
	ChunkBytes int64
	// MemoryBytes bounds what is fetched and not yet committed in one run, as the upstream sent it, 32 MiB when 0; one
	// page may exceed it.
	MemoryBytes int64
	// Log defaults to slog.Default.
	Log *slog.Logger
}

// Defaults of Config, and how long closing an attempt may take after its context has ended.
const (
	defaultChunkRecords = 500
	defaultChunkBytes   = 8 << 20
	defaultMemoryBytes  = 32 << 20
	concludeTimeout     = 3 * time.Second
)

// TypeConfig is what the job type integration.sync is registered with. A failed attempt is tried again within about a
// minute; after that the next slot of the schedule is the next attempt. A run that waits for its retry does not keep
// the lane: each run reads from the stored cursor, so their order does not matter.
func TypeConfig() jobs.TypeConfig {
	return jobs.TypeConfig{
		Retry:              jobs.RetryPolicy{MaxAttempts: 5, Base: 2 * time.Second, Max: 30 * time.Second},
		ReleaseLaneOnRetry: true,
	}
}

// Lane is the concurrency key of a subscription: at most one of its runs is claimed at a time.
func Lane(subscription uuid.UUID) string { return "integration/" + subscription.String() }

// Handler executes runs of integration.sync. It is safe for concurrent use.
type Handler struct {
	cfg      Config
	programs programs
}

var _ jobs.Handler = (*Handler)(nil)

// NewHandler makes a handler.
func NewHandler(cfg Config) *Handler {
	if cfg.Sealing == nil {
		cfg.Sealing = (*sealing.File)(nil)
	}
	if cfg.Sources == nil {
		cfg.Sources = HTTPSources()
	}
	if cfg.ChunkRecords <= 0 {
		cfg.ChunkRecords = defaultChunkRecords
	}
	if cfg.ChunkBytes <= 0 {
		cfg.ChunkBytes = defaultChunkBytes
	}
	if cfg.MemoryBytes <= 0 {
		cfg.MemoryBytes = defaultMemoryBytes
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Handler{cfg: cfg}
}

// input is the run's input.
type input struct {
	Subscription uuid.UUID `json:"subscription"`
	// Action is schedule or manual.
	Action string `json:"action"`
}

func readInput(data json.RawMessage) (input, error) {
	var in input
	if err := json.Unmarshal(data, &in); err != nil {
		return in, fmt.Errorf("read the run's input: %w", err)
	}
	if in.Subscription == uuid.Nil || (in.Action != "schedule" && in.Action != "manual") {
		return in, errors.New("read the run's input: want a subscription's id, and the action schedule or manual")
	}
	return in, nil
}

// Handle executes one claim: it opens an attempt, walks the source and closes the attempt. An attempt that reads its
// source to the end closes itself in the transaction of its last chunk.
func (h *Handler) Handle(ctx context.Context, c *jobs.Claim) (json.RawMessage, error) {
	in, err := readInput(c.Input)
	if err != nil {
		return nil, jobs.Permanent("InvalidInput", err)
	}
	r := &run{handler: h, claim: c, input: in, log: h.cfg.Log.With("subscription", in.Subscription, "run", c.RunID, "token", c.Token)}
	if err = r.begin(ctx); err == nil && !r.ended {
		err = r.walk(ctx)
	}
	if err == nil {
		r.log.Info("sync ended", "outcome", r.outcome, "found", r.counts.found(), "changed", r.counts.changed(), "chunks", r.chunks)
		return r.output(), nil
	}
	if errors.Is(err, errInProgress) {
		r.log.Info("sync waits", "reason", err.Error())
		return nil, jobs.Snooze(inProgressPause, err.Error())
	}
	return r.conclude(ctx, classify(err, causeOf(ctx), r.from == nil))
}
