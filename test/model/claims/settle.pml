/* Settle and give back by the claim (S2, S8, Completion). The lane's lock first, in a statement of its own; then the run
 * under the fence. A row that a handler's transaction has locked is tried again later, a row whose visible version does
 * not match the fence is not waited for. With DIRECT the settle sees the row first, running under the claim and free, and
 * then writes it: who locks it in between, a caller even when it has been put back meanwhile, is waited for, until the lock
 * timeout ends the settle; the next one sees the lock, or that the claim is lost. A run that it finds busy it passes over, and
 * leaves all that the claim has. */
c_code {
static int has_stopped(int s) { return up[s/SLOTS] && slot_state[s] >= SUCCEEDED && slot_state[s] != STOPPING; }
static int busy(int s) { return run_lock[slot_run[s]] && matches(slot_run[s], slot_worker[s], slot_token[s]); }
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
static int may_settle(int s) {
#ifdef LANE
  return has_stopped(s) && slot_lane[s];
#endif
  return has_stopped(s);
}
static int can_settle_look(int s) {
#ifdef DIRECT
  return may_settle(s) && !slot_seen[s] && !run_lock[slot_run[s]] && matches(slot_run[s], slot_worker[s], slot_token[s]);
#endif
  return 0;
}
static void do_settle_look(int s) { slot_seen[s] = 1; }
static int can_settle_time_out(int s) {
#if defined(DIRECT) && !defined(S10_NO_LOCK_TIMEOUT)
  return slot_seen[s] == 1 && run_lock[slot_run[s]];
#endif
  return 0;
}
static void release_settle(int s) { if (slot_lane[s]) slot_lane[s] = lane_lock = 0; slot_seen[s] = slot_decided[s] = 0; }
static void do_settle_time_out(int s) { release_settle(s); }

/* Passed over: busy, by one look. Switched off: three statements that each look, and an answer that looks again. */
enum { PASSED = 2, HOLD = 1, NOTE = 2, RECEIPT = 4 };
static int can_settle_pass(int s) {
#if defined(DIRECT) && (defined(LANE) || defined(S2_SETTLE_LOOKS_AGAIN))      /* else it would change nothing */
  return may_settle(s) && !slot_seen[s] && busy(s);
#endif
  return 0;
}
static void do_settle_pass(int s) {
#ifdef S2_SETTLE_LOOKS_AGAIN
  slot_seen[s] = PASSED;
#else
  release_settle(s);
#endif
}
static int settle_runs(int s) { return current(slot_run[s], slot_worker[s], slot_token[s]); }
static int can_settle_decide(int s) { return slot_seen[s] >= PASSED && slot_seen[s] < PASSED+3; }
static void do_settle_decide(int s) { if (!settle_runs(s)) slot_decided[s] |= HOLD << (slot_seen[s]-PASSED); slot_seen[s]++; }
static void forget_receipts_of(int s) {
  int k, r = slot_run[s];
  for (k = 0; k < RECEIPTS; k++)
    if (receipt_worker[k] == slot_worker[s] && receipt_token[k*RUNS+r] == slot_token[s] && !something_runs_in(k)) forget_receipt(k);
}
static int can_settle_answer(int s) { return slot_seen[s] == PASSED+3; }
static void do_settle_answer(int s) {
  int r = slot_run[s], worker = slot_worker[s], token = slot_token[s];
  in_the_name_of(worker, token);
  if (slot_decided[s] & RECEIPT) forget_receipts_of(s);
  if (slot_decided[s] & HOLD) { free_hold(r, worker, token); wake_lane(); }
  if (slot_decided[s] & NOTE && completing_worker[r] == worker && completing_token[r] == token) completing_worker[r] = completing_token[r] = 0;
  release_settle(s);
  if (!settle_runs(s)) clear_slot(s);      /* else busy: it is settled again */
  check();
}

static int can_settle(int s) {
  int r = slot_run[s];
#ifdef DIRECT
  if (slot_seen[s] >= PASSED) return 0;
  if (slot_seen[s] ? run_lock[r] : matches(r, slot_worker[s], slot_token[s])) return 0;
#endif
  return may_settle(s) && !waits_for_caller(r)
    && (!run_lock[r]
#ifndef S10_SETTLE_WAITS_FOR_EVERY_ROW
      || !matches(r, slot_worker[s], slot_token[s])
#endif
    );
}
static void settle(int s, int reply_lost) {
  int r = slot_run[s], worker = slot_worker[s], token = slot_token[s];
  in_the_name_of(worker, token);
  if (matches(r, worker, token)) settle_matched(s, r, worker, token); else settle_unmatched(r, worker, token);
#ifndef SETTLE_KEEPS_RECEIPTS      /* a receipt goes only when nothing in it runs under its worker and token */
  forget_receipts_of(s);
#endif
#ifdef LANE
#ifndef S8_SETTLE_DOES_NOT_WAKE
  wake_lane();
#endif
  lane_lock = slot_lane[s] = 0;
#endif
  slot_seen[s] = 0;
  if (reply_lost) lost_replies++; else clear_slot(s);
  check();
}
static void do_settle(int s) { settle(s, 0); }
/* The reply is lost: the slot is held until a settle is answered. */
static int can_settle_lose_reply(int s) { return can_settle(s) && lost_replies < LOST_REPLIES; }
static void do_settle_lose_reply(int s) { settle(s, 1); }
static int can_settle_abort(int s) { return slot_lane[s] && lost_replies < LOST_REPLIES; }
static void do_settle_abort(int s) { release_settle(s); lost_replies++; }

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
