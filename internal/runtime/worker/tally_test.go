package worker

import (
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

func TestTallyReportsEachRunOnceOverIncarnations(t *testing.T) {
	var c tally
	c.begin()
	c.count(jobs.Completed, jobs.Done)
	c.count(jobs.Completed, jobs.Already)
	c.count(jobs.Failed, jobs.Done)
	c.count(jobs.TimedOut, jobs.Done)
	c.count(jobs.Retried, jobs.Done)
	c.count(jobs.GivenBack, jobs.Done)
	c.count(jobs.Completed, jobs.Lost)
	total, report := c.now()
	if want := (counts{completed: 2, failed: 2, fenced: 1}); report != want {
		t.Fatalf("the first incarnation reports %+v, want %+v", report, want)
	}
	c.confirm(total)
	c.count(jobs.Completed, jobs.Lost) // its result came when the incarnation was over
	c.begin()
	c.count(jobs.Completed, jobs.Done)
	if _, report = c.now(); report != (counts{completed: 1, fenced: 1}) {
		t.Errorf("the second incarnation reports %+v, want what the first had not reported and its own", report)
	}
	if _, again := c.now(); again != report {
		t.Errorf("a beat without an answer changed the next report to %+v", again)
	}
}
