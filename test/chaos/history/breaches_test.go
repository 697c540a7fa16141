package history_test

import (
	"fmt"
	"strconv"

	"github.com/syncline-dev/syncline/test/chaos/history"
)

// breaches are histories that break one invariant each.
var breaches = []struct {
	name      string
	invariant history.Invariant
	play      func(*tape)
}{
	{"an acknowledged run is not there", history.NoRunLost, func(h *tape) { h.e.Started = append(h.e.Started, history.Start{Run: 99}) }},
	{"a run's row is deleted", history.NoRunLost, func(h *tape) { h.run("a", 1, nil) }},
	{"another process settles", history.SettledOnce, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.settle("b", 2, 1)
	}},
	{"a claim ends with the output of another", history.SettledOnce, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.together(func() {
			h.run("a", 2, object{"status": "completed", "output": object{"token": 7}})
			h.forget("a", 2, 1)
		})
	}},
	{"a claim goes to another worker", history.SettledOnce, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.run("b", 2, object{"claimed_by": 2})
	}},
	{"an effect is there twice", history.EffectOnce, func(h *tape) {
		h.start(2, object{"input": object{"complete": true}})
		h.claim("a", 1, 2, 1)
		h.together(func() {
			h.write("a", "effect", "x", object{"run": 2, "token": 1})
			h.write("a", "effect", "y", object{"run": 2, "token": 1})
			h.run("a", 2, object{"status": "completed"})
			h.forget("a", 2, 1)
		})
	}},
	{"an effect without its completion", history.EffectOnce, func(h *tape) {
		h.start(2, object{"input": object{"complete": true}})
		h.claim("a", 1, 2, 1)
		h.write("a", "effect", "x", object{"run": 2, "token": 1})
		h.back("a", 2, 0)
	}},
	{"a completion without its effect", history.EffectOnce, func(h *tape) {
		h.start(2, object{"input": object{"complete": true}})
		h.claim("a", 1, 2, 1)
		h.settle("a", 2, 1)
	}},
	{"a write under a fence that did not hold", history.EffectOnce, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.settle("a", 2, 1)
		h.write("a", "fenced", "x", object{"run": 2, "token": 1})
	}},
	{"a step writes twice", history.EffectOnce, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.write("a", "step_effect", "x", object{"run": 2, "token": 1, "name": "charge"})
		h.write("a", "step_effect", "y", object{"run": 2, "token": 1, "name": "charge"})
		h.settle("a", 2, 1)
	}},
	{"a lane has a hold too many", history.LaneLimit, func(h *tape) {
		for id := range int64(2) {
			h.start(2+id, object{"lane": 7, "lane_limit": 1})
			h.claim("a", 1, 2+id, 1)
		}
	}},
	{"a lane is freed while its handler executes", history.LaneLimit, func(h *tape) {
		for id := range int64(2) {
			h.start(2+id, object{"lane": 7, "lane_limit": 1, "input": object{"complete": true}})
			h.claim("a", 1, 2+id, 1)
			h.mark("a", history.Began, 1, 2+id, 1)
			h.together(func() {
				h.write("a", "effect", strconv.FormatInt(id, 10), object{"run": 2 + id, "token": 1})
				h.run("a", 2+id, object{"status": "completed"})
				h.forget("a", 2+id, 1)
			})
		}
		h.mark("a", history.Stopped, 1, 2, 1)
		h.mark("a", history.Stopped, 1, 3, 1)
	}},
	{"a run of a lane runs without a hold", history.LaneLimit, func(h *tape) {
		h.start(2, object{"lane": 7, "lane_limit": 1})
		h.claim("a", 1, 2, 1)
		h.write("a", "lane_hold", "2", nil)
	}},
	{"a pool has a run in flight too many", history.PoolLimit, func(h *tape) {
		h.e.MaxRunning = map[string]int{"p": 1}
		for id := range int64(2) {
			h.start(2+id, object{"pool": "p"})
			h.claim("a", 1, 2+id, 1)
		}
	}},
	{"a lane that rejects has a live run too many", history.Admission, func(h *tape) {
		for id := range int64(2) {
			h.start(2+id, object{"lane": 7, "lane_limit": 1, "collision": "reject"})
		}
	}},
	{"a run is started while another stands for its dedupe key", history.StartedOnce, func(h *tape) {
		for id := range int64(2) {
			h.write("", "dedupe", "k", object{"job_type": "work", "key": "k", "run": 2 + id, "expires_at": origin.Add(h.now() + ms(60_000))})
			h.start(2+id, object{"job_type": "work", "dedupe_key": "k"})
		}
	}},
	{"a run is replayed while another stands for its dedupe key", history.StartedOnce, func(h *tape) {
		h.start(2, object{"job_type": "work", "dedupe_key": "k"})
		h.run("", 2, object{"status": "cancelled"})
		h.write("", "dedupe", "k", object{"job_type": "work", "key": "k", "run": 3, "expires_at": origin.Add(h.now() + ms(60_000))})
		h.start(3, object{"job_type": "work", "dedupe_key": "k"})
		h.run("", 2, object{"status": "pending", "replays": 1})
	}},
	{"two runs were given for one idempotency key", history.StartedOnce, func(h *tape) {
		h.executed(2)
		h.e.Started = append(h.e.Started, history.Start{Run: 1, Tenant: "t", Key: "k"}, history.Start{Run: 2, Tenant: "t", Key: "k"})
	}},
	{"an ended run is written again", history.EndedStays, func(h *tape) { h.run("a", 1, object{"status": "failed"}) }},
	{"an ended run is written again without another status", history.EndedStays, func(h *tape) { h.run("a", 1, object{"output": object{}}) }},
	{"an ended run comes back without a replay", history.EndedStays, func(h *tape) {
		h.together(func() {
			h.run("a", 1, object{"status": "pending"})
			h.place("a", "ready", 1, true)
		})
	}},
	{"a run does not end", history.EveryRunEnds, func(h *tape) { h.start(2, nil) }},
	{"a hold is left", history.EveryRunEnds, func(h *tape) {
		h.write("a", "lane_hold", "1", object{"run": 1, "lane": 7, "token": 1, "worker": 1})
	}},
	{"a receipt is left", history.EveryRunEnds, func(h *tape) { h.receipt("a", 1, 1, 1) }},
	{"a pending run stands nowhere", history.OnePlace, func(h *tape) {
		h.start(2, nil)
		h.place("", "ready", 2, false)
	}},
	{"a pending run stands in two places", history.OnePlace, func(h *tape) {
		h.start(2, nil)
		h.place("", "scheduled", 2, true)
	}},
	{"a running run stands in a place", history.OnePlace, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.place("a", "ready", 2, true)
	}},
	{"a running run is in no receipt", history.OnePlace, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.write("a", "receipt", fmt.Sprint(int64(2), int64(1)), nil)
	}},
	{"a lease is recovered late", history.RecoveredInTime, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.renew("a", 1, ms(100))
		h.tx += 15
		h.remove("b")
		h.back("b", 2, 1)
		h.claim("b", 2, 2, 2)
		h.settle("b", 2, 2)
	}},
	{"a lease is never recovered", history.RecoveredInTime, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.renew("a", 1, ms(100))
		h.tx += 15
	}},
	{"an effect after a newer claim began", history.NoLateEffect, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.mark("a", history.Began, 1, 2, 1)
		h.renew("a", 1, -ms(1))
		h.remove("b")
		h.back("b", 2, 1)
		h.claim("b", 2, 2, 2)
		h.mark("b", history.Began, 2, 2, 2)
		h.mark("a", history.Acted, 1, 2, 1)
	}},
	{"an endpoint goes on though its worker gave the request up", history.NoLateEffect, func(h *tape) {
		postedTwice(h)
		h.tx += 5
		h.mark(history.Endpoint, history.Reached, 0, 2, 1)
	}},
	{"a living worker's row is removed", history.LiveLease, func(h *tape) { h.remove("b") }},
	{"a run is taken from a worker that is there", history.LiveLease, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.back("b", 2, 1)
	}},
	{"an id is revived", history.IncarnationOnce, func(h *tape) {
		h.renew("a", 1, -ms(1))
		h.remove("b")
		h.renew("a", 1, ms(60_000))
	}},
	{"a claim for a worker that is gone", history.IncarnationOnce, func(h *tape) {
		h.remove("a")
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
	}},
	{"a claim that skips a token", history.TokenGrows, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 2)
	}},
	{"a replay that resets the token", history.TokenGrows, func(h *tape) {
		h.together(func() {
			h.run("", 1, object{"status": "pending", "replays": 1, "claim_token": 0})
			h.place("", "ready", 1, true)
		})
	}},
	{"an execution without a claim", history.HandedOut, func(h *tape) { h.mark("a", history.Began, 1, 1, 9) }},
	{"an execution before its claim is committed", history.HandedOut, func(h *tape) {
		h.start(2, nil)
		h.mark("a", history.Began, 1, 2, 1)
		h.claim("a", 1, 2, 1)
	}},
	{"two executions of one claim", history.HandedOut, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.mark("a", history.Began, 1, 2, 1)
		h.mark("a", history.Began, 1, 2, 1)
	}},
	{"a claim is given back while its handler executes", history.StillExecutes, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.mark("a", history.Began, 1, 2, 1)
		h.back("a", 2, 0)
		h.mark("a", history.Stopped, 1, 2, 1)
	}},
	{"a run is replayed while its handler executes", history.StillExecutes, func(h *tape) {
		h.start(2, object{"input": object{"complete": true}})
		h.claim("a", 1, 2, 1)
		h.mark("a", history.Began, 1, 2, 1)
		h.together(func() {
			h.write("a", "effect", "x", object{"run": 2, "token": 1})
			h.run("a", 2, object{"status": "completed"})
			h.forget("a", 2, 1)
		})
		h.together(func() {
			h.run("", 2, object{"status": "pending", "replays": 1})
			h.place("", "ready", 2, true)
		})
		h.claim("b", 2, 2, 2)
		h.mark("b", history.Began, 2, 2, 2)
		h.mark("a", history.Stopped, 1, 2, 1)
	}},
	{"a lease is removed while a run runs under it", history.StillExecutes, func(h *tape) {
		h.start(2, nil)
		h.claim("a", 1, 2, 1)
		h.remove("a")
	}},
	{"a lease is removed while a handler executes", history.StillExecutes, func(h *tape) {
		h.start(2, object{"input": object{"complete": true}})
		h.claim("a", 1, 2, 1)
		h.mark("a", history.Began, 1, 2, 1)
		h.together(func() {
			h.write("a", "effect", "x", object{"run": 2, "token": 1})
			h.run("a", 2, object{"status": "completed"})
			h.forget("a", 2, 1)
		})
		h.remove("a")
		h.mark("a", history.Stopped, 1, 2, 1)
	}},
}

// postedTwice has the endpoint serve a second claim of run 2, whose first worker has lost its lease.
func postedTwice(h *tape) {
	h.start(2, nil)
	h.claim("a", 1, 2, 1)
	h.mark(history.Endpoint, history.Served, 0, 2, 1)
	h.renew("a", 1, -ms(1))
	h.remove("b")
	h.back("b", 2, 1)
	h.claim("b", 2, 2, 2)
	h.mark(history.Endpoint, history.Served, 0, 2, 2)
}
