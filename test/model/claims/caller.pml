/* One caller (S10), in a transaction that may roll back or stay open for ever. To change a pending run it takes the side
 * row first, then the run; about a running run it only inserts a request; a replay takes the ended run's row. */
c_code {
static int can_cancel_take_side_row(int r) {
  if (caller_step || cancels >= CANCELS || run_status[r] != PENDING || !run_place[r]) return 0;
#ifdef S10_RUN_BEFORE_SIDE_ROW
  return !run_lock[r];
#endif
  return !side_lock[r];
}
static void do_cancel_take_side_row(int r) {
  cancels++; caller_run = r; caller_step = 1;
#ifdef S10_RUN_BEFORE_SIDE_ROW
  run_lock[r] = CALLER;
#else
  side_lock[r] = CALLER;
#endif
}
static int can_cancel_take_run(int unused) {
#ifdef S10_RUN_BEFORE_SIDE_ROW
  return caller_step == 1 && !side_lock[caller_run];
#endif
  return caller_step == 1 && !run_lock[caller_run];
}
static void do_cancel_take_run(int unused) {
  side_lock[caller_run] = run_lock[caller_run] = CALLER;
#ifdef S10_CALLER_LOCKS_LANE
  caller_step = 6;
#else
  caller_step = 2;
#endif
}
static int can_cancel_lock_lane(int unused) { return caller_step == 6 && !lane_lock; }
static void do_cancel_lock_lane(int unused) { lane_lock = CALLER; caller_step = 2; }

static int can_request(int r) {
  return !caller_step && cancels < CANCELS && run_status[r] == RUNNING
#ifdef S10_CALLER_LOCKS_RUNNING
    && !run_lock[r]
#endif
  ;
}
static void do_request(int r) {
  cancels++; caller_run = r; caller_step = 3;
#ifdef S10_CALLER_LOCKS_RUNNING
  run_lock[r] = CALLER;
  caller_step = 5;
#endif
}

/* W26: not while the handler of the last claim may still execute. */
static int can_replay(int r) {
  return !caller_step && replays < REPLAYS && ended(r) && !run_lock[r] && !completing_token[r];
}
static void do_replay(int r) { replays++; caller_run = r; caller_step = 4; run_lock[r] = CALLER; }
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
static void release_caller(void) {
  if (side_lock[caller_run] == CALLER) side_lock[caller_run] = 0;
  if (run_lock[caller_run] == CALLER) run_lock[caller_run] = 0;
  if (lane_lock == CALLER) lane_lock = 0;
  caller_run = caller_step = 0;
}
static int can_caller_commit(int unused) { return caller_step >= 2 && caller_step <= 5 && !caller_stays; }
static void do_caller_commit(int unused) {
  int r = caller_run;
  in_the_name_of(0, 0);
  switch (caller_step) {
  case 2: cancel_pending(r); break;
  case 3: request[r] = 1; break;
  case 4: replay(r); break;
  case 5: cancel_running(r); break;
  }
  release_caller();
  check();
}
static int can_caller_roll_back(int unused) { return caller_step && !caller_stays; }
static void do_caller_roll_back(int unused) { release_caller(); }
static int can_caller_stay(int unused) { return caller_step && !caller_stays; }
static void do_caller_stay(int unused) { caller_stays = 1; }

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
