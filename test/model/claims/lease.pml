/* The beat (S3) and the reconcile (S6). */
c_code {
/* A beat that finds its row renews it, expired or not: nobody has taken anything yet. */
static int can_beat_renew(int w) { int i = incarnation[w]; return up[w] && i && worker_row[i] == 2 && !worker_lock[i]; }
static void do_beat_renew(int w) { worker_row[incarnation[w]] = 1; }
/* A beat that finds no row cancels everything and starts a new incarnation; it never revives an id. */
static int can_beat_find_no_row(int w) { int i = incarnation[w]; return up[w] && i && !worker_row[i] && !reconcile_step[w]; }
static void do_beat_find_no_row(int w) {
#ifdef S3_REVIVE
  worker_row[incarnation[w]] = 1;
#else
  worker_lives[incarnation[w]] = 0;
  tell_to_stop(w);
  new_incarnation(w);
#endif
}

/* The process compares its receipts with what it holds by run and token, where held lasts from hand-out to the confirmed
 * settle. It locks its own row FOR UPDATE first, which waits out a claim in flight; claim and reconcile of a process are
 * never under way together. */
static int is_held(int w, int r, int worker, int token) {
  int s;
  for (s = w*SLOTS; s < w*SLOTS+SLOTS; s++)
    if (slot_state[s] && slot_run[s] == r && slot_worker[s] == worker && slot_token[s] == token) return 1;
  return 0;
}
static int unexplained(int w, int k, int r) {
  return names(k, r) && current(r, receipt_worker[k], receipt_token[k*RUNS+r]) && !is_held(w, r, receipt_worker[k], receipt_token[k*RUNS+r]);
}
static int receipts_differ(int w) {
  int k, r;
  for (k = 0; k < RECEIPTS; k++) if (receipt_worker[k] && receipt_worker[k] == incarnation[w]) {
    if (!something_runs_in(k)) return 1;
    for (r = 0; r < RUNS; r++) if (unexplained(w, k, r)) return 1;
  }
  return 0;
}
static int can_reconcile_lock_worker(int w) {
#ifdef S6_NO_RECONCILE
  return 0;
#endif
  return up[w] && !reconcile_step[w] && incarnation[w] && worker_row[incarnation[w]] && receipts_differ(w)
#ifndef S6_RECONCILE_BESIDE_CLAIM
    && (!claim_step[w] || claim_given_up[w])
#endif
#ifndef S6_NO_ROW_LOCK
    && !worker_shared[incarnation[w]] && !worker_lock[incarnation[w]]
#endif
  ;
}
static void do_reconcile_lock_worker(int w) {
#ifndef S6_NO_ROW_LOCK
  worker_lock[incarnation[w]] = 60+w;
#endif
#ifdef LANE
  reconcile_step[w] = 1;
#else
  reconcile_step[w] = 2;
#endif
}
static int can_reconcile_lock_lane(int w) { return reconcile_step[w] == 1 && up[w] && !lane_lock; }
static void do_reconcile_lock_lane(int w) { lane_lock = 60+w; reconcile_step[w] = 2; }
static int can_reconcile_look(int w) { return reconcile_step[w] == 2 && up[w]; }
static void do_reconcile_look(int w) {
  int k, r;
  for (k = 0; k < RECEIPTS; k++) if (receipt_worker[k] == incarnation[w])
    for (r = 0; r < RUNS; r++) if (unexplained(w, k, r)) reconcile_token[w*RUNS+r] = receipt_token[k*RUNS+r];
  reconcile_step[w] = 3;
}
static void release_reconcile(int w) {
  int r;
  for (r = 0; r < RUNS; r++) reconcile_token[w*RUNS+r] = 0;
  if (worker_lock[incarnation[w]] == 60+w) worker_lock[incarnation[w]] = 0;
  if (lane_lock == 60+w) lane_lock = 0;
  reconcile_step[w] = 0;
}
static int can_reconcile_commit(int w) {
  int r;
  if (reconcile_step[w] != 3 || !up[w]) return 0;
  for (r = 0; r < RUNS; r++)
    if (reconcile_token[w*RUNS+r] && run_lock[r] && matches(r, incarnation[w], reconcile_token[w*RUNS+r])) return 0;
  return 1;
}
static void do_reconcile_commit(int w) {
  int r, k, token, i = incarnation[w];
  for (r = 0; r < RUNS; r++) if ((token = reconcile_token[w*RUNS+r]) && matches(r, i, token)) {
    if (!current(r, i, token)) fail(STALE_SETTLE);
    put_back(r, READY);
    free_hold(r, i, token);
  }
  for (k = 0; k < RECEIPTS; k++) if (receipt_worker[k] == i && !something_runs_in(k)) forget_receipt(k);
#ifndef W26_RECONCILE_KEEPS_NOTE      /* a deadline has ended a run that nobody here executes */
  for (r = 0; r < RUNS; r++) {
    if (completing_worker[r] == i && !is_held(w, r, i, completing_token[r])) completing_worker[r] = completing_token[r] = 0;
    if (hold[r] && hold_worker[r] == i && !is_held(w, r, i, hold_token[r]) && !current(r, i, hold_token[r])) delete_hold(r);
  }
#endif
  wake_lane();
  release_reconcile(w);
  check();
}
};
