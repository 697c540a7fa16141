/* What several transitions share. */
c_code {
/* S2: the fence of every write of a claim. The alternatives are the rule switched off. */
static int matches(int r, int worker, int token) {
#if defined(S2_NO_FENCE)
  return run_status[r] == RUNNING;
#elif defined(S2_WITHOUT_TOKEN)
  return run_status[r] == RUNNING && run_worker[r] == worker;
#elif defined(S2_WITHOUT_WORKER)
  return run_status[r] == RUNNING && run_token[r] == token;
#else
  return current(r, worker, token);
#endif
}

static void forget_receipt(int k) { int r; receipt_worker[k] = 0; for (r = 0; r < RUNS; r++) receipt_token[k*RUNS+r] = 0; }
static int something_runs_in(int k) {
  int r;
  for (r = 0; r < RUNS; r++) if (names(k, r) && current(r, receipt_worker[k], receipt_token[k*RUNS+r])) return 1;
  return 0;
}

static void delete_hold(int r) { hold[r] = hold_worker[r] = hold_token[r] = 0; }
/* S2: a hold is freed by its own claim, whatever the run's status is. */
static void free_hold(int r, int worker, int token) {
#if defined(LANE) && !defined(S8_FREE_ONLY_WHILE_RUNNING)
  if (hold[r]
#ifndef S8_FREE_BY_RUN
    && hold_worker[r] == worker && hold_token[r] == token
#endif
    ) delete_hold(r);
#endif
}
/* S8: the lane has room for a blocked run, beside the ready ones that stand before it. */
static int first_blocked(void) {
#ifdef LANE
  int r, room = LANE_LIMIT - holds();
  for (r = 0; r < RUNS && room > 0; r++) if (!side_lock[r]) {
    if (run_place[r] == BLOCKED && !(hold[r] && hold_worker[r])) return r;
    if (run_place[r] == READY && !hold[r]) room--;
  }
#endif
  return -1;
}
static void wake_lane(void) { int r; while ((r = first_blocked()) >= 0) run_place[r] = READY; }

/* Trees. A closing parent ends when its child has; a parked one becomes ready. Rows that somebody has locked are passed
 * over: the sweep meets them again (S7). */
static void end_run(int r, int status);
static int child_ended(void) { return ended(CHILD); }
/* What a handler that parks waits for. */
static int condition_holds(int r) {
#ifdef TREE
  if (r == PARENT) return run_status[CHILD] == UNBORN || child_ended();
#endif
  return signalled[r];
}
static int wakeable(int r) { return (run_place[r] & WAITING) && !side_lock[r] && !run_lock[r] && condition_holds(r); }
static void wake_waiting(int r) {
  int status = run_closing[r];
  if (!wakeable(r)) return;
  run_place[r] &= ~WAITING;
  run_closing[r] = 0;
  if (!status) { run_place[r] |= READY; return; }
  end_run(r, status);
}

/* A pending run ends without a claim: a request was found standing. Its kept hold goes, the sweep wakes the lane. */
static int endable(int r) { return run_status[r] == PENDING && request[r] && !side_lock[r] && !run_lock[r]
#ifndef CLOSING_MAY_BE_CANCELLED       /* a closing run is ending already */
  && !run_closing[r]
#endif
  ; }
static void end_pending(int r) {
  run_place[r] = run_closing[r] = 0;
#ifndef S8_CANCEL_KEEPS_HOLD
  if (hold[r] && !hold_worker[r]) delete_hold(r);
#endif
  end_run(r, CANCELLED);
}

/* A run ends, by whatever ends it: in the same transaction its living child is asked to end, unless it has completed. */
static void end_run(int r, int status) {
  run_status[r] = status;
#ifdef TREE
  if (r == PARENT && status != COMPLETED && lives(CHILD)) {
#ifndef CLOSE_POLICY_FORGOTTEN
    request[CHILD] = 1;
#endif
#if defined(CLOSE_CANCEL) && !defined(CLOSES_AT_ONCE)
    run_status[r] = PENDING;
    run_place[r] = WAITING;
    run_closing[r] = status;
    run_worker[r] = 0;
#endif
    if (endable(CHILD)) end_pending(CHILD);
  }
#ifndef WAKE_ONLY_BY_SWEEP
  if (r == CHILD) wake_waiting(PARENT);
#endif
#endif
}
/* A claim ends its run. */
static void settle_as(int r, int status, int token) { run_settled[r] = token; end_run(r, status); }

static void clear_slot(int s) {
  slot_state[s] = slot_run[s] = slot_token[s] = slot_worker[s] = slot_completed[s] = slot_asked[s] = slot_transaction[s] = slot_seen[s] = slot_decided[s] = 0;
}
static int free_slots(int w) { int s, n = 0; for (s = w*SLOTS; s < w*SLOTS+SLOTS; s++) n += !slot_state[s]; return n; }
/* S3: a new incarnation is a new row with a new id. */
static void new_incarnation(int w) {
  if (incarnations >= INCARNATIONS) { fail(TOO_SMALL); return; }
  incarnation[w] = ++incarnations;
  worker_row[incarnations] = worker_lives[incarnations] = 1;
}
static void begin(void) {
  int r, w;
  for (r = 0; r < RUNS; r++) run_place[r] = READY;
#ifdef TREE
  run_status[CHILD] = UNBORN;
  run_place[CHILD] = 0;
#endif
  for (w = 0; w < WORKERS; w++) { up[w] = 1; new_incarnation(w); }
}
};
