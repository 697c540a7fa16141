/* The sweep (S5, S7, S8): one call, each statement seeing fresh data. Delete expired workers; lock the lanes of holds of
 * dead workers; put back what receipts of dead workers name; free their holds; repair what a park and a wake, or a
 * request and a put-back, have missed. */
c_code {
static int dead(int i, int v) { return i && (!worker_row[i] || worker_lock[i] == 30+v); }
static int may_delete(int i) { return worker_row[i] == 2 && !worker_shared[i] && !worker_lock[i]; }      /* SKIP LOCKED */
static int receipt_needs_sweep(int k) {
  int r, live = 0;
  if (!receipt_worker[k] || worker_row[receipt_worker[k]]) return 0;
  for (r = 0; r < RUNS; r++) if (names(k, r) && current(r, receipt_worker[k], receipt_token[k*RUNS+r])) {
    live = 1;
    if (!run_lock[r]) return 1;
  }
  return !live;
}
/* S5: a hold whose worker has no row, unless its run still runs under the hold's token: that run is put back first. */
static int hold_is_left(int r) {
#if defined(LANE) && !defined(S8_SWEEP_FREES_ONLY_PUT_BACK)
  if (hold[r] && hold_worker[r] && !worker_row[hold_worker[r]] && !current(r, hold_worker[r], hold_token[r])) return 1;
#ifdef S8_SWEEP_FREES_ENDED
  if (hold[r] && ended(r) && !lane_lock) return 1;
#endif
#endif
  return 0;
}
static int note_is_left(int r) { return completing_worker[r] && !worker_row[completing_worker[r]]; }
static int missed(int r) {
  if (endable(r)) return 1;
#ifndef S7_SWEEP_DOES_NOT_WAKE_WAITING
  if (wakeable(r)) return 1;
#endif
  return 0;
}
/* A sweep that would find nothing changes nothing, and is left out. */
static int can_sweep_begin(int v) {
  int i, k, r;
  if (sweep_step[v]) return 0;
  for (i = 1; i <= INCARNATIONS; i++) if (may_delete(i)) return 1;
#ifdef S5_OWN_RECEIPTS_ONLY
  return 0;
#endif
  for (k = 0; k < RECEIPTS; k++) if (receipt_needs_sweep(k)) return 1;
  for (r = 0; r < RUNS; r++) if (hold_is_left(r) || note_is_left(r) || missed(r)) return 1;
#ifndef S8_SWEEP_DOES_NOT_WAKE
  if (first_blocked() >= 0 && !lane_lock) return 1;
#endif
  return 0;
}
/* S5: every receipt whose worker row does not exist, not only those of workers just deleted. */
static void look_at_receipts(int v, int expired_too) {
  int k, r, i;
  for (k = 0; k < RECEIPTS; k++) if ((i = receipt_worker[k]) && (dead(i, v) || (expired_too && worker_row[i] == 2))) {
#ifdef S5_OWN_RECEIPTS_ONLY
    if (worker_lock[i] != 30+v && !(expired_too && worker_row[i] == 2)) continue;
#endif
    for (r = 0; r < RUNS; r++) if (names(k, r) && current(r, i, receipt_token[k*RUNS+r])) {
      sweep_worker[v*RUNS+r] = i; sweep_token[v*RUNS+r] = receipt_token[k*RUNS+r];
    }
  }
}
static void delete_workers(int v) { int i; for (i = 1; i <= INCARNATIONS; i++) if (may_delete(i)) worker_lock[i] = 30+v; }
static void do_sweep_begin(int v) {
#ifdef S5_ONE_SNAPSHOT
  look_at_receipts(v, 1);
  sweep_step[v] = 9;
  return;
#endif
  delete_workers(v);
#ifdef LANE
  sweep_step[v] = 1;
#else
  sweep_step[v] = 2;
#endif
}
static int can_sweep_delete_late(int v) { return sweep_step[v] == 9; }
static void do_sweep_delete_late(int v) { delete_workers(v); sweep_step[v] = 3; }
static int can_sweep_lock_lane(int v) { return !sweep_frozen[v] && sweep_step[v] == 1 && !lane_lock; }
static void do_sweep_lock_lane(int v) { lane_lock = 30+v; sweep_step[v] = 2; }
static int can_sweep_look(int v) { return !sweep_frozen[v] && sweep_step[v] == 2; }
static void do_sweep_look(int v) { look_at_receipts(v, 0); sweep_step[v] = 3; }
static void release_sweep(int v) {
  int i, r;
  for (i = 1; i <= INCARNATIONS; i++) if (worker_lock[i] == 30+v) worker_lock[i] = 0;
  for (r = 0; r < RUNS; r++) sweep_worker[v*RUNS+r] = sweep_token[v*RUNS+r] = 0;
  if (lane_lock == 30+v) lane_lock = 0;
  sweep_step[v] = 0;
}

/* S5: checked again on the locked row: still running under that receipt's worker and token. */
static void put_back_lost(int v, int r) {
  int i = sweep_worker[v*RUNS+r], token = sweep_token[v*RUNS+r];
#ifdef S5_ONE_SNAPSHOT
  if (!dead(i, v)) return;
#endif
#ifdef S5_STATUS_GUARD
  if (run_status[r] != RUNNING) return;
  if (!current(r, i, token)) fail(STOLEN);
#else
  if (!matches(r, i, token)) return;
#endif
  run_worker[r] = 0;
  if (++run_losses[r] > LOSSES) end_run(r, LOST);
  else put_back(r, READY);
#ifdef LANE
  if (has_hold(r, i, token)) delete_hold(r);
#endif
}
static void free_holds_of_the_dead(void) {
#if defined(LANE) && !defined(S8_SWEEP_FREES_ONLY_PUT_BACK)
  int r;
  for (r = 0; r < RUNS; r++) if (hold[r] && hold_worker[r] && !worker_row[hold_worker[r]]
#ifndef S8_SWEEP_FREES_RUNNING
    && !current(r, hold_worker[r], hold_token[r])
#endif
    ) delete_hold(r);
#ifdef S8_SWEEP_FREES_ENDED
  for (r = 0; r < RUNS; r++) if (hold[r] && ended(r)) delete_hold(r);
#endif
#endif
}
/* S7: what a park and a wake, a request and a put-back have missed. */
static void repair(void) {
  int r;
  for (r = 0; r < RUNS; r++) {
    if (note_is_left(r)) completing_worker[r] = completing_token[r] = 0;
    if (endable(r)) end_pending(r);
#ifndef S7_SWEEP_DOES_NOT_WAKE_WAITING
    wake_waiting(r);
#endif
  }
}
static int can_sweep_commit(int v) { return !sweep_frozen[v] && sweep_step[v] == 3; }
static void do_sweep_commit(int v) {
  int r, k, i;
  for (r = 0; r < RUNS; r++) if (sweep_token[v*RUNS+r] && !run_lock[r]) put_back_lost(v, r);
  for (i = 1; i <= INCARNATIONS; i++) if (worker_lock[i] == 30+v) worker_row[i] = worker_lock[i] = 0;
  free_holds_of_the_dead();
  for (k = 0; k < RECEIPTS; k++) if (receipt_worker[k] && !worker_row[receipt_worker[k]] && !something_runs_in(k)) forget_receipt(k);
  repair();
#ifndef S8_SWEEP_DOES_NOT_WAKE
  wake_lane();
#endif
  release_sweep(v);
  check();
}
static int can_sweep_abort(int v) { return !sweep_frozen[v] && sweep_step[v] && lost_replies < LOST_REPLIES; }
static void do_sweep_abort(int v) { release_sweep(v); lost_replies++; }

/* A deadline is over, and a handler under a live worker has not stopped: the sweep ends its run. The handler keeps slot
 * and lane until it returns, and the note of it keeps the run from being replayed (W26). */
static int can_overdue(int r) {
  return overdues < OVERDUES && run_status[r] == RUNNING && worker_row[run_worker[r]] && !run_lock[r];
}
static void do_overdue(int r) {
  overdues++;
#ifndef W26_NO_COMPLETING_ROW
  completing_worker[r] = run_worker[r]; completing_token[r] = run_token[r];
#endif
  end_run(r, TIMED_OUT);
  check();
}
};
