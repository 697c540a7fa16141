package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// figure is one measured number that is not a load's; a line of JSON.
type figure struct {
	Case string `json:"case"`
	// What says what was measured; figures of one case and name are the rounds.
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// verdict is a target beside what was measured; a line of JSON.
type verdict struct {
	Case     string  `json:"case"`
	Target   string  `json:"target"`
	Measured float64 `json:"measured"`
	Want     float64 `json:"want"`
	Holds    bool    `json:"holds"`
}

func (r *report) figure(name, what, unit string, value float64) {
	f := figure{Case: name, What: what, Value: value, Unit: unit}
	r.figures = append(r.figures, f)
	r.line(f)
}

// middle is the median of the figures of a name.
func (r *report) middle(name, what string) float64 { return median(r.values(name, what)) }

func (r *report) values(name, what string) []float64 {
	var v []float64
	for _, f := range r.figures {
		if f.Case == name && f.What == what {
			v = append(v, f.Value)
		}
	}
	return v
}

// list prints the figures of a case, each with its ratio to the one named base.
func (r *report) list(w io.Writer, name, base string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(t, "%s\tmedian\tlowest\thighest\t\tagainst %s\t\n", name, base)
	var seen []string
	for _, f := range r.figures {
		if f.Case != name || slices.Contains(seen, f.What) {
			continue
		}
		seen = append(seen, f.What)
		v := r.values(name, f.What)
		ratio := "" // only like is compared with like
		if of := r.values(name, base); len(of) > 0 && f.Unit == r.unit(name, base) {
			ratio = fmt.Sprintf("%.2f", median(v)/median(of))
		}
		_, _ = fmt.Fprintf(t, "%s\t%.4g\t%.4g\t%.4g\t%s\t%s\t\n", f.What, median(v), slices.Min(v), slices.Max(v), f.Unit, ratio)
	}
	_ = t.Flush()
}

func (r *report) unit(name, what string) string {
	for _, f := range r.figures {
		if f.Case == name && f.What == what {
			return f.Unit
		}
	}
	return ""
}

func (r *report) atLeast(name, target string, measured, want float64) {
	r.judge(verdict{name, target, measured, want, measured >= want})
}

func (r *report) atMost(name, target string, measured, want float64) {
	r.judge(verdict{name, target, measured, want, measured <= want})
}

func (r *report) judge(v verdict) {
	r.verdicts = append(r.verdicts, v)
	r.line(v)
	word := "missed"
	if v.Holds {
		word = "holds"
	}
	_, _ = fmt.Fprintf(os.Stderr, "  %s: %s: %.3g, want %.3g\n", word, v.Target, v.Measured, v.Want)
}

// ratio of the medians of two systems in a case.
func (r *report) ratio(name, system, to string) float64 {
	rate := func(m measurement) float64 { return m.Rate }
	return median(r.of(name, system, rate)) / median(r.of(name, to, rate))
}
