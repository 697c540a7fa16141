package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/sealing"
	"github.com/syncline-dev/syncline/internal/runtime/sink"
	"github.com/syncline-dev/syncline/internal/runtime/source"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// run is one attempt. After begin its fields but the progress are read only; the progress belongs to the goroutine that
// writes chunks.
type run struct {
	handler *Handler
	claim   *jobs.Claim
	input   input
	log     *slog.Logger

	connectionID uuid.UUID
	connection   spec.Connection
	provider     string
	sub          spec.Subscription
	generation   int64
	credential   spec.Credential
	shape        shape
	program      *mapping.Program
	writer       *sink.Writer
	stopRatio    ratio
	from         *source.Cursor
	syncRun      int64
	// skew is how far the database's clock is ahead of this machine's.
	skew time.Duration

	progress

	// ended says that nothing is left to do: the subscription is gone, or the last chunk closed the attempt.
	ended bool
}

// progress is what the committed chunks add up to.
type progress struct {
	counts counts
	chunks int
	// held says that a record is neither applied nor set aside yet: the cursor must not pass it in this run.
	held bool
	// quarantineOpen says that the subscription has quarantined records that may be resolved.
	quarantineOpen bool
	outcome        outcome
}

// loaded is the subscription's row with its connection's.
type loaded struct {
	connectionID   uuid.UUID
	spec           []byte
	generation     int64
	retired        bool
	cursor         []byte
	walkHash       string
	hasConnection  bool
	provider       string
	connection     []byte
	credential     []byte
	quarantineOpen bool
	now            time.Time
	active         int64
}

// errInProgress is another run of the same subscription that is going. The lane that a schedule gives its runs keeps them
// apart; one that somebody has started by hand, in another lane or none, waits here.
var errInProgress = errors.New("another run of the subscription is going")

// inProgressPause is how long such a run waits before it looks again.
const inProgressPause = 5 * time.Second

// begin opens the attempt in one transaction: it closes attempts whose process was killed, makes the table fit, and
// forgets a cursor that does not belong to this spec. What is found to be wrong is a *fault; nothing is written then.
func (r *run) begin(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, r.handler.cfg.DB, func(tx pgx.Tx) error {
		if err := jobs.Fence(ctx, tx, r.claim); err != nil {
			return err
		}
		l, err := r.load(ctx, tx)
		if errors.Is(err, pgx.ErrNoRows) || (err == nil && l.retired) {
			return r.nothing(ctx, tx)
		}
		if err != nil {
			return err
		}
		if err := r.alone(ctx, tx, l.active); err != nil {
			return err
		}
		r.generation, r.quarantineOpen, r.skew = l.generation, l.quarantineOpen, time.Until(l.now)
		if err := r.prepare(l); err != nil {
			return err
		}
		return r.open(ctx, tx, l)
	})
	if err != nil {
		return fmt.Errorf("begin sync: %w", err)
	}
	return nil
}

func (r *run) load(ctx context.Context, tx pgx.Tx) (loaded, error) {
	var l loaded
	var connectionID string
	err := tx.QueryRow(ctx, loadSQL, r.input.Subscription.String()).Scan(&connectionID, &l.spec, &l.generation, &l.retired, &l.cursor,
		&l.walkHash, &l.hasConnection, &l.provider, &l.connection, &l.credential, &l.quarantineOpen, &l.now, &l.active)
	if err != nil {
		return l, fmt.Errorf("load subscription %s: %w", r.input.Subscription, err)
	}
	l.connectionID, err = uuid.Parse(connectionID)
	return l, err
}

// alone makes sure that the run that began last is not going, unless it is this one.
func (r *run) alone(ctx context.Context, tx pgx.Tx, active int64) error {
	if active == 0 || active == r.claim.RunID {
		return nil
	}
	var going bool
	if err := tx.QueryRow(ctx, goingSQL, active).Scan(&going); err != nil {
		return fmt.Errorf("look at run %d: %w", active, err)
	}
	if going {
		return fmt.Errorf("%w: run %d", errInProgress, active)
	}
	return nil
}

// nothing completes a run whose subscription is gone or retired.
func (r *run) nothing(ctx context.Context, tx pgx.Tx) error {
	r.ended, r.outcome = true, noChanges
	return jobs.Complete(ctx, tx, r.claim, r.output())
}

// prepare turns documents into what the run works with.
func (r *run) prepare(l loaded) error {
	if err := r.prepareSubscription(l); err != nil {
		return err
	}
	if !l.hasConnection {
		return faultf(codeConnection, "connection %s has no row in this database", l.connectionID)
	}
	var err error
	if r.connection, err = spec.Decode[spec.Connection](l.connection); err != nil {
		return unreadable("connection", err)
	}
	r.connectionID, r.provider = l.connectionID, l.provider
	return r.openCredential(l)
}

