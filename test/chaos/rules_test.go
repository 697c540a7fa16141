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
	// found are the invariants of which one must be broken, within a few tries.
	found []history.Invariant
	// random says that random schedules find it as well.
	random bool
}

// inSQL is a rule that is off in the text of SQL functions.
func inSQL(name, form string, in *scenario, changes []mutation, found ...history.Invariant) rule {
	return rule{rule: name, form: form, scenario: in, mutations: changes, found: found}
}

// inWorker is a rule that a worker does not obey.
func inWorker(name, form string, in *scenario, broken string, found ...history.Invariant) rule {
	return rule{rule: name, form: form, scenario: in, broken: broken, found: found}
}

// anywhere is a rule that needs no situation made for it: what it forbids happens under load and faults.
func anywhere(r rule) rule {
	r.random = true
	return r
}

// without is one function without a text; instead is one with another text in its place.
func without(function, text string) []mutation { return instead(function, text, "") }

func instead(function, text, other string) []mutation {
	return []mutation{{function: function, find: text, replace: other}}
}

// TestRules plays every scenario with the rules on, which must be clean, and every rule off, which must be found: in its
// scenario, and by random schedules where those can find it.
func TestRules(t *testing.T) {
	s := newServer(t, 3*time.Hour, "max_connections=400", "deadlock_timeout=200ms") // scenarios share it
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
				isFound(t, s, r, "", r.play)
			})
		}
	})
	t.Run("at random", atRandom)
}

