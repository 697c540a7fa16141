package history_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/test/chaos/history"
)

// A history of everything that is allowed.
func TestSoundHistoryIsAccepted(t *testing.T) {
	t.Parallel()
	h := newTape()
	h.worker("a", 1)
	h.worker("b", 2)
	h.executed(10)
	// Its worker dies, another takes it over, and its handler completes it itself.
	h.start(11, object{"lane": 7, "lane_limit": 1, "input": object{"complete": true}})
	h.claim("a", 1, 11, 1)
	h.mark("a", history.Began, 1, 11, 1)
	h.e.Processes[0].Died = h.now()
	h.renew("a", 1, -ms(1))
	h.remove("b")
	h.back("b", 11, 1)
	h.claim("b", 2, 11, 2)
	h.mark("b", history.Began, 2, 11, 2)
	h.together(func() {
		h.write("b", "effect", "11", object{"run": 11, "token": 2})
		h.run("b", 11, object{"status": "completed", "settled_token": 2})
	})
	h.mark("b", history.Stopped, 2, 11, 2)
	h.together(func() { h.forget("b", 11, 2) })
	// It is replayed and cancelled.
	h.together(func() {
		h.run("", 10, object{"status": "pending", "replays": 1})
		h.place("", "ready", 10, true)
	})
	h.together(func() {
		h.run("", 10, object{"status": "cancelled"})
		h.place("", "ready", 10, false)
	})
	// It ends and waits for its children in the same transaction, and ends as it was going to.
	h.start(12, nil)
	h.claim("b", 2, 12, 1)
	h.together(func() {
		h.run("b", 12, object{"status": "failed"})
		h.run("b", 12, object{"status": "pending"})
		h.place("b", "waiting", 12, true)
		h.forget("b", 12, 1)
	})
	h.together(func() {
		h.run("b", 12, object{"status": "failed"})
		h.place("b", "waiting", 12, false)
	})
	if found := h.check(t); len(found) > 0 {
		t.Errorf("a sound history is refused: %v", found)
	}
}

func TestBrokenHistoriesAreRefused(t *testing.T) {
	t.Parallel()
	for _, b := range breaches {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			h := newTape()
			h.worker("a", 1)
			h.worker("b", 2)
			h.executed(1)
			b.play(h)
			found := h.check(t)
			if !slices.ContainsFunc(found, func(v history.Violation) bool { return v.Invariant == b.invariant }) {
				t.Errorf("the history was not refused for %q, only for %v", b.invariant, found)
			}
		})
	}
}

// Something that looks like a breach has a reason.
func TestExcusesAreAccepted(t *testing.T) {
	t.Parallel()
	late := func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.mark("a", history.Began, 1, 2, 1)
		h.renew("a", 1, -ms(1))
		h.remove("b")
		h.back("b", 2, 1)
		h.claim("b", 2, 2, 2)
		h.mark("b", history.Began, 2, 2, 2)
		h.mark("a", history.Acted, 1, 2, 1)
		h.mark("b", history.Stopped, 2, 2, 2)
		h.settle("b", 2, 2)
	}
	acted := func(h *tape) time.Duration { return h.e.Marks[len(h.e.Marks)-2].At }
	for name, play := range map[string]func(*tape){
		"a frozen process acts as it wakes": func(h *tape) {
			late(h)
			h.e.Faults = append(h.e.Faults, history.Fault{Process: "a", From: acted(h) - ms(400), To: acted(h) - ms(50), Frozen: true})
		},
		"a process without a processor acts as it gets one": func(h *tape) {
			late(h)
			h.e.Marks = append(h.e.Marks, history.Mark{Event: history.Stalled, Process: "a", At: acted(h) + ms(10), For: ms(400)})
		},
		"an endpoint acts whose worker is frozen": func(h *tape) {
			postedTwice(h)
			h.tx += 9
			h.mark(history.Endpoint, history.Reached, 0, 2, 1)
			h.e.Faults = append(h.e.Faults, history.Fault{Process: "a", From: ms(100), To: h.now() + ms(50), Frozen: true})
			h.mark(history.Endpoint, history.Answered, 0, 2, 2)
			h.settle("b", 2, 2)
		},
		"a dedupe key is taken again after its window": func(h *tape) {
			for id := range int64(2) {
				h.write("", "dedupe", "k", object{"job_type": "work", "key": "k", "run": 2 + id, "expires_at": origin.Add(h.now() + ms(300))})
				h.start(2+id, object{"job_type": "work", "dedupe_key": "k"})
				h.claim("a", 1, 2+id, 1)
				h.settle("a", 2+id, 1)
			}
		},
		"a dedupe key is free after a failure": func(h *tape) {
			for id := range int64(2) {
				h.write("", "dedupe", "k", object{"job_type": "work", "key": "k", "run": 2 + id, "expires_at": origin.Add(h.now() + ms(60_000))})
				h.start(2+id, object{"job_type": "work", "dedupe_key": "k"})
				h.claim("a", 1, 2+id, 1)
				h.together(func() {
					h.run("a", 2+id, object{"status": "failed"})
					h.forget("a", 2+id, 1)
				})
			}
		},
		"a lease is recovered late because nobody could": func(h *tape) {
			h.start(2, nil)
			h.claim("a", 1, 2, 1)
			h.renew("a", 1, ms(100))
			h.e.Faults = append(h.e.Faults, history.Fault{From: h.now(), To: h.now() + ms(1500)})
			h.tx += 16
			h.remove("b")
			h.back("b", 2, 1)
			h.claim("b", 2, 2, 2)
			h.settle("b", 2, 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newTape()
			h.worker("a", 1)
			h.worker("b", 2)
			play(h)
			if found := h.check(t); len(found) > 0 {
				t.Errorf("it is refused: %v", found)
			}
		})
	}
}

func TestEvidenceThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]history.Change{
		"no rows":       {Table: "run"},
		"no row":        {Table: "run", New: json.RawMessage("{")},
		"unknown table": {Table: "other", New: json.RawMessage("{}")},
	} {
		if _, err := history.Check(history.Evidence{Changes: []history.Change{c}}); err == nil {
			t.Errorf("%s: the evidence was read", name)
		}
	}
}

func TestStoryTellsAllOfARun(t *testing.T) {
	t.Parallel()
	h := newTape()
	h.worker("a", 1)
	h.executed(1)
	h.executed(2)
	story := h.e.Story(1)
	for _, want := range []string{"receipt: -", "ready: id=1 -> -", `status="completed"`, "a: began token 1", "a: acted"} {
		if !strings.Contains(story, want) {
			t.Errorf("the story does not tell %q:\n%s", want, story)
		}
	}
	if strings.Contains(story, "id=2") {
		t.Errorf("the story tells of another run:\n%s", story)
	}
}
