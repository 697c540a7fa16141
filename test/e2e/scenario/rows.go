package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/test/e2e/lab"
)

// mappedFields is the number of columns that the sample maps.
const mappedFields = 5

// row is what the sink holds of a record, numbers as PostgreSQL writes them.
type row struct {
	title, state, priority, amount string
	updated                        time.Time
	version                        int64
	deleted                        bool
}

const selectRows = `
SELECT external_id, title, state, priority::text, amount::text, source_updated_at, version, deleted_at IS NOT NULL
FROM public.tickets`

func (s *Story) rows(ctx context.Context) (map[string]row, error) {
	result, err := s.db.Query(ctx, selectRows)
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	rows := map[string]row{}
	var id string
	var r row
	_, err = pgx.ForEachRow(result, []any{&id, &r.title, &r.state, &r.priority, &r.amount, &r.updated, &r.version, &r.deleted}, func() error {
		rows[id] = r
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	return rows, nil
}

// differences applies the sample's mapping by hand and names the columns that do not fit.
func differences(r lab.Record, h *history, got row) []string {
	state := r.Text("state")
	if state == "closed" {
		state = "done"
	}
	deleted, _ := r["deleted"].(bool)
	var wrong []string
	differ := func(ok bool, column string, got, want any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", column, got, want))
		}
	}
	differ(got.title == r.Text("title"), "title", got.title, r.Text("title"))
	differ(got.state == state, "state", got.state, state)
	differ(sameNumber(got.priority, r["priority"]), "priority", got.priority, r["priority"])
	differ(sameNumber(got.amount, r["amount"]), "amount", got.amount, r["amount"])
	differ(got.deleted == deleted, "deleted", got.deleted, deleted)
	if h == nil {
		return append(wrong, "is a record that the script did not make")
	}
	// The time of the last write that changed something: the sample ignores a change of the time alone.
	want, err := time.Parse("2006-01-02 15:04:05.000Z", h.mapped)
	differ(err == nil && got.updated.Equal(want), "source_updated_at", got.updated.UTC(), h.mapped)
	return wrong
}

// sameNumber compares exactly: 1.50 is 1.5, and nothing is rounded.
func sameNumber(text string, value any) bool {
	n, ok := value.(json.Number)
	if !ok {
		return false
	}
	got, gotOK := new(big.Rat).SetString(text)
	want, wantOK := new(big.Rat).SetString(n.String())
	return gotOK && wantOK && got.Cmp(want) == 0
}
