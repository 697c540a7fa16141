//go:build chaos

package chaos_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/test/chaos/history"
)

// rule is one rule of the lease protocol, switched off in one form: in the database's functions, or in the worker "a".
type rule struct {
	rule, form string
	scenario   *scenario
	mutations  []mutation
	broken     string
	clock      time.Duration
	// found are the invariants of which one must be broken, within a few tries.
	found []history.Invariant
}

// TestRules plays every scenario with the rules on, which must be clean, and every rule off, which must be found.
func TestRules(t *testing.T) {
	s := newServer(t, 3*time.Hour, "max_connections=400") // scenarios share it
	t.Run("group", func(t *testing.T) {
		for _, sc := range scenarios() {
			t.Run(sc.name+"/rules on", func(t *testing.T) {
				t.Parallel()
				holds(t, s, sc)
			})
		}
		for _, r := range rules {
			t.Run(r.rule+"/"+r.form, func(t *testing.T) {
				t.Parallel()
				isFound(t, s, r)
			})
		}
	})
}

// tries is how often a rule may be off unnoticed on a busy machine.
const tries = 3

// scenarios are those of the rules, each once, and what random schedules have found.
var scenarios = sync.OnceValue(func() []*scenario {
	all := []*scenario{&silentCommit}
	for _, r := range rules {
		if !slices.Contains(all, r.scenario) {
			all = append(all, r.scenario)
		}
	}
	return all
})

// holds plays a scenario with all rules on.
func holds(t *testing.T, s *server, sc *scenario) {
	w := stage(t, s, rule{})
	found := sc.play(w)
	j := w.judge(patience)
	j.violations = append(found, j.violations...)
	w.verdict(&j, w.stop())
}

// isFound plays a scenario with a rule off and wants an invariant to be broken.
func isFound(t *testing.T, s *server, r rule) {
	began := time.Now()
	result := ruleResult{rule: r.rule, form: r.form}
	defer func() {
		result.took = time.Since(began)
		report.rule(result)
	}()
	for try := range tries {
		result.tries = try + 1
		w := stage(t, s, r)
		found := r.scenario.play(w)
		j := w.judge(r.scenario.patience)
		all := append(found, j.violations...)
		i := slices.IndexFunc(all, func(v history.Violation) bool { return slices.Contains(r.found, v.Invariant) })
		if i >= 0 {
			result.caught = all[i].Invariant
			t.Log(all[i])
			return
		}
		t.Logf("try %d: %d other violations: %v\n%s", try+1, len(all), all, w.story())
	}
	t.Errorf("%s off (%s) was found by nothing; want one of %v", r.rule, r.form, r.found)
}

