/* Callers (S10), in transactions that may roll back or stay open for ever. To change a pending run one takes the side row
 * first, then the run; about a running run it only inserts a request; a replay takes the ended run's row. Steps that begin
 * such a transaction are numbered 10*caller+run, the others by the caller. */
c_code {
static int can_cancel_take_side_row(int n) {
  int c = n/10, r = n%10;
  if (caller_step[c] || cancels >= CANCELS || run_status[r] != PENDING || !run_place[r]) return 0;
#ifdef S10_RUN_BEFORE_SIDE_ROW
  return !run_lock[r];
#endif
  return !side_lock[r];
}
static void do_cancel_take_side_row(int n) {
  int c = n/10, r = n%10;
  cancels++; caller_run[c] = r; caller_step[c] = 1;
#ifdef S10_RUN_BEFORE_SIDE_ROW
  run_lock[r] = CALLER+c;
#else
  side_lock[r] = CALLER+c;
#endif
}
static int can_cancel_take_run(int c) {
#ifdef S10_RUN_BEFORE_SIDE_ROW
  return caller_step[c] == 1 && !side_lock[caller_run[c]];
#endif
  return caller_step[c] == 1 && !run_lock[caller_run[c]];
}
static void do_cancel_take_run(int c) {
  side_lock[caller_run[c]] = run_lock[caller_run[c]] = CALLER+c;
#ifdef S10_CALLER_LOCKS_LANE
  caller_step[c] = 6;
#else
  caller_step[c] = 2;
#endif
}
static int can_cancel_lock_lane(int c) { return caller_step[c] == 6 && !lane_lock; }
static void do_cancel_lock_lane(int c) { lane_lock = CALLER+c; caller_step[c] = 2; }

static int can_request(int n) {
  return !caller_step[n/10] && cancels < CANCELS && run_status[n%10] == RUNNING
#ifdef S10_CALLER_LOCKS_RUNNING
    && !run_lock[n%10]
#endif
  ;
}
static void do_request(int n) {
  int c = n/10, r = n%10;
  cancels++; caller_run[c] = r; caller_step[c] = 3;
#if CALLERS > 1
  caller_life[c] = run_replays[r];
#endif
#ifdef S10_CALLER_LOCKS_RUNNING
  run_lock[r] = CALLER+c;
  caller_step[c] = 5;
#endif
}

/* W26: not while the handler of the last claim may still execute. */
static int can_replay(int n) {
  int r = n%10;
  return !caller_step[n/10] && replays < REPLAYS && ended(r) && !run_lock[r] && !completing_token[r];
}
static void do_replay(int n) { int c = n/10, r = n%10; replays++; caller_run[c] = r; caller_step[c] = 4; run_lock[r] = CALLER+c; }
static void replay(int r) {
  put_back(r, READY);
  run_attempts[r] = run_losses[r] = request[r] = handler_rows[r] = memo[r] = step_effects[r] = 0;
  run_replays[r]++;
#ifdef S2_TOKEN_RESET
  run_token[r] = 0;
#endif
}

static void cancel_pending(int r) {
  if (run_status[r] != PENDING) return;
#ifndef CLOSING_MAY_BE_CANCELLED
  if (run_closing[r]) return;
#endif
  side_lock[r] = run_lock[r] = 0;
  end_pending(r);
}
static void cancel_running(int r) {      /* only with S10_CALLER_LOCKS_RUNNING */
  if (run_status[r] != RUNNING) return;
  run_worker[r] = 0;
  if (hold[r]) delete_hold(r);
  end_run(r, CANCELLED);
}
/* S10: a request names the life that it is about, so that a late commit cannot end the next one. */
static void leave_request(int c) {
  int r = caller_run[c];
#if CALLERS > 1
  if (caller_life[c] != run_replays[r]) {
#ifdef S10_REQUEST_WITHOUT_LIFE
    if (lives(r)) fail(LATE_REQUEST);
#endif
    return;
  }
#endif
  request[r] = 1;
}
static void release_caller(int c) {
  int r = caller_run[c];
  if (side_lock[r] == CALLER+c) side_lock[r] = 0;
  if (run_lock[r] == CALLER+c) run_lock[r] = 0;
  if (lane_lock == CALLER+c) lane_lock = 0;
  caller_run[c] = caller_step[c] = caller_life[c] = 0;
}
static int can_caller_commit(int c) { return caller_step[c] >= 2 && caller_step[c] <= 5 && !caller_stays[c]; }
static void do_caller_commit(int c) {
  int r = caller_run[c];
  in_the_name_of(0, 0);
  switch (caller_step[c]) {
  case 2: cancel_pending(r); break;
  case 3: leave_request(c); break;
  case 4: replay(r); break;
  case 5: cancel_running(r); break;
  }
  release_caller(c);
  check();
}
static int can_caller_roll_back(int c) { return caller_step[c] && !caller_stays[c]; }
static void do_caller_roll_back(int c) { release_caller(c); }
static int can_caller_stay(int c) { return caller_step[c] && !caller_stays[c]; }
static void do_caller_stay(int c) { caller_stays[c] = 1; }

/* An audit in two statements: what it read may be old when it writes. S7 asks for one statement over one snapshot. */
static int can_audit_look(int unused) { return audits < AUDITS && !audit_step; }
static void do_audit_look(int unused) {
  int r;
  audits++; audit_step = 1; audit_seen = 0;
  for (r = 0; r < RUNS; r++) if (run_status[r] == PENDING) audit_seen |= 1 << r;
}
static int can_audit_write(int unused) { return audit_step; }
static void do_audit_write(int unused) {
  int r;
  for (r = 0; r < RUNS; r++) if ((audit_seen >> r & 1) && !run_place[r]) run_place[r] |= READY;
  audit_step = audit_seen = 0;
}
};
