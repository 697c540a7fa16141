package history

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status of a run.
const (
	pending   = "pending"
	running   = "running"
	completed = "completed"
	timedOut  = "timed_out"
)

// row is a row of any recorded table; each uses what it has.
type row struct {
	ID          int64     `json:"id"`
	Run         int64     `json:"run"`
	Status      string    `json:"status"`
	Pool        string    `json:"pool"`
	JobType     string    `json:"job_type"`
	Tenant      string    `json:"tenant"`
	DedupeKey   string    `json:"dedupe_key"`
	Key         string    `json:"key"`
	ClaimedBy   int64     `json:"claimed_by"`
	ClaimToken  int64     `json:"claim_token"`
	LeaseLosses int64     `json:"lease_losses"`
	Replays     int64     `json:"replays"`
	Lane        int64     `json:"lane"`
	LaneLimit   int64     `json:"lane_limit"`
	Worker      int64     `json:"worker"`
	Token       int64     `json:"token"`
	Collision   string    `json:"collision"`
	Replay      int64     `json:"replay"`
	Name        string    `json:"name"`
	IDs         []int64   `json:"ids"`
	Tokens      []int64   `json:"tokens"`
	ExpiresAt   time.Time `json:"expires_at"`
	DeadlineAt  time.Time `json:"deadline_at"`
	Input       struct {
		Complete bool `json:"complete"`
	} `json:"input"`
	Output json.RawMessage `json:"output"`
}

func (r *row) ended() bool { return r.Status != pending && r.Status != running }

// claim names a claim of any run.
type claim struct {
	run, token int64
}

func readRow(raw json.RawMessage) (*row, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	r := &row{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("read row %s: %w", raw, err)
	}
	return r, nil
}

// outputToken is the token that a handler of these tests puts into its output; 0 when there is none.
func outputToken(raw json.RawMessage) int64 {
	var o struct {
		Token int64 `json:"token"`
	}
	if json.Unmarshal(raw, &o) != nil {
		return 0
	}
	return o.Token
}

// about says whether a change concerns a run.
func about(c Change, run int64) bool {
	for _, raw := range []json.RawMessage{c.Old, c.New} {
		r, err := readRow(raw)
		if err != nil || r == nil {
			continue
		}
		switch c.Table {
		case "run", "ready", "scheduled", "blocked", "waiting":
			if r.ID == run {
				return true
			}
		case "receipt":
			if slices.Contains(r.IDs, run) {
				return true
			}
		case "worker", "lane", "dedupe":
		default:
			if r.Run == run {
				return true
			}
		}
	}
	return false
}

// brief is a row without what says nothing.
func brief(raw json.RawMessage) string {
	var m map[string]any
	if json.Unmarshal(raw, &m) != nil || m == nil {
		return "-"
	}
	var parts []string
	for _, k := range []string{
		"id", "run", "status", "worker", "token", "claimed_by", "claim_token", "settled_token", "attempts", "lease_losses", "replays", "lane",
		"lane_limit", "ids", "tokens", "run_at", "error_code", "kind", "name", "requested_by", "output",
	} {
		if v := m[k]; v != nil {
			text, _ := json.Marshal(v)
			parts = append(parts, k+"="+string(text))
		}
	}
	return strings.Join(parts, " ")
}
