package lab

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// beat is the time between two signs of life of a long step.
const beat = 5 * time.Second

// Console writes for a person who reads along. It is safe for concurrent use.
type Console struct {
	mu    sync.Mutex
	out   io.Writer
	began time.Time
}

// NewConsole starts the clock that Elapsed reads.
func NewConsole(out io.Writer) *Console { return &Console{out: out, began: time.Now()} }

// Elapsed is the time since the console was made.
func (c *Console) Elapsed() time.Duration { return time.Since(c.began) }

func (c *Console) write(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A reader who is gone is no reason to stop: the checks still count.
	_, _ = io.WriteString(c.out, text)
}

// Title opens a chapter.
func (c *Console) Title(format string, args ...any) {
	c.write("\n== " + fmt.Sprintf(format, args...) + "\n")
}

// Say writes one sentence.
func (c *Console) Say(format string, args ...any) {
	c.write("   " + fmt.Sprintf(format, args...) + "\n")
}

// Block shows a command and what it printed.
func (c *Console) Block(command, output string) {
	var b strings.Builder
	b.WriteString("\n   $ " + strings.ReplaceAll(command, "\n", "\n     ") + "\n")
	for line := range strings.Lines(strings.TrimRight(output, "\n")) {
		b.WriteString("   " + strings.TrimRight(line, "\n ") + "\n")
	}
	b.WriteString("\n")
	c.write(b.String())
}

// Check writes the outcome of one check.
func (c *Console) Check(ok bool, figures string) {
	mark := "ok   "
	if !ok {
		mark = "WRONG"
	}
	c.write("   " + mark + "  " + figures + "\n")
}

// During runs work and writes a line whenever it has taken another few seconds, and one when it is done: a long step
// never looks like a hanging one.
func (c *Console) During(what string, work func() error) error {
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- work() }()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			if err == nil {
				c.Say("%s: done after %.1f s", what, time.Since(start).Seconds())
			}
			return err
		case <-ticker.C:
			c.Say("%s: %d s ...", what, int(time.Since(start).Seconds()))
		}
	}
}
