/* Settle and give back by the claim (S2, S8, Completion). The lane's lock first, in a statement of its own; then the run
 * under the fence. A row that a handler's transaction has locked is tried again later, a row whose visible version does
 * not match the fence is not waited for. */
c_code {
static int has_stopped(int s) { return up[s/SLOTS] && slot_state[s] >= SUCCEEDED && slot_state[s] != STOPPING; }
static int can_settle_lock_lane(int s) {
#ifdef LANE
  return has_stopped(s) && !slot_lane[s] && !lane_lock;
#endif
  return 0;
}
static void do_settle_lock_lane(int s) { lane_lock = 10+s; slot_lane[s] = 1; }

/* The run goes back. S8: a retry and a park keep the lane's hold for the run's next claim, without a worker; a give-back
 * frees it. */
static void keep_hold(int r, int worker, int token) {
#if defined(LANE) && !defined(S8_KEEP_WITH_WORKER)
  if (has_hold(r, worker, token)) hold_worker[r] = hold_token[r] = 0;
#endif
}
static void put_back(int r, int place) { run_status[r] = PENDING; run_worker[r] = 0; run_place[r] |= place; }
static void retry(int r, int worker, int token) {
  if (++run_attempts[r] >= ATTEMPTS) { settle_as(r, FAILED, token); free_hold(r, worker, token); return; }
  put_back(r, SCHEDULED);
  run_settled[r] = token;
  keep_hold(r, worker, token);
}
static void settle_matched(int s, int r, int worker, int token) {
  if (!current(r, worker, token)) fail(STALE_SETTLE);
#ifdef S8_FREE_ONLY_WHILE_RUNNING
  if (has_hold(r, worker, token)) delete_hold(r);
#endif
  switch (slot_state[s]) {
  case SUCCEEDED:
    if (slot_asked[s]) fail(GUESSED);
    settle_as(r, COMPLETED, token);
    free_hold(r, worker, token);
    break;
  case CANCELLED_SLOT:
    settle_as(r, CANCELLED, token);
    free_hold(r, worker, token);
    break;
  case ERRORED:
    retry(r, worker, token);
    break;
  case WAITS:
    put_back(r, WAITING);
    run_settled[r] = token;
#if defined(TREE) && !defined(S8_PARENT_KEEPS_LANE)      /* its child may need the lane */
    if (r == PARENT) { free_hold(r, worker, token); break; }
#endif
    keep_hold(r, worker, token);
    break;
  default:
    put_back(r, READY);
    free_hold(r, worker, token);
  }
}
/* Already done by this token (complete, or a lost reply), or lost: only a hold of this very claim is freed, and its
 * handler does not execute any more. */
static void settle_unmatched(int r, int worker, int token) {
  free_hold(r, worker, token);
  if (completing_worker[r] == worker && completing_token[r] == token) completing_worker[r] = completing_token[r] = 0;
}
static int waits_for_caller(int r) {
#if defined(S10_WAKE_WAITS) && defined(TREE)      /* switched off: to wake the parent its side row is waited for */
  return r == CHILD && (run_place[PARENT] & WAITING) && side_lock[PARENT];
#endif
  return 0;
}
static int can_settle(int s) {
  int r = slot_run[s];
  return has_stopped(s) && !waits_for_caller(r)
#ifdef LANE
    && slot_lane[s]
#endif
    && (!run_lock[r]
#ifndef S10_SETTLE_WAITS_FOR_EVERY_ROW
      || !matches(r, slot_worker[s], slot_token[s])
#endif
    );
}
static void settle(int s, int reply_lost) {
  int k, r = slot_run[s], worker = slot_worker[s], token = slot_token[s];
  in_the_name_of(worker, token);
  if (matches(r, worker, token)) settle_matched(s, r, worker, token); else settle_unmatched(r, worker, token);
#ifndef SETTLE_KEEPS_RECEIPTS      /* a receipt goes only when nothing in it runs under its worker and token */
  for (k = 0; k < RECEIPTS; k++) if (receipt_worker[k] == worker && receipt_token[k*RUNS+r] == token && !something_runs_in(k)) forget_receipt(k);
#endif
#ifdef LANE
#ifndef S8_SETTLE_DOES_NOT_WAKE
  wake_lane();
#endif
  lane_lock = slot_lane[s] = 0;
#endif
  if (reply_lost) lost_replies++; else clear_slot(s);
  check();
}
static void do_settle(int s) { settle(s, 0); }
/* The reply is lost: the slot is held until a settle is answered. */
static int can_settle_lose_reply(int s) { return can_settle(s) && lost_replies < LOST_REPLIES; }
static void do_settle_lose_reply(int s) { settle(s, 1); }
static int can_settle_abort(int s) { return slot_lane[s] && lost_replies < LOST_REPLIES; }
static void do_settle_abort(int s) { slot_lane[s] = lane_lock = 0; lost_replies++; }

/* S9, switched off: a drain gives back what its handler still executes. */
static int can_give_back_executing(int s) {
#ifdef S9_GIVE_BACK_EXECUTING
  return up[s/SLOTS] && slot_state[s] == STOPPING && drain_step[s/SLOTS] == 2 && !run_lock[slot_run[s]] && !slot_transaction[s] &&
    current(slot_run[s], slot_worker[s], slot_token[s]);
#endif
  return 0;
}
static void do_give_back_executing(int s) {
  put_back(slot_run[s], READY);
  free_hold(slot_run[s], slot_worker[s], slot_token[s]);
  check();
}
};
