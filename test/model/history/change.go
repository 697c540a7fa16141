package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// Change is one row of one table before and after a transaction: Old is null for an insert, New for a delete. Rows are
// JSON objects by column; columns that the protocol does not read may be missing.
type Change struct {
	Tx    int64           `json:"tx"`
	Table string          `json:"table"`
	Old   json.RawMessage `json:"old,omitempty"`
	New   json.RawMessage `json:"new,omitempty"`
	// Writer is the process that wrote, empty when that is not known.
	Writer string `json:"writer,omitempty"`
	// By is the claim in whose name the row was written. Only the model knows it; a database knows the row's own claim.
	By *Claim `json:"by,omitempty"`
}

// ReadChanges reads one change a line. Lines that do not begin with a brace are passed over.
func ReadChanges(r io.Reader) ([]Change, error) {
	var all []Change
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 || lines.Bytes()[0] != '{' {
			continue
		}
		var c Change
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("read change %q: %w", lines.Text(), err)
		}
		all = append(all, c)
	}
	return all, lines.Err()
}

// row is a row of any of the recorded tables; each uses what it has. All tables but those of runs and workers name the
// run in one of two columns.
type row struct {
	ID           int64   `json:"id"`
	Run          int64   `json:"run"`
	Status       Status  `json:"status"`
	ClaimedBy    int64   `json:"claimed_by"`
	ClaimToken   int64   `json:"claim_token"`
	SettledToken int64   `json:"settled_token"`
	Attempts     int64   `json:"attempts"`
	LeaseLosses  int64   `json:"lease_losses"`
	Replays      int64   `json:"replays"`
	Lane         int64   `json:"lane"`
	LaneLimit    int64   `json:"lane_limit"`
	MaxClaims    int64   `json:"max_claims"`
	Parent       int64   `json:"parent"`
	SpawnKey     string  `json:"spawn_key"`
	SpawnReplay  int64   `json:"spawn_replay"`
	ClosePolicy  string  `json:"close_policy"`
	Worker       int64   `json:"worker"`
	Token        int64   `json:"token"`
	IDs          []int64 `json:"ids"`
	Tokens       []int64 `json:"tokens"`
	Replay       int64   `json:"replay"`
	Name         string  `json:"name"`
	Kind         string  `json:"kind"`
	EndStatus    Status  `json:"end_status"`
}

// decoded is a change with its rows read; a nil row was not there.
type decoded struct {
	Change
	old, new *row
}

func (c Change) read() (decoded, error) {
	d := decoded{Change: c}
	var err error
	if d.old, err = readRow(c.Old); err == nil {
		d.new, err = readRow(c.New)
	}
	if err != nil {
		return d, fmt.Errorf("read a row of %s in transaction %d: %w", c.Table, c.Tx, err)
	}
	if d.old == nil && d.new == nil {
		return d, fmt.Errorf("a change of %s in transaction %d has neither an old row nor a new one", c.Table, c.Tx)
	}
	return d, nil
}

func readRow(raw json.RawMessage) (*row, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	r := &row{}
	return r, json.Unmarshal(raw, r)
}
