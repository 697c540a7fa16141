//go:build chaos

package chaos_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
	"github.com/syncline-dev/syncline/test/chaos/history"
)

// journal is a process's file of marks. A mark is one write at the end of the file, so a killed process leaves whole lines.
type journal struct {
	process string
	file    *os.File
}

func openJournal(path, process string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &journal{process: process, file: f}, nil
}

func (j *journal) write(m history.Mark) {
	m.Process, m.At, m.Wall = j.process, machineClock(), time.Now()
	line, err := json.Marshal(m)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err != nil {
		panic(err) // without its journal a process proves nothing
	}
}

func (j *journal) about(c *jobs.Claim, event history.Event, note string) {
	j.write(history.Mark{Event: event, Run: c.RunID, Token: c.Token, Worker: c.Worker, Note: note})
}

// watchForStalls notes when this process had no processor, whatever took it: a busy machine or a signal.
func (j *journal) watchForStalls(ctx context.Context) {
	const period, longest = 50 * time.Millisecond, 200 * time.Millisecond
	last := machineClock()
	for wait(ctx, period.Milliseconds()) == nil {
		now := machineClock()
		if now-last > longest {
			j.write(history.Mark{Event: history.Stalled, For: now - last})
		}
		last = now
	}
}

// readJournals reads the marks of all processes whose journals are in a folder.
func readJournals(dir string) ([]history.Mark, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil {
		return nil, err
	}
	var all []history.Mark
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			var m history.Mark
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				return nil, fmt.Errorf("journal %s: %w", path, err)
			}
			all = append(all, m)
		}
	}
	return all, nil
}
