package history_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/test/chaos/history"
)

// ms is an instant or a stretch of these histories.
func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

var origin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// tape writes a history down. Every write is a transaction of its own, 100 ms after the one before, unless it stands in tx.
type tape struct {
	e    history.Evidence
	tx   int64
	open bool
	rows map[string]object // by table and id
}

type object map[string]any

func newTape() *tape {
	return &tape{e: history.Evidence{Origin: origin, Bound: func(string) time.Duration { return ms(1000) }, Warmup: ms(200)}, rows: map[string]object{}}
}

func (t *tape) now() time.Duration { return ms(100 * t.tx) }

// together makes the writes of do one transaction.
func (t *tape) together(do func()) {
	t.tx++
	t.open = true
	do()
	t.open = false
}

// write changes, inserts or, when it gives no row, deletes a row.
func (t *tape) write(writer, table, key string, row object) {
	if !t.open {
		t.tx++
	}
	before, id := t.rows[table+key], table+key
	after := object{}
	maps.Copy(after, before)
	maps.Copy(after, row)
	if row == nil {
		after = nil
	}
	t.rows[id] = after
	t.e.Changes = append(t.e.Changes, history.Change{
		Tx: t.tx, Table: table, Old: text(before), New: text(after), Writer: writer, At: t.now(), Committed: t.now() + ms(1),
	})
}

func text(o object) json.RawMessage {
	if o == nil {
		return nil
	}
	raw, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return raw
}

func (t *tape) run(writer string, id int64, row object) {
	t.write(writer, "run", strconv.FormatInt(id, 10), row)
}

// place puts a run into a side table or takes it away.
func (t *tape) place(writer, table string, id int64, there bool) {
	row := object{"id": id}
	if !there {
		row = nil
	}
	t.write(writer, table, strconv.FormatInt(id, 10), row)
}

// start enqueues a run.
func (t *tape) start(id int64, row object) {
	t.together(func() {
		whole := object{"id": id, "status": "pending", "claim_token": 0, "lease_losses": 0, "replays": 0, "input": object{}}
		maps.Copy(whole, row)
		t.run("", id, whole)
		t.place("", "ready", id, true)
	})
	t.e.Started = append(t.e.Started, history.Start{Run: id})
}

// worker registers a process for a minute.
func (t *tape) worker(name string, id int64) {
	t.e.Processes = append(t.e.Processes, history.Process{Name: name, Started: t.now()})
	t.renew(name, id, ms(60_000))
}

func (t *tape) renew(name string, id int64, length time.Duration) {
	t.write(name, "worker", strconv.FormatInt(id, 10), object{"id": id, "expires_at": origin.Add(t.now() + length)})
}

func (t *tape) remove(writer string) {
	t.write(writer, "worker", "1", nil)
}

// claim takes a run from ready under a token, and a hold when it has a lane.
func (t *tape) claim(name string, worker, id, token int64) {
	t.together(func() {
		t.place(name, "ready", id, false)
		t.run(name, id, object{"status": "running", "claimed_by": worker, "claim_token": token})
		t.receipt(name, worker, id, token)
		if lane := t.rows["run"+strconv.FormatInt(id, 10)]["lane"]; lane != nil {
			t.write(name, "lane_hold", strconv.FormatInt(id, 10), object{"run": id, "lane": lane, "token": token, "worker": worker})
		}
	})
}

func (t *tape) receipt(name string, worker, id, token int64) {
	row := object{"id": id*1000 + token, "worker": worker, "ids": []int64{id}, "tokens": []int64{token}}
	t.write(name, "receipt", fmt.Sprint(id, token), row)
}

// settle completes a run with its token as output.
func (t *tape) settle(name string, id, token int64) {
	t.together(func() {
		t.run(name, id, object{"status": "completed", "settled_token": token, "output": object{"token": token}})
		t.forget(name, id, token)
	})
}

// forget removes what stands around a claim.
func (t *tape) forget(name string, id, token int64) {
	t.write(name, "receipt", fmt.Sprint(id, token), nil)
	if t.rows["lane_hold"+strconv.FormatInt(id, 10)] != nil {
		t.write(name, "lane_hold", strconv.FormatInt(id, 10), nil)
	}
}

// back returns a run from its first claim; losses is what its lease losses are afterwards.
func (t *tape) back(name string, id int64, losses int) {
	t.together(func() {
		t.run(name, id, object{"status": "pending", "claimed_by": nil, "lease_losses": losses})
		t.place(name, "ready", id, true)
		t.forget(name, id, 1)
	})
}

func (t *tape) mark(process string, event history.Event, worker, id, token int64) {
	t.tx++
	t.e.Marks = append(t.e.Marks, history.Mark{At: t.now(), Process: process, Event: event, Worker: worker, Run: id, Token: token})
}

// executed is a whole clean life of a run, with worker a.
func (t *tape) executed(id int64) {
	const name, worker = "a", 1
	t.start(id, nil)
	t.claim(name, worker, id, 1)
	t.mark(name, history.Began, worker, id, 1)
	t.mark(name, history.Acted, worker, id, 1)
	t.mark(name, history.Stopped, worker, id, 1)
	t.settle(name, id, 1)
}

// check reads the tape.
func (t *tape) check(test *testing.T) []history.Violation {
	test.Helper()
	t.tx++
	t.e.End = t.now()
	found, err := history.Check(t.e)
	if err != nil {
		test.Fatal(err)
	}
	return found
}