// atRandom plays random schedules with rules off, a schedule at a time on each of some servers, which the faults hit too.
func atRandom(t *testing.T) {
	var servers sync.WaitGroup
	defer servers.Wait()
	next := make(chan rule)
	defer close(next)
	for _, skew := range []time.Duration{-3 * time.Hour, time.Minute, 6 * time.Hour} {
		s := newServer(t, skew)
		servers.Go(func() {
			for r := range next {
				t.Run(r.rule+"/"+r.form, func(t *testing.T) { isFound(t, s, r, ", at random", r.playAnywhere) })
			}
		})
	}
	for _, r := range rules {
		if r.random {
			next <- r
		}
	}
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

// play plays the scenario with the rule off, in a world that is new.
func (r rule) play(t *testing.T, s *server, _ int) (*world, judgement) {
	w := stage(t, s, r)
	found := r.scenario.play(w)
	j := w.judge(r.scenario.patience)
	j.violations = append(found, j.violations...)
	return w, j
}

// playAnywhere plays a random schedule with the rule off in every worker. The seeds are odd: no other release is rolled
// out, which would bring functions without the mutation.
func (r rule) playAnywhere(t *testing.T, s *server, try int) (*world, judgement) {
	w := newWorld(t, s, r.mutations...)
	w.breaks = func(s *settings) { s.Broken = r.broken }
	w.disturb(uint64(2*try + 1))
	return w, w.judge(8 * time.Second)
}

// isFound plays with a rule off and wants an invariant to be broken.
func isFound(t *testing.T, s *server, r rule, how string, play func(*testing.T, *server, int) (*world, judgement)) {
	began := time.Now()
	result := ruleResult{rule: r.rule, form: r.form + how}
	defer func() {
		result.took = time.Since(began)
		report.rule(result)
	}()
	for try := range tries {
		result.tries = try + 1
		w, j := play(t, s, try)
		i := slices.IndexFunc(j.violations, func(v history.Violation) bool { return slices.Contains(r.found, v.Invariant) })
		if i >= 0 {
			result.caught = j.violations[i].Invariant
			t.Log(j.violations[i])
			return
		}
		t.Logf("try %d: %d other violations: %v\n%s", try+1, len(j.violations), j.violations, w.story())
	}
	t.Errorf("%s off (%s) was found by nothing; want one of %v", r.rule, result.form, r.found)
}

// held is how a write of a claim is fenced, but for whose it is.
const held = "(r.status, r.claimed_by, r.claim_token) IS NOT DISTINCT FROM ('running', "

// rules are those of docs/leases.md that have a counterexample, and the keys of starts. The others are found by their
// scenarios alone. What random schedules would need for them is too rare for a few of ten seconds each: a handler that goes
// on after its lease (the fences of S2, S4, S8 and S9), a run that comes back to the same worker while a reply is late (S2
// without token), a reply lost to one kind of statement (S6 without reconcile), a receipt of which half is gone or a row that
// is locked in one moment (S5), two statements in the wrong order within milliseconds (S7, S8, S10, dedupe keys), a caller
// who stays, or a process that freezes, just then (S10).
var rules = []rule{
	anywhere(inWorker("S1", "a worker writes instants of its own clock", &killed, ownClock, history.EveryRunEnds)),
	anywhere(inSQL("S2", "settle without a fence", &zombie,
		instead("settle", "WHERE "+held+"p_worker, s.token)", "WHERE true"), history.SettledOnce, history.EndedStays)),
	inSQL("S2", "settle by worker without token", &lateSettle,
		instead("settle_other", held+"p_worker, s.token)", "(r.status, r.claimed_by) IS NOT DISTINCT FROM ('running', p_worker)"),
		history.StillExecutes),
	inSQL("S2", "complete without a fence", &zombie,
		without("complete", "AND (r.status, r.claim_token) IS NOT DISTINCT FROM ('running', complete.token)"), history.SettledOnce, history.EffectOnce),
	inSQL("S2", "a handler's fence that lets all pass", &zombie,
		without("fence", "AND "+held+"fence.worker, fence.token)"), history.EffectOnce),
	inSQL("S2", "steps without a fence", &zombie,
		without("claim_life", "AND "+held+"p_worker, p_token)"), history.EffectOnce),
	anywhere(inSQL("S2", "a replay that resets the token", &replayed,
		instead("replay", "attempts = 0, lease_losses = 0,", "attempts = 0, claim_token = 0, lease_losses = 0,"), history.TokenGrows)),
	inSQL("S2", "a replay while the handler executes", &replayed,
		without("replay", "AND NOT EXISTS (SELECT FROM completing c WHERE c.run = r.id)"), history.StillExecutes),
	anywhere(inWorker("S3", "an id is revived", &zombie, revivesIDs, history.IncarnationOnce)),
	inWorker("S4", "a worker does not fence itself", &cutOff, neverFences, history.NoLateEffect),
	inSQL("S5", "only receipts of workers just deleted", &lockedAtSweep, []mutation{
		{
			function: "sweep", find: "RETURNING 1 ) SELECT count(*) INTO workers FROM d;",
			replace: "RETURNING id) SELECT count(*) + 0 * length(set_config('chaos.gone', coalesce(array_agg(id), '{}')::text, true)) INTO workers FROM d;",
		},
		{
			function: "sweep", find: "WHERE NOT EXISTS (SELECT FROM worker w WHERE w.id = c.worker) ORDER BY c.id",
			replace: "WHERE c.worker = ANY (current_setting('chaos.gone')::bigint[]) ORDER BY c.id",
		},
	}, history.EveryRunEnds, history.RecoveredInTime),
	inSQL("S5", "put back by status alone", &halfOfAReceipt,
		instead("sweep_receipts", "WHERE "+held+"n.worker, n.token)", "WHERE r.status = 'running'"), history.LiveLease),
	inWorker("S6", "no reconcile", &lostClaim, neverReconciles, history.EveryRunEnds),
	anywhere(inWorker("S6", "hand-out before commit", &bustle, handsOutEarly, history.HandedOut)),
	anywhere(inWorker("S6", "claim and reconcile together", &bustle, claimsMeanwhile, history.StillExecutes, history.HandedOut)),
	inSQL("S7", "claim without guard, audit in two statements", &bustle, []mutation{
		{function: "claim", find: "AND r.status = 'pending'"},
		{
			function: "audit", find: "WITH s AS MATERIALIZED ( SELECT r.id FROM run r WHERE r.id > v_from AND r.id <= v_to AND r.status = 'pending'",
			replace: "CREATE TEMP TABLE IF NOT EXISTS seen (id bigint); DELETE FROM seen;" +
				" INSERT INTO seen SELECT r.id FROM run r WHERE r.id > v_from AND r.id <= v_to AND r.status = 'pending';" +
				" PERFORM pg_sleep(0.1); WITH s AS MATERIALIZED (SELECT r.id FROM run r WHERE r.id IN (SELECT id FROM seen)",
		},
	}, history.OnePlace),
	inSQL("S8", "lanes are not locked", &lanesOfOne,
		instead("admit", "ORDER BY l.id FOR UPDATE SKIP LOCKED) AS x;", "ORDER BY l.id) AS x; PERFORM pg_sleep(0.05);"), history.LaneLimit),
	inSQL("S8", "lock and look in one statement", &lanesOfOne, []mutation{
		{function: "admit", find: "ORDER BY l.id FOR UPDATE SKIP LOCKED) AS x;", replace: "ORDER BY l.id) AS x;"},
		{
			function: "admit", replace: "FROM (SELECT * FROM lane WHERE id = ANY (v_lanes) ORDER BY id FOR UPDATE) AS l ), kept AS",
			find: "FROM lane l WHERE l.id = ANY (v_lanes) ), kept AS",
		},
		{function: "claim", find: "RETURN QUERY WITH", replace: "PERFORM pg_sleep(0.03); RETURN QUERY WITH"},
	}, history.LaneLimit),
	inSQL("S8", "freed at completion", &lanesOfOne,
		instead("complete", "PERFORM bound_idle(v_worker);", "PERFORM bound_idle(v_worker); DELETE FROM lane_hold h WHERE h.run = complete.run;"),
		history.LaneLimit),
	inSQL("S8", "a sweep that does not wake lanes", &keptLane,
		instead("sweep_lanes", "pools := lane_wake(coalesce(v_lanes, '{}'));", "pools := '{}';"), history.EveryRunEnds),
	inWorker("S9", "the lease is removed early", &drained, leavesEarly, history.StillExecutes, history.NoLateEffect),
	inWorker("S9", "a running handler's run is given back", &drained, givesBackRunning, history.StillExecutes, history.NoLateEffect),
	inSQL("S10", "the run before its side row", &cancelMeetsClaim,
		instead("cancel", "FOR i IN 1..100 LOOP", "PERFORM FROM run r WHERE r.id = v_run FOR UPDATE; PERFORM pg_sleep(1.9); FOR i IN 1..100 LOOP"),
		history.NoDeadlock),
	inSQL("S10", "a caller locks a running run", &callerStays,
		instead("cancel", "PERFORM request_cancels(", "PERFORM FROM run r WHERE r.id = v_run FOR UPDATE; PERFORM request_cancels("), history.NobodyWaits),
	inSQL("S10", "no idle timeout", &frozenInTransaction, instead("bound_idle", "BEGIN SELECT", "BEGIN RETURN; SELECT"), history.RecoveredInTime),
	inSQL("S10", "lanes are locked in any order", &sharedLanes,
		instead("settle", "PERFORM FROM lane l WHERE l.id = ANY (p_lanes) ORDER BY l.id FOR UPDATE;",
			"DECLARE v_x bigint; BEGIN FOREACH v_x IN ARRAY (SELECT array_agg(x ORDER BY random()) FROM unnest(p_lanes) AS x) LOOP"+
				" PERFORM FROM lane l WHERE l.id = v_x FOR UPDATE; PERFORM pg_sleep(0.01); END LOOP; END;"), history.NoDeadlock),
	anywhere(inWorker("Completion", "guessing after an unknown commit", &forgetful, guesses, history.EffectOnce)),
	inSQL("Starts", "a dedupe key is taken without a look at who has it", &sameKeys,
		without("start_dedupe", "WHERE d.run = v_run AND d.expires_at = v_expires"), history.StartedOnce),
	anywhere(inSQL("Starts", "an idempotency key is not written", &sameKeys,
		instead("start_insert", "VALUES (p.id, p.job_type, p.pool, p.tenant, p.scope, p.idempotency_key,",
			"VALUES (p.id, p.job_type, p.pool, p.tenant, p.scope, NULL,"), history.StartedOnce)),
}
