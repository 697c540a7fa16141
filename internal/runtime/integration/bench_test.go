package integration

import (
	"encoding/json"
	"fmt"
	"testing"
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
