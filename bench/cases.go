package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
)

// benchCase is one line of what is measured.
type benchCase struct {
	name string
	run  func(b *bench, ctx context.Context, name string) error
}

func (c benchCase) isNamed(name string) bool {
	return c.name == name || name == "pressure" && strings.HasPrefix(c.name, "pressure-")
}

var single = []benchCase{
	{"throughput", (*bench).throughput},
	{"snapshot", (*bench).snapshot},
	{"later", (*bench).later},
	{"latency", (*bench).latency},
	{"cost", (*bench).cost},
	{"slots", (*bench).slots},
	{"workers", (*bench).workers},
	{"enqueue", (*bench).enqueue},
}

// benchCases are all cases.
func benchCases() []benchCase {
	all := slices.Clone(single)
	for _, h := range hardships() {
		all = append(all, h.asCase())
	}
	return all
}

// cases runs those named, all when none is; "pressure" names every case that begins so.
func (b *bench) cases(ctx context.Context, names []string) error {
	for _, n := range names {
		if !slices.ContainsFunc(benchCases(), func(c benchCase) bool { return c.isNamed(n) }) {
			return fmt.Errorf("no case is named %q", n)
		}
	}
	for _, c := range benchCases() {
		if len(names) > 0 && !slices.ContainsFunc(names, c.isNamed) {
			continue
		}
		if err := c.run(b, ctx, c.name); err != nil {
			return err
		}
	}
	return nil
}

// scaled is a number of jobs under the flag -scale.
func (b *bench) scaled(n int) int { return max(1000, int(float64(n)*b.scale)) }

// pick leaves the systems that the flag -systems names.
func (b *bench) pick(loads []load) []load {
	return slices.DeleteFunc(loads, func(l load) bool { return len(b.only) > 0 && !slices.Contains(b.only, l.sys.name()) })
}

func (b *bench) throughput(ctx context.Context, name string) error {
	n := b.scaled(150_000)
	loads := b.pick([]load{
		{sys: synclineSystem{}, jobs: n, concurrency: 1000, profile: b.profileFile("throughput")},
		{sys: floorSystem{}, jobs: n, concurrency: 500},
		{sys: riverSystem{}, jobs: n, concurrency: 1000},
		{sys: graphileSystem{b.peers}, jobs: n, concurrency: 1000},
		{sys: pgbossSystem{b.peers}, jobs: n, concurrency: 1000},
	})
	if err := alternate(ctx, b.server, b.report, name, b.rounds, loads); err != nil {
		return err
	}
	b.report.table(os.Stderr, name, "syncline")
	for _, want := range []struct {
		system string
		ratio  float64
	}{{"river", 3.5}, {"graphile", 1.6}, {"floor", 0.8}} {
		if len(b.only) == 0 {
			b.report.atLeast(name, "rate against "+want.system, b.report.ratio(name, "syncline", want.system), want.ratio)
		}
	}
	return nil
}

func (b *bench) profileFile(name string) string {
	if b.profile == "" {
		return ""
	}
	return b.profile + "/" + name + ".pprof"
}
