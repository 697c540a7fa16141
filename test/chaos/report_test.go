//go:build chaos

package chaos_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/syncline-dev/syncline/test/chaos/history"
)

// report gathers what the suite did, for the lines meanwhile and the tables at the end.
var report = &reporter{faults: map[string]int{}}

type reporter struct {
	mu       sync.Mutex
	faults   map[string]int
	episodes int
	runs     int
	claims   int
	changes  int
	rules    []ruleResult
	rates    []rates
}

// ruleResult is what became of one rule that was switched off.
type ruleResult struct {
	rule, form string
	took       time.Duration
	tries      int
	caught     history.Invariant
}

func (r *reporter) fault(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[name]++
}

// episode counts one and says so.
func (r *reporter) episode(seed uint64, j judgement, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.episodes++
	outcome := "ok"
	if n := j.faults(); n > 0 {
		outcome = fmt.Sprintf("%d FAULTS", n)
	}
	claims := 0
	if j.evidence != nil {
		r.runs += len(j.evidence.Started)
		r.changes += len(j.evidence.Changes)
		for _, m := range j.evidence.Marks {
			if m.Event == history.Began {
				claims++
			}
		}
		r.claims += claims
		fmt.Fprintf(os.Stderr, "seed %d: %d runs, %d executions, %d changes in %.1f s: %s\n",
			seed, len(j.evidence.Started), claims, len(j.evidence.Changes), took.Seconds(), outcome)
	}
}

func (r *reporter) rule(result ruleResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = append(r.rules, result)
}

func (r *reporter) pressure(x rates) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rates = append(r.rates, x)
	fmt.Fprintf(os.Stderr, "%s: %.0f runs/s, %.0f under stress, %.0f afterwards\n", x.name, x.before.completed, x.under.completed, x.after.completed)
}

func (r *reporter) print() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.episodes > 0 {
		fmt.Fprintf(os.Stderr, "\n%d episodes: %d runs, %d executions, %d recorded changes\n", r.episodes, r.runs, r.claims, r.changes)
		for _, name := range slices.Sorted(maps.Keys(r.faults)) {
			fmt.Fprintf(os.Stderr, "  %4d x %s\n", r.faults[name], name)
		}
	}
	if len(r.rules) > 0 {
		r.printRules()
	}
	if len(r.rates) > 0 {
		r.printRates()
	}
}

func (r *reporter) printRates() {
	fmt.Fprintf(os.Stderr, "\n%-44s %8s %8s %6s %8s %6s\n", "pressure (runs/s)", "baseline", "stress", "ratio", "recovery", "ratio")
	for _, x := range r.rates {
		under, ratio := "-", "-"
		if x.under.completed > 0 {
			under, ratio = fmt.Sprintf("%.0f", x.under.completed), fmt.Sprintf("%.2f", x.share(x.under))
		}
		fmt.Fprintf(os.Stderr, "%-44s %8.0f %8s %6s %8.0f %6.2f\n", x.name, x.before.completed, under, ratio, x.after.completed, x.share(x.after))
	}
}

func (r *reporter) printRules() {
	slices.SortFunc(r.rules, func(a, b ruleResult) int { return cmp.Compare(a.rule+a.form, b.rule+b.form) })
	fmt.Fprintf(os.Stderr, "\n%-11s %-46s %5s %7s  %s\n", "rule", "switched off", "tries", "seconds", "found by")
	for _, x := range r.rules {
		caught := string(x.caught)
		if caught == "" {
			caught = "NOBODY"
		}
		fmt.Fprintf(os.Stderr, "%-11s %-46s %5d %7.1f  %s\n", x.rule, x.form, x.tries, x.took.Seconds(), caught)
	}
}
