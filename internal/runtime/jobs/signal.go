package jobs

import (
	"context"
	"encoding/json"
	"fmt"
)

const signalSQL = `SELECT signal($1, $2, $3::jsonb, $4)`

// SignalAnswer says what became of a signal.
type SignalAnswer string

const (
	// SignalAccepted says that the signal is kept until the run waits for it, and that the run is due when it does already.
	SignalAccepted SignalAnswer = "accepted"
	// SignalEnded says that the run has ended, or is about to, and takes no signal.
	SignalEnded SignalAnswer = "ended"
	// SignalUnknown says that there is no such run, or none of that tenant.
	SignalUnknown SignalAnswer = "unknown"
)

// SignalParams is a signal to a run.
type SignalParams struct {
	Run int64
	// Name is what the run's handler waits for; 1 to 200 bytes.
	Name string
	// Payload is what the handler gets, at most MaxPayload bytes; nil is JSON null.
	Payload json.RawMessage
	// Tenant must be the run's; empty is a run without one.
	Tenant string
}

// Signal leaves a signal for a run, in the caller's transaction when q is one: see WaitSignal. However long that
// transaction stays open, no worker waits for it.
func Signal(ctx context.Context, q Querier, p SignalParams) (SignalAnswer, error) {
	payload := "null"
	if p.Payload != nil {
		payload = string(p.Payload)
	}
	var tenant *string
	if p.Tenant != "" {
		tenant = &p.Tenant
	}
	var a SignalAnswer
	if err := q.QueryRow(ctx, signalSQL, p.Run, p.Name, payload, tenant).Scan(&a); err != nil {
		return "", fmt.Errorf("signal run %d: %w", p.Run, typed(err))
	}
	return a, nil
}