func (r *run) prepareSubscription(l loaded) error {
	sub, err := spec.Decode[spec.Subscription](l.spec)
	if err != nil {
		return unreadable("subscription", err)
	}
	program, problems := r.handler.programs.get(r.input.Subscription, l.spec, sub)
	if len(problems) > 0 {
		return faultf(codeExpression, "%s", joinProblems(problems))
	}
	if r.stopRatio, err = parseRatio(sub.OnError.StopRatio); err != nil {
		return faultf(codeDocument, "onRecordError.stopRatio: %w", err)
	}
	r.sub, r.program, r.shape = sub, program, newShape(sub)
	r.writer = sink.NewWriter(sub, r.shape.guardName())
	return nil
}

// unreadable is a document that this process does not understand. Another one may: during a rollout old and new workers
// run side by side.
func unreadable(kind string, err error) error {
	return &fault{code: codeDocument, settle: giveBack, err: fmt.Errorf("%s: %w", kind, err)}
}

func joinProblems(problems []mapping.Problem) string {
	messages := make([]string, len(problems))
	for i, p := range problems {
		messages[i] = p.String()
	}
	return strings.Join(messages, "; ")
}

func (r *run) openCredential(l loaded) error {
	http := r.connection.HTTP
	if http == nil || http.Auth == spec.AuthNone {
		return nil
	}
	if len(l.credential) == 0 {
		return faultf(codeCredential, "the connection has no credential yet, its authentication is %s", http.Auth)
	}
	plain, err := r.handler.cfg.Sealing.Open(l.credential, l.connectionID, spec.CredentialColumn)
	switch {
	case errors.Is(err, sealing.ErrTampered):
		return faultf(codeSealing, "open the credential: %w", err)
	case err != nil:
		// The keyset, or this key of it, is not mounted here yet; another worker may have it.
		return &fault{code: codeSealingKey, settle: giveBack, err: fmt.Errorf("open the credential: %w", err)}
	}
	if err := json.Unmarshal(plain, &r.credential); err != nil {
		// The parser's message may quote what it read.
		return faultf(codeSealing, "the sealed credential is no JSON document")
	}
	return nil
}

// open makes the table fit and writes the attempt.
func (r *run) open(ctx context.Context, tx pgx.Tx, l loaded) error {
	identity, problems, err := sink.Ensure(ctx, tx, r.sub)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return faultf(codeSink, "%s", sink.Join(problems))
	}
	hash := walkHash(r.sub, r.connection, identity)
	if hash == l.walkHash && l.cursor != nil {
		if err := json.Unmarshal(l.cursor, &r.from); err != nil {
			return faultf(codeDocument, "stored cursor: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, abandonSQL, r.input.Subscription.String(), r.claim.RunID, r.claim.Token); err != nil {
		return fmt.Errorf("close abandoned attempts: %w", err)
	}
	err = tx.QueryRow(ctx, beginSQL, r.input.Subscription.String(), r.claim.RunID, r.claim.Token, r.claim.Attempt,
		r.input.Action, r.generation, cursorJSON(r.from), hash).Scan(&r.syncRun)
	if err != nil {
		return fmt.Errorf("open the attempt: %w", err)
	}
	return nil
}

func cursorJSON(c *source.Cursor) *string {
	if c == nil {
		return nil
	}
	data, _ := json.Marshal(c)
	return new(string(data))
}

// walkHash changes when records that were read before would now be read, mapped or stored differently: what the request
// asks for, which account it asks, what a record is and means, and where it goes. Limits, order, paging, lookback and
// settle time only say how to walk.
func walkHash(sub spec.Subscription, connection spec.Connection, table string) string {
	src := sub.Source
	if src.HTTP != nil {
		http := *src.HTTP
		http.Limits, http.Pagination, http.Order = spec.Limits{}, spec.Pagination{}, ""
		if http.Cursor != nil && http.Cursor.Timestamp != nil {
			stamp := *http.Cursor.Timestamp
			stamp.LookbackSeconds, stamp.SettleSeconds = 0, 0
			http.Cursor = &spec.Cursor{Timestamp: &stamp}
		}
		src.HTTP = &http
	}
	parts := struct {
		Source     spec.Source
		Tombstone  string
		Filter     string
		Mapping    []spec.Field
		Sink       spec.Sink
		Connection string
		Table      string
	}{Source: src, Tombstone: sub.Tombstone, Filter: sub.Filter, Mapping: sub.Mapping, Sink: sub.Sink, Table: table}
	if connection.HTTP != nil {
		parts.Connection = connection.HTTP.BaseURL
	}
	parts.Sink.Management = ""
	parts.Mapping = slices.Clone(sub.Mapping)
	for i := range parts.Mapping {
		parts.Mapping[i].History = "" // says what is told, not what is stored
	}
	data, _ := json.Marshal(parts)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
