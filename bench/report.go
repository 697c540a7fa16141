package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// measurement is one measured run; a line of JSON.
type measurement struct {
	Case   string `json:"case"`
	System string `json:"system"`
	Round  int    `json:"round"`
	Jobs   int    `json:"jobs"`
	// Kept is the number of completed jobs that the database still has afterwards.
	Kept    int     `json:"kept"`
	Seconds float64 `json:"seconds"`
	// Rate is jobs settled a second.
	Rate float64 `json:"jobsPerSecond"`
	// ServerMicros and ClientMicros are processor time a job of PostgreSQL and of the worker process.
	ServerMicros float64 `json:"serverMicrosPerJob"`
	ClientMicros float64 `json:"clientMicrosPerJob"`
	WALBytes     float64 `json:"walBytesPerJob"`
}

// report gathers measurements: JSON lines as they come, tables at the end.
type report struct {
	lines io.Writer
	all   []measurement

	figures  []figure
	verdicts []verdict
}

func (r *report) add(m measurement) {
	r.all = append(r.all, m)
	r.line(m)
}

func (r *report) line(v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs
	}
	_, _ = fmt.Fprintln(r.lines, string(raw))
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return 0
	}
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// of are the values of one system in one case.
func (r *report) of(name, system string, value func(measurement) float64) []float64 {
	var v []float64
	for _, m := range r.all {
		if m.Case == name && m.System == system {
			v = append(v, value(m))
		}
	}
	return v
}

// systems of a case, in the order of their first measurement.
func (r *report) systems(name string) []string {
	var s []string
	for _, m := range r.all {
		if m.Case == name && !slices.Contains(s, m.System) {
			s = append(s, m.System)
		}
	}
	return s
}

// table prints a case: medians, and the rate of base against each.
func (r *report) table(w io.Writer, name, base string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(t, "%s\tjobs/s\tlowest\thighest\t%s is\tserver µs/job\tclient µs/job\tWAL B/job\tkept\t\n", name, base)
	rate := func(m measurement) float64 { return m.Rate }
	ours := median(r.of(name, base, rate))
	for _, s := range r.systems(name) {
		v := r.of(name, s, rate)
		_, _ = fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.2f\t%.1f\t%.1f\t%.0f\t%.0f\t\n", s, median(v), slices.Min(v), slices.Max(v), ours/median(v),
			median(r.of(name, s, func(m measurement) float64 { return m.ServerMicros })),
			median(r.of(name, s, func(m measurement) float64 { return m.ClientMicros })),
			median(r.of(name, s, func(m measurement) float64 { return m.WALBytes })),
			median(r.of(name, s, func(m measurement) float64 { return float64(m.Kept) })))
	}
	_ = t.Flush()
	_, _ = fmt.Fprintln(w)
}
