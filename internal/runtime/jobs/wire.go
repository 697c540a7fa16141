package jobs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// row is one row of claim in PostgreSQL's binary format, read column by column. SQL null is the zero value. What is kept is
// copied: the bytes belong to the connection.
type row struct {
	values [][]byte
	next   int
}

func (r *row) bytes() []byte {
	b := r.values[r.next]
	r.next++
	return b
}

func (r *row) int64() int64 {
	switch b := r.bytes(); len(b) {
	case 8:
		return int64(binary.BigEndian.Uint64(b))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(b)))
	}
	return 0
}

func (r *row) int() int { return int(r.int64()) }

// text is a column that is often what it was in the row before; then no memory is taken.
func (r *row) text(before string) string {
	b := r.bytes()
	if string(b) == before {
		return before
	}
	return string(b)
}

// json is a jsonb: its text behind a byte that says which format it is.
func (r *row) json() (json.RawMessage, error) {
	b := r.bytes()
	switch {
	case b == nil:
		return nil, nil
	case len(b) == 0 || b[0] != 1:
		return nil, errors.New("jsonb of an unknown format")
	}
	return append(json.RawMessage(nil), b[1:]...), nil
}

func (r *row) millis() time.Duration { return time.Duration(r.int64()) * time.Millisecond }

// instant counts microseconds since 2000, as the database does.
func (r *row) instant() pgtype.Timestamptz {
	b := r.bytes()
	if len(b) != 8 {
		return pgtype.Timestamptz{}
	}
	micros := int64(binary.BigEndian.Uint64(b))
	return pgtype.Timestamptz{Time: time.UnixMicro(micros + epochMicros).UTC(), Valid: true}
}

// epochMicros is the beginning of 2000 in microseconds since 1970.
const epochMicros = 946_684_800_000_000

// claim reads the columns of a claim; last is the one of the row before, nil for none. The deadline counts from the moment
// the claim was sent, so that it is never late.
func (r *row) claim(c, last *Claim, sent time.Time) (err error) {
	if last == nil {
		last = c
	}
	c.receipt, c.RunID, c.Token = r.int64(), r.int64(), r.int64()
	c.Type, c.Tenant, c.Scope = r.text(last.Type), r.text(last.Tenant), r.text(last.Scope)
	c.Attempt, c.MaxAttempts, c.LeaseLosses = r.int()+1, r.int(), r.int()
	c.Parent, c.Root = r.int64(), r.int64()
	c.TriggerSource, c.TriggerRef = r.text(last.TriggerSource), r.text(last.TriggerRef)
	tags, err := r.json()
	if err != nil {
		return fmt.Errorf("read tags of run %d: %w", c.RunID, err)
	}
	if tags != nil {
		if err := json.Unmarshal(tags, &c.Tags); err != nil {
			return fmt.Errorf("read tags of run %d: %w", c.RunID, err)
		}
	}
	if c.Input, err = r.json(); err != nil {
		return fmt.Errorf("read input of run %d: %w", c.RunID, err)
	}
	limited := r.values[r.next] != nil
	if remaining := r.millis(); limited {
		c.Deadline = sent.Add(remaining)
	}
	c.lane = r.int64()
	return nil
}
