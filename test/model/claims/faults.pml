/* Time, crashes, restarts, freezes, and the drain (S9). */
c_code {
/* A lease runs out: of a process that is gone at any time, of one that lives within the budget. */
static int can_expire(int i) {
#if defined(S4_KEPT) && !defined(S4_NO_SELF_FENCE)      /* only after its handlers have obeyed the self-fence */
  int s;
  for (s = 0; s < SLOT_COUNT; s++) if (executes(s) && slot_worker[s] == i) return 0;
#endif
  return worker_row[i] == 1 && !worker_lock[i] && (!worker_lives[i] || expiries < EXPIRIES);
}
static void do_expire(int i) { worker_row[i] = 2; expiries += worker_lives[i]; }
static int can_become_due(int r) { return (run_place[r] & SCHEDULED) && !side_lock[r]; }
static void do_become_due(int r) { run_place[r] = (run_place[r] & ~SCHEDULED) | READY; check(); }

/* A process goes: its slots are gone, its statements end or not, the transactions of its handlers stay in doubt. */
static void go_down(int w) {
  int s;
  for (s = w*SLOTS; s < w*SLOTS+SLOTS; s++) {
    if (fenced(s)) leave_behind(s);
    if (slot_lane[s]) slot_lane[s] = lane_lock = 0;
    clear_slot(s);
  }
  if (reconcile_step[w]) release_reconcile(w);
  worker_lives[incarnation[w]] = 0;
  up[w] = incarnation[w] = 0;
  if (claim_step[w]) claim_given_up[w] = 1;
}
static int can_crash(int w) { return up[w] && crashes < CRASHES; }
static void do_crash(int w) { crashes++; go_down(w); drain_step[w] = 0; }
static int can_restart(int w) { return !up[w] && !drain_step[w]; }
static void do_restart(int w) { up[w] = 1; new_incarnation(w); }

/* A process is frozen for ever inside a transaction. S10: idle_in_transaction_session_timeout ends the transaction. */
static int can_freeze_in_claim(int w) { return up[w] && !claim_given_up[w] && (claim_step[w] == 2 || claim_step[w] == 3) && freezes < FREEZES; }
static void do_freeze_in_claim(int w) { freezes++; frozen[w] = 1; go_down(w); }
static int can_end_frozen_claim(int w) {
#ifdef S10_NO_IDLE_TIMEOUT
  return 0;
#endif
  return frozen[w];
}
static void do_end_frozen_claim(int w) { release_claim(w); end_claim(w); frozen[w] = 0; check(); }
static int can_freeze_in_sweep(int v) { return sweep_step[v] && !sweep_frozen[v] && freezes < FREEZES; }
static void do_freeze_in_sweep(int v) { freezes++; sweep_frozen[v] = 1; }
static int can_end_frozen_sweep(int v) {
#ifdef S10_NO_IDLE_TIMEOUT
  return 0;
#endif
  return sweep_frozen[v];
}
static void do_end_frozen_sweep(int v) { sweep_frozen[v] = 0; release_sweep(v); check(); }

/* S9: no more claims; at the drain timeout handlers are told to stop; the lease goes only when nothing is left, looked at
 * under the lock of the own row; otherwise the process exits and lets it expire. */
static int can_drain(int w) { return up[w] && !drain_step[w] && drains < DRAINS; }
static void do_drain(int w) { drains++; drain_step[w] = 1; }
static int can_drain_time_out(int w) { return up[w] && drain_step[w] == 1; }
static void do_drain_time_out(int w) { drain_step[w] = 2; tell_to_stop(w); }
static int nothing_is_left(int w) {
  int s, k;
  for (s = w*SLOTS; s < w*SLOTS+SLOTS; s++) if (slot_state[s]
#ifdef S9_LEFT_BY_RUNNING_RUNS      /* what still runs, instead of what has not stopped */
    && current(slot_run[s], slot_worker[s], slot_token[s])
#endif
    ) return 0;
  for (k = 0; k < RECEIPTS; k++) if (receipt_worker[k] == incarnation[w] && something_runs_in(k)) return 0;
  return 1;
}
static int can_leave(int w) {
  int i = incarnation[w];
  return up[w] && drain_step[w] == 2 && !reconcile_step[w] && (!claim_step[w] || claim_given_up[w]) && worker_row[i] && !worker_shared[i] &&
    !worker_lock[i]
#ifndef S9_LEAVE_EARLY
    && nothing_is_left(w)
#endif
  ;
}
static void do_leave(int w) {
  worker_row[incarnation[w]] = worker_lives[incarnation[w]] = 0;
  drain_step[w] = 3;
#if !defined(S9_LEAVE_EARLY) && !defined(S9_LEFT_BY_RUNNING_RUNS)
  go_down(w);
  drain_step[w] = 4;
#endif
  check();
}
static int can_exit(int w) { return up[w] && (drain_step[w] == 2 || drain_step[w] == 3); }
static void do_exit(int w) { go_down(w); drain_step[w] = 4; check(); }
};
