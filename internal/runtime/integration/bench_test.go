package integration

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/syncline-dev/syncline/internal/runtime/mapping"
	"github.com/syncline-dev/syncline/internal/runtime/sink"
)

// benchRecords is the number of records of one walk, in pages of 500.
const benchRecords = 20_000

func benchPages(title string) []scripted {
	pages := make([]scripted, benchRecords/500)
	for p := range pages {
		records := make([]any, 500)
		for i := range records {
			n := p*500 + i
			records[i] = map[string]any{
				"id": fmt.Sprintf("ticket-%08d", n), "title": title, "amount": json.Number(fmt.Sprintf("%d.50", n)), "updated": "2024-01-01T00:00:00Z",
			}
		}
		pages[p] = scripted{records: records}
	}
	pages[len(pages)-1].checkpoint = day(1)
	return pages
}

// BenchmarkFirstSync creates rows, audit items and events of an empty table.
func BenchmarkFirstSync(b *testing.B) {
	w := newWorld(b)
	w.source.give(benchPages("first")...)
	for b.Loop() {
		b.StopTimer()
		w.clear()
		b.StartTimer()
		w.sync()
	}
	b.ReportMetric(benchRecords*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkFirstSyncFloor writes the same rows, items and events by the same statements and nothing else: no source, no
// mapping, no fence, no read, no counters. The ratio to BenchmarkFirstSync is what the rest costs.
func BenchmarkFirstSyncFloor(b *testing.B) {
	w := newWorld(b)
	w.source.give(benchPages("first")...)
	for b.Loop() {
		b.StopTimer()
		w.clear()
		r, chunks := w.floor(b)
		b.StartTimer()
		for _, changes := range chunks {
			err := pgx.BeginFunc(b.Context(), w.pool, func(tx pgx.Tx) error {
				t := &chunkTx{run: r}
				return t.write(b.Context(), tx, changes)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(benchRecords*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// floor makes the table, and the changes of a first sync as the handler would decide on them.
func (w *world) floor(b *testing.B) (*run, [][]change) {
	b.Helper()
	err := pgx.BeginFunc(b.Context(), w.pool, func(tx pgx.Tx) error {
		_, _, err := sink.Ensure(b.Context(), tx, w.sub)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	program, problems := mapping.Compile(w.sub)
	if len(problems) > 0 {
		b.Fatal(joinProblems(problems))
	}
	r := &run{
		input: input{Subscription: subscriptionID}, connectionID: connectionID, provider: "acme", syncRun: 1,
		sub: w.sub, program: program, shape: newShape(w.sub), writer: sink.NewWriter(w.sub, ""),
	}
	var chunks [][]change
	for _, p := range w.source.pages {
		var records []record
		for _, raw := range p.records {
			mapped, err := r.mapRecord(b.Context(), raw, nil)
			if err != nil {
				b.Fatal(err)
			}
			records = append(records, mapped)
		}
		changes, _ := decide(r.shape, choose(r.shape, records), nil, newLocalID)
		chunks = append(chunks, changes)
	}
	return r, chunks
}

// BenchmarkUnchangedWalk reads the same records again and finds nothing to do.
func BenchmarkUnchangedWalk(b *testing.B) {
	w := newWorld(b)
	w.source.give(benchPages("first")...)
	w.sync()
	for b.Loop() {
		w.sync()
	}
	b.ReportMetric(benchRecords*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkEdits changes every record of a walk.
func BenchmarkEdits(b *testing.B) {
	w := newWorld(b)
	w.source.give(benchPages("title 0")...)
	w.sync()
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		w.source.give(benchPages(fmt.Sprintf("title %d", n))...)
		b.StartTimer()
		w.sync()
	}
	b.ReportMetric(benchRecords*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkEmptyRun is what a subscription costs that has nothing new.
func BenchmarkEmptyRun(b *testing.B) {
	w := newWorld(b)
	w.source.give()
	w.sync()
	for b.Loop() {
		w.sync()
	}
}
