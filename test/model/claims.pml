/* The claim protocol of docs/leases.md: claims, leases, sweep, reconcile, settle, lanes, completion by the handler, steps,
 * trees of runs, waiting, cancel, replay and drain. Read the included files in order.
 *
 * One SQL statement is one step. A transaction's effects are applied at its commit, and its locks are held from the
 * statement that took them; READ COMMITTED lets each statement see what was committed before it. Every step is a pair of
 * C functions: can_NAME, its guard, and do_NAME. What would change nothing (an idle poll, a sweep that finds nothing) is
 * left out and faults have budgets, so the graph of states has no cycle worth mentioning, and "every run ends" is: where
 * nothing can happen any more, everything has ended (the invariant stuck).
 *
 * A rule is switched off by a macro with its name: S2_NO_FENCE. configurations.txt has them all, with what must follow. */
#include "claims/sizes.pml"
#include "claims/tables.pml"
#include "claims/trace.pml"
#include "claims/names.pml"
#include "claims/invariants.pml"
#include "claims/parts.pml"
#include "claims/claim.pml"
#include "claims/handler.pml"
#include "claims/settle.pml"
#include "claims/lease.pml"
#include "claims/sweep.pml"
#include "claims/faults.pml"
#include "claims/caller.pml"

#define OF_WORKER(w) \
  STEP(claim_send, w) STEP(claim_give_up, w) STEP(claim_lock_worker, w) STEP(claim_lock_lane, w) STEP(claim_skip_lane, w) \
  STEP(claim_commit, w) STEP(claim_abort, w) STEP(claim_answer, w) STEP(self_fence, w) STEP(beat_renew, w) \
  STEP(beat_find_no_row, w) STEP(reconcile_lock_worker, w) STEP(reconcile_lock_lane, w) STEP(reconcile_look, w) \
  STEP(reconcile_commit, w) STEP(crash, w) STEP(restart, w) STEP(drain, w) STEP(drain_time_out, w) STEP(leave, w) STEP(exit, w) \
  STEP(freeze_in_claim, w) STEP(end_frozen_claim, w)
#define OF_SLOT(s) \
  STEP(handler_succeed, s) STEP(handler_fail, s) STEP(handler_stop, s) STEP(handler_wait, s) STEP(handler_see_request, s) \
  STEP(begin_complete, s) STEP(begin_step, s) STEP(begin_spawn, s) STEP(fence, s) STEP(commit_work, s) STEP(roll_back_work, s) \
  STEP(lose_commit_reply, s) STEP(settle_lock_lane, s) STEP(settle_look, s) STEP(settle_time_out, s) STEP(settle_pass, s) \
  STEP(settle_decide, s) STEP(settle_answer, s) STEP(settle, s) STEP(settle_lose_reply, s) STEP(settle_abort, s) STEP(give_back_executing, s)
#define OF_SWEEP(v) \
  STEP(sweep_begin, v) STEP(sweep_delete_late, v) STEP(sweep_lock_lane, v) STEP(sweep_look, v) STEP(sweep_commit, v) \
  STEP(sweep_abort, v) STEP(freeze_in_sweep, v) STEP(end_frozen_sweep, v)
#define OF_RUN(r) \
  STEP(become_due, r) STEP(orphan_commit, r) STEP(orphan_abort, r) STEP(signal, r) STEP(overdue, r) STEP(outsider_begin, r) \
  STEP(outsider_fence, r) STEP(outsider_commit, r) STEP(outsider_abort, r)
#define OF_CALLER(c) \
  STEP(cancel_take_run, c) STEP(cancel_lock_lane, c) STEP(caller_commit, c) STEP(caller_roll_back, c) STEP(caller_stay, c)
#define OF_CALLER_RUN(n) STEP(cancel_take_side_row, n) STEP(request, n) STEP(replay, n)

/* A random walk instead of a search, for histories to be read: WALK=seed. It ends where nothing can happen any more. */
c_code {
#define STEP(name, which) {#name, can_##name, do_##name, which},
static const struct { const char *name; int (*can)(int); void (*take)(int); int which; } every_step[] = {
#include "claims/steps.pml"
};
#undef STEP
static void walk(unsigned seed) {
  int i, n, possible[500];
  srand(seed);
  do {
    for (i = n = 0; i < sizeof every_step / sizeof *every_step; i++) if (every_step[i].can(every_step[i].which)) possible[n++] = i;
    if (!n) break;
    i = possible[rand() % n];
    every_step[i].take(every_step[i].which);
    show(every_step[i].name, every_step[i].which);
  } while (!now.violated);
  if (!now.violated && !all_ended()) now.violated = STUCK;
  if (now.violated) printf("| *** %s%c", invariant[now.violated], 10);
  exit(now.violated);
}
};

#define STEP(name, which) \
  :: d_step { c_expr { (can_##name(which)) } -> c_code { do_##name(which); show(#name, which); } ; assert(violated == 0) }

active proctype Everything() {
  d_step { c_code { begin(); show("begin", 0); if (getenv("WALK")) walk(atoi(getenv("WALK"))); } }
  do
#include "claims/steps.pml"
  :: else -> d_step { c_code { if (!all_ended()) fail(STUCK); show("nothing more", 0); } ; assert(violated == 0) ; finished = 1 } ; break
  od
}
