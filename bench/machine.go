package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// machine is where a run was measured; a line of JSON.
type machine struct {
	Processor  string  `json:"processor"`
	CPUs       int     `json:"cpus"`
	MemoryGiB  float64 `json:"memoryGiB"`
	Kernel     string  `json:"kernel"`
	Load       string  `json:"loadAverage"`
	Go         string  `json:"go"`
	PostgreSQL string  `json:"postgresql"`
	Settings   string  `json:"settings"`
}

func (s *server) machine(ctx context.Context) (machine, error) {
	db, err := s.newDatabase(ctx)
	if err != nil {
		return machine{}, err
	}
	defer func() { _ = db.drop(ctx) }()
	version, err := query[string](ctx, db, `SHOW server_version`)
	m := machine{
		Processor: field("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(), Kernel: first("/proc/sys/kernel/osrelease"),
		Load: first("/proc/loadavg"), Go: runtime.Version(), PostgreSQL: version, Settings: strings.Join(settings, " "),
	}
	var kib float64
	_, _ = fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kib)
	m.MemoryGiB = kib / (1 << 20)
	return m, err
}

// field is a value of a file of lines "name: value".
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func first(file string) string {
	b, _ := os.ReadFile(file)
	return firstLine(string(b))
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d CPUs, %.0f GiB, Linux %s, load %s; %s, PostgreSQL %s with %s",
		m.Processor, m.CPUs, m.MemoryGiB, m.Kernel, m.Load, m.Go, m.PostgreSQL, m.Settings)
}