// rules are those of section 5 of docs/leases.md that have a counterexample.
var rules = []rule{
	{
		rule: "S1", form: "a worker writes instants of its own clock", scenario: &killed, broken: ownClock, clock: 10 * time.Hour,
		found: []history.Invariant{history.EveryRunEnds},
	},
	{
		rule: "S2", form: "settle without a fence", scenario: &zombie,
		mutations: []mutation{
			{
				function: "settle", replace: "WHERE true",
				find: "WHERE (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, s.token)",
			},
		},
		found: []history.Invariant{history.SettledOnce, history.EndedStays},
	},
	{
		rule: "S2", form: "settle by worker without token", scenario: &lateSettle,
		mutations: []mutation{
			{
				function: "settle_other", replace: "WHERE (r.status, r.claimed_by) IS NOT DISTINCT FROM ('running', p_worker)",
				find: "WHERE (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, s.token)",
			},
		},
		found: []history.Invariant{history.StillExecutes},
	},
	{
		rule: "S2", form: "complete without a fence", scenario: &zombie,
		mutations: []mutation{
			{
				function: "complete", replace: "WHERE r.id = complete.run",
				find: "WHERE r.id = complete.run AND (r.status, r.claim_token) IS NOT DISTINCT FROM ('running', complete.token)",
			},
		},
		found: []history.Invariant{history.SettledOnce, history.EffectOnce},
	},
	{
		rule: "S2", form: "a handler's fence that lets all pass", scenario: &zombie,
		mutations: []mutation{
			{
				function: "fence", replace: "AND true",
				find: "AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', fence.worker, fence.token)",
			},
		},
		found: []history.Invariant{history.EffectOnce},
	},
	{
		rule: "S2", form: "steps without a fence", scenario: &zombie,
		mutations: []mutation{
			{
				function: "claim_life", replace: "WHERE r.id = p_run",
				find: "WHERE r.id = p_run AND (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', p_worker, p_token)",
			},
		},
		found: []history.Invariant{history.EffectOnce},
	},
	{
		rule: "S2", form: "a replay that resets the token", scenario: &replayed,
		mutations: []mutation{{function: "replay", find: "attempts = 0, lease_losses = 0,", replace: "attempts = 0, claim_token = 0, lease_losses = 0,"}},
		found:     []history.Invariant{history.TokenGrows},
	},
	{
		rule: "S2", form: "a replay while the handler executes", scenario: &replayed,
		mutations: []mutation{{function: "replay", find: "AND NOT EXISTS (SELECT FROM completing c WHERE c.run = r.id)", replace: ""}},
		found:     []history.Invariant{history.StillExecutes},
	},
	{
		rule: "S3", form: "an id is revived", scenario: &zombie, broken: revivesIDs,
		found: []history.Invariant{history.IncarnationOnce},
	},
	{
		rule: "S4", form: "a worker does not fence itself", scenario: &cutOff, broken: neverFences,
		found: []history.Invariant{history.NoLateEffect},
	},
	{
		rule: "S5", form: "only receipts of workers just deleted", scenario: &lockedAtSweep,
		mutations: []mutation{
			{
				function: "sweep", find: "RETURNING 1 ) SELECT count(*) INTO workers FROM d;",
				replace: "RETURNING id) SELECT count(*) + 0 * length(set_config('chaos.gone', coalesce(array_agg(id), '{}')::text, true)) INTO workers FROM d;",
			},
			{
				function: "sweep", find: "WHERE NOT EXISTS (SELECT FROM worker w WHERE w.id = c.worker) ORDER BY c.id",
				replace: "WHERE c.worker = ANY (current_setting('chaos.gone')::bigint[]) ORDER BY c.id",
			},
		},
		found: []history.Invariant{history.EveryRunEnds, history.RecoveredInTime},
	},
	{
		rule: "S5", form: "put back by status alone", scenario: &halfOfAReceipt,
		mutations: []mutation{
			{
				function: "sweep_receipts", replace: "WHERE r.status = 'running'",
				find: "WHERE (r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', n.worker, n.token)",
			},
		},
		found: []history.Invariant{history.LiveLease},
	},
	{
		rule: "S6", form: "no reconcile", scenario: &lostClaim, broken: neverReconciles,
		found: []history.Invariant{history.EveryRunEnds},
	},
	{
		rule: "S6", form: "hand-out before commit", scenario: &bustle, broken: handsOutEarly,
		found: []history.Invariant{history.HandedOut},
	},
	{
		rule: "S6", form: "claim and reconcile together", scenario: &bustle, broken: claimsMeanwhile,
		found: []history.Invariant{history.StillExecutes, history.HandedOut},
	},
	{
		rule: "S7", form: "claim without guard, audit in two statements", scenario: &bustle,
		mutations: []mutation{
			{function: "claim", find: "AND r.status = 'pending'", replace: ""},
			{
				function: "audit", find: "WITH s AS MATERIALIZED ( SELECT r.id FROM run r WHERE r.id > v_from AND r.id <= v_to AND r.status = 'pending'",
				replace: "CREATE TEMP TABLE IF NOT EXISTS seen (id bigint); DELETE FROM seen;" +
					" INSERT INTO seen SELECT r.id FROM run r WHERE r.id > v_from AND r.id <= v_to AND r.status = 'pending';" +
					" PERFORM pg_sleep(0.1); WITH s AS MATERIALIZED (SELECT r.id FROM run r WHERE r.id IN (SELECT id FROM seen)",
			},
		},
		found: []history.Invariant{history.OnePlace},
	},
	{
		rule: "S8", form: "lanes are not locked", scenario: &lanesOfOne,
		mutations: []mutation{
			{
				function: "admit", find: "ORDER BY l.id FOR UPDATE SKIP LOCKED) AS x;",
				replace: "ORDER BY l.id) AS x; PERFORM pg_sleep(0.05);",
			},
		},
		found: []history.Invariant{history.LaneLimit},
	},
	{
		rule: "S8", form: "lock and look in one statement", scenario: &lanesOfOne,
		mutations: []mutation{
			{
				function: "admit", find: "ORDER BY l.id FOR UPDATE SKIP LOCKED) AS x;",
				replace: "ORDER BY l.id) AS x;",
			},
			{
				function: "admit", replace: "FROM (SELECT * FROM lane WHERE id = ANY (v_lanes) ORDER BY id FOR UPDATE) AS l ), kept AS",
				find: "FROM lane l WHERE l.id = ANY (v_lanes) ), kept AS",
			},
			{function: "claim", find: "RETURN QUERY WITH", replace: "PERFORM pg_sleep(0.03); RETURN QUERY WITH"},
		},
		found: []history.Invariant{history.LaneLimit},
	},
	{
		rule: "S8", form: "freed at completion", scenario: &lanesOfOne,
		mutations: []mutation{
			{
				function: "complete", find: "PERFORM bound_idle(v_worker);",
				replace: "PERFORM bound_idle(v_worker); DELETE FROM lane_hold h WHERE h.run = complete.run;",
			},
		},
		found: []history.Invariant{history.LaneLimit},
	},
	{
		rule: "S8", form: "a sweep that does not wake lanes", scenario: &keptLane,
		mutations: []mutation{{function: "sweep_lanes", find: "pools := lane_wake(coalesce(v_lanes, '{}'));", replace: "pools := '{}';"}},
		found:     []history.Invariant{history.EveryRunEnds},
	},
	{
		rule: "S9", form: "the lease is removed early", scenario: &drained, broken: leavesEarly,
		found: []history.Invariant{history.StillExecutes, history.NoLateEffect},
	},
	{
		rule: "S9", form: "a running handler's run is given back", scenario: &drained, broken: givesBackRunning,
		found: []history.Invariant{history.StillExecutes, history.NoLateEffect},
	},
	{
		rule: "S10", form: "the run before its side row", scenario: &cancelMeetsClaim,
		mutations: []mutation{
			{
				function: "cancel", find: "FOR i IN 1..100 LOOP",
				replace: "PERFORM FROM run r WHERE r.id = v_run FOR UPDATE; PERFORM pg_sleep(2.5); FOR i IN 1..100 LOOP",
			},
		},
		found: []history.Invariant{history.NoDeadlock},
	},
	{
		rule: "S10", form: "a caller locks a running run", scenario: &callerStays,
		mutations: []mutation{
			{
				function: "cancel", find: "PERFORM request_cancels(",
				replace: "PERFORM FROM run r WHERE r.id = v_run FOR UPDATE; PERFORM request_cancels(",
			},
		},
		found: []history.Invariant{history.NobodyWaits},
	},
	{
		rule: "S10", form: "no idle timeout", scenario: &frozenInTransaction,
		mutations: []mutation{{function: "bound_idle", find: "BEGIN SELECT", replace: "BEGIN RETURN; SELECT"}},
		found:     []history.Invariant{history.RecoveredInTime},
	},
	{
		rule: "S10", form: "lanes are locked in any order", scenario: &sharedLanes,
		mutations: []mutation{
			{
				function: "settle", find: "PERFORM FROM lane l WHERE l.id = ANY (p_lanes) ORDER BY l.id FOR UPDATE;",
				replace: "DECLARE v_x bigint; BEGIN FOREACH v_x IN ARRAY (SELECT array_agg(x ORDER BY random()) FROM unnest(p_lanes) AS x) LOOP" +
					" PERFORM FROM lane l WHERE l.id = v_x FOR UPDATE; PERFORM pg_sleep(0.01); END LOOP; END;",
			},
		},
		found: []history.Invariant{history.NoDeadlock},
	},
	{
		rule: "Completion", form: "guessing after an unknown commit", scenario: &forgetful, broken: guesses,
		found: []history.Invariant{history.EffectOnce},
	},
}
