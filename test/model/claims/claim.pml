/* Claim: S3 (everything hangs on the locked worker row), S6 (known before anything runs), S7 (the guard), S8 (the lane
 * is locked in a statement of its own, then looked at). Its steps: sent, worker row locked, lane locked, committed,
 * answered. */
c_code {
static int something_ready(void) {
  int r;
  for (r = 0; r < RUNS; r++) if ((run_place[r] & READY) && !side_lock[r]) return 1;
  return 0;
}

/* A process asks when it has room and something is ready (an idle poll changes nothing, so it is left out). */
static int can_claim_send(int w) {
#ifdef S6_CLAIM_DURING_RECONCILE_FORBIDDEN
  if (reconcile_step[w]) return 0;
#endif
  return up[w] && !drain_step[w] && !claim_step[w] && free_slots(w) && something_ready() && worker_row[incarnation[w]]
#ifndef S3_EXPIRED_MAY_CLAIM
    && worker_row[incarnation[w]] == 1
#endif
#ifdef LANE
    && !lane_lock
#endif
  ;
}
static void do_claim_send(int w) { claim_step[w] = 1; claim_worker[w] = incarnation[w]; claim_room[w] = free_slots(w); claim_given_up[w] = 0; }

/* The process stops waiting for the answer and closes the connection; the statement may still run. */
static int can_claim_give_up(int w) { return up[w] && claim_step[w] && !claim_given_up[w] && lost_replies < LOST_REPLIES; }
static void do_claim_give_up(int w) { claim_given_up[w] = 1; lost_replies++; }

/* S3: the worker's row is locked FOR KEY SHARE and must be there and unexpired; else nothing is taken. */
static void lock_free_rows(int w, int room) {
  int r;
  for (r = 0; r < RUNS && room; r++) if ((run_place[r] & READY) && !side_lock[r]) { side_lock[r] = 1+w; room--; }
}
static int worker_may_claim(int i) {
  return worker_row[i] == 1
#ifdef S3_EXPIRED_MAY_CLAIM
    || worker_row[i] == 2
#endif
  ;
}
#ifdef S6_HAND_OUT_EARLY      /* before the commit, with the token that the statement would write */
static void hand_out_early(int w) {
  int r, s;
  for (r = 0; r < RUNS; r++) if (side_lock[r] == 1+w) {
    for (s = w*SLOTS; s < w*SLOTS+SLOTS && slot_state[s]; s++) ;
    if (s < w*SLOTS+SLOTS && up[w] && !claim_given_up[w]) {
      slot_state[s] = EXECUTING; slot_run[s] = r; slot_token[s] = run_token[r]+1; slot_worker[s] = claim_worker[w];
    }
  }
  check();
}
#endif
static int can_claim_lock_worker(int w) {
  return claim_step[w] == 1
#ifndef S3_NO_LOCK
    && !worker_lock[claim_worker[w]]
#endif
  ;
}
static void do_claim_lock_worker(int w) {
  int room = claim_room[w], i = claim_worker[w];
  claim_room[w] = 0;
  if (!worker_may_claim(i) || !something_ready()) { claim_step[w] = 5; return; }
#if defined(LANE) && !defined(S8_SCAN_LOCKS_LANED)
  claim_room[w] = room;      /* S8: the scan does not lock rows of a lane, the lane's holder does */
#else
  lock_free_rows(w, room);
#endif
#ifndef S3_NO_LOCK
  worker_shared[i] = 1;
#endif
  claim_step[w] = 2;
#ifdef S8_LOCK_AND_LOOK_TOGETHER
  claim_room[w] = holds() >= LANE_LIMIT;      /* one statement: its snapshot is older than the lock it waits for */
#endif
#if !defined(LANE) || defined(S8_NO_LANE_LOCK)
  claim_step[w] = 3;
#endif
#ifdef S6_HAND_OUT_EARLY
  hand_out_early(w);
#endif
}
static void release_claim(int w) {
  int r;
  for (r = 0; r < RUNS; r++) if (side_lock[r] == 1+w) side_lock[r] = 0;
  worker_shared[claim_worker[w]] = 0;
  if (lane_lock == 1+w) lane_lock = 0;
}

/* S8: the lane's row, SKIP LOCKED; under its lock the claim takes the lane's first free rows. */
static int can_claim_lock_lane(int w) { return !frozen[w] && claim_step[w] == 2 && !lane_lock; }
static void do_claim_lock_lane(int w) {
  lane_lock = 1+w;
  claim_step[w] = 3;
#ifndef S8_SCAN_LOCKS_LANED
  lock_free_rows(w, claim_room[w]);
  claim_room[w] = 0;
#endif
}
static int can_claim_skip_lane(int w) {
#ifdef ACYCLIC      /* for the liveness check: waiting instead of asking again and again */
  return 0;
#endif
  return !frozen[w] && claim_step[w] == 2 && lane_lock;
}
static void do_claim_skip_lane(int w) { release_claim(w); claim_step[w] = 5; claim_room[w] = 0; }

/* The commit. S7: the update keeps "status = pending", so that a stray side row cannot steal a live claim. */
static int can_claim_commit(int w) {
  int r;
  if (claim_step[w] != 3 || frozen[w]) return 0;
  for (r = 0; r < RUNS; r++) if (side_lock[r] == 1+w && run_lock[r] && run_status[r] == PENDING) return 0;
  return 1;
}
/* S8: a kept hold is taken over by its own run's next claim; any other hold means that the lane is full. */
static int may_inherit(int r) {
#if defined(S8_INHERIT_ANY_OF_THE_RUN)
  return hold[r];
#elif defined(S8_INHERIT_NEVER)
  return 0;
#else
  return hold[r] && !hold_worker[r];
#endif
}
static int enters_lane(int w, int r, int full) {
#ifdef LANE
  int q;
  if (full && !may_inherit(r)) { run_place[r] = BLOCKED; return 0; }
#ifdef ORDER_CHECKED
  for (q = 0; q < r; q++) if (run_status[q] == PENDING && !run_token[q] && !is_caller(side_lock[q])) fail(LANE_ORDER);
#endif
  hold[r] = 1; hold_worker[r] = claim_worker[w]; hold_token[r] = run_token[r]+1;
#endif
  return 1;
}
static void take(int w, int r, int receipt) {
  run_place[r] &= ~READY;
  run_status[r] = RUNNING; run_worker[r] = claim_worker[w]; run_token[r]++;
  claim_reply[w*RUNS+r] = run_token[r];
  if (receipt >= RECEIPTS) { fail(TOO_SMALL); return; }
  receipt_worker[receipt] = claim_worker[w];
  receipt_token[receipt*RUNS+r] = run_token[r];
}
static void do_claim_commit(int w) {
  int r, receipt, full = holds() >= LANE_LIMIT;
#ifdef S8_LOCK_AND_LOOK_TOGETHER
  full = claim_room[w]; claim_room[w] = 0;
#endif
  for (receipt = 0; receipt < RECEIPTS && receipt_worker[receipt]; receipt++) ;
  for (r = 0; r < RUNS; r++) if (side_lock[r] == 1+w) {
    side_lock[r] = 0;
#ifdef S7_NO_GUARD
    if (run_status[r] == RUNNING) fail(STOLEN);
#else
    run_place[r] &= ~READY;
    if (run_status[r] != PENDING) continue;
#endif
    if (enters_lane(w, r, full)) { take(w, r, receipt); full = holds() >= LANE_LIMIT; }
  }
  release_claim(w);
  claim_step[w] = 5;
  check();
}
static int can_claim_abort(int w) { return !frozen[w] && (claim_step[w] == 2 || claim_step[w] == 3) && lost_replies < LOST_REPLIES; }
static void end_claim(int w) { claim_step[w] = claim_worker[w] = claim_given_up[w] = claim_room[w] = 0; }
static void do_claim_abort(int w) { release_claim(w); end_claim(w); lost_replies++; }

/* The answer. A reply that nobody waits for is dropped; S4: past the deadline nothing is handed out; a draining process
 * gives back what it gets. */
static int hands_out(int w) {
  return up[w] && !claim_given_up[w] && claim_worker[w] == incarnation[w]
#if defined(S4_KEPT) && !defined(S4_HAND_OUT_PAST_DEADLINE)
    && worker_row[claim_worker[w]] == 1
#endif
  ;
}
static void hand_out(int w, int r) {
  int s;
  for (s = w*SLOTS; s < w*SLOTS+SLOTS && slot_state[s]; s++) ;
  if (s >= w*SLOTS+SLOTS) { fail(TOO_SMALL); return; }
  slot_state[s] = drain_step[w] ? STOPPED : EXECUTING;
  slot_run[s] = r; slot_token[s] = claim_reply[w*RUNS+r]; slot_worker[s] = claim_worker[w];
}
static int can_claim_answer(int w) { return claim_step[w] == 5; }
static void do_claim_answer(int w) {
  int r, ok = hands_out(w);
  for (r = 0; r < RUNS; r++) if (claim_reply[w*RUNS+r]) {
#ifndef S6_HAND_OUT_EARLY
    if (ok) hand_out(w, r);
#endif
    claim_reply[w*RUNS+r] = 0;
  }
  end_claim(w);
  check();
}
};
