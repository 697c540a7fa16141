/* What must hold, by name. check() runs after every step that commits something. */
c_code {
enum {
  STALE_SETTLE = 1, TWO_HOLDS, NO_HOLD, NO_PLACE, RUNNING_IN_PLACE, NO_RECEIPT, ENDED_IN_PLACE, STUCK, STALE_COMPLETE,
  GUESSED, WRITTEN_TWICE, TOO_SMALL, HOLD_GONE, OVERLAP, SAME_TOKEN, LANE_ORDER, STOLEN, STALE_STEP, STEP_TWICE,
  ORPHAN_CHILD, CLOSED_EARLY, LATE_REQUEST
};
static const char *invariant[] = {
  "",
  "stale-settle: a claim that is not current settled, or gave back",
  "two-holds: a lane has more claims than its limit",
  "no-hold: a running run of the lane has not the hold of its claim",
  "no-place: a pending run does not stand in exactly one side table",
  "running-in-place: a running run stands in a side table",
  "no-receipt: a running run is not named by exactly one receipt of its worker",
  "ended-in-place: an ended run stands in a side table",
  "stuck: nothing can happen any more, and something has not ended",
  "stale-complete: a claim that is not current completed",
  "guessed: a worker settled as completed, and the handler's rows are not there",
  "written-twice: a handler's rows were committed twice",
  "too-small: the configuration has too few rows or slots",
  "hold-gone: the hold went while its handler executes and nobody swept its worker",
  "overlap: the handler of a live process executes beside a newer claim",
  "same-token: two live handlers have one run and token",
  "lane-order: a later run of the lane was claimed first",
  "stolen: a claim was taken from a live claim",
  "stale-step: a claim that is not current wrote a step",
  "step-twice: a step's effect was committed twice in one life",
  "orphan-child: a parent has ended without completing, and nobody asked its living child to end",
  "closed-early: a closing parent ended before its child",
  "late-request: a request of an earlier life reaches a run",
};
static void fail(int n) { now.violated = n; }

static int current(int r, int worker, int token) { return run_status[r] == RUNNING && run_worker[r] == worker && run_token[r] == token; }
static int ended(int r) { return run_status[r] > RUNNING && run_status[r] != UNBORN; }
static int lives(int r) { return run_status[r] <= RUNNING; }
static int executes(int s) { return up[s/SLOTS] && (slot_state[s] == EXECUTING || slot_state[s] == STOPPING); }
/* The slot's claim has ended its run, or a deadline has, and a note says that its handler may still execute. */
static int noted(int s) { return completing_worker[slot_run[s]] == slot_worker[s] && completing_token[slot_run[s]] == slot_token[s]; }
static int names(int k, int r) { return receipt_worker[k] && receipt_token[k*RUNS+r]; }
static int holds(void) { int r, n = 0; for (r = 0; r < RUNS; r++) n += hold[r]; return n; }
static int has_hold(int r, int worker, int token) { return hold[r] && hold_worker[r] == worker && hold_token[r] == token; }

/* S6 and S7: one place. */
static void check_place(int r) {
  int k, n = 0, place = run_place[r];
  if (run_status[r] == PENDING) {
    if (place != READY && place != SCHEDULED && place != BLOCKED && place != WAITING) fail(NO_PLACE);
    return;
  }
#ifndef STRAY_ROWS_ALLOWED
  if (place) fail(run_status[r] == RUNNING ? RUNNING_IN_PLACE : ENDED_IN_PLACE);
#endif
  if (run_status[r] != RUNNING) return;
  for (k = 0; k < RECEIPTS; k++) if (names(k, r)
#ifndef S7_RECEIPT_BY_RUN      /* under its token means: of this very claim */
    && receipt_worker[k] == run_worker[r] && receipt_token[k*RUNS+r] == run_token[r]
#endif
    ) n++;
#ifndef RECEIPTS_UNCHECKED
  if (n != 1) fail(NO_RECEIPT);
#endif
}

/* S8: no more claims in the lane than its limit, a running run has its own hold, and it lasts as long as its handler. */
static void check_lane(void) {
#ifdef LANE
  int r, s;
  for (r = 0; r < RUNS; r++) if (run_status[r] == RUNNING && !has_hold(r, run_worker[r], run_token[r])) fail(NO_HOLD);
  if (holds() > LANE_LIMIT) fail(TWO_HOLDS);
  for (s = 0; s < SLOT_COUNT; s++) if (executes(s) && worker_row[slot_worker[s]] && !worker_lock[slot_worker[s]]) {
    r = slot_run[s];
    if ((current(r, slot_worker[s], slot_token[s]) || slot_completed[s] == 1 || noted(s)) && !has_hold(r, slot_worker[s], slot_token[s])) fail(HOLD_GONE);
  }
#endif
}

/* S4, S9 and W26: what a live process executes is its own claim, or the run that this very claim has ended. */
static void check_overlap(void) {
#ifdef S4_KEPT
  int r, s;
  for (s = 0; s < SLOT_COUNT; s++) if (executes(s)) {
    r = slot_run[s];
    if (!current(r, slot_worker[s], slot_token[s]) && !((ended(r) && run_settled[r] == slot_token[s]) || ((ended(r) || run_closing[r]) && noted(s)))) fail(OVERLAP);
#ifdef LANE
    if (slot_completed[s] == 1 && !has_hold(r, slot_worker[s], slot_token[s])) fail(OVERLAP);
#endif
  }
#endif
}

static void check_tokens(void) {
#ifdef TOKENS_CHECKED
  int s, k;
  for (s = 0; s < SLOT_COUNT; s++) for (k = s+1; k < SLOT_COUNT; k++)
    if (executes(s) && executes(k) && slot_run[s] == slot_run[k] && slot_token[s] == slot_token[k]) fail(SAME_TOKEN);
#endif
}

/* A child that outlives a parent which has not completed has been asked to end. A replayed child has a life of its own. */
static void check_tree(void) {
#ifdef TREE
  if (ended(PARENT) && run_status[PARENT] != COMPLETED && lives(CHILD) && !request[CHILD] && !run_replays[CHILD]) fail(ORPHAN_CHILD);
#ifdef CLOSE_CANCEL
  if (ended(PARENT) && run_status[PARENT] != COMPLETED && lives(CHILD) && !run_replays[CHILD]) fail(CLOSED_EARLY);
#endif
#endif
}

static void check(void) {
  int r;
  for (r = 0; r < RUNS; r++) check_place(r);
  check_lane();
  check_overlap();
  check_tokens();
  check_tree();
}

/* Where nothing can happen any more, everything has ended: every run, claim, hold, receipt and statement. Only what a
 * caller's endless transaction holds may be left. */
static int is_caller(int holder) { return holder >= CALLER && holder < CALLER+CALLERS; }
static int caller_has(int r) { int c; for (c = 0; c < CALLERS; c++) if (caller_step[c] && caller_run[c] == r) return 1; return 0; }
static int caller_blocks(int r) {
  int c;
  for (c = 0; c < CALLERS; c++) if (caller_step[c] && caller_step[c] != 3 && caller_step[c] != 5 && caller_run[c] == r) return 1;
  return 0;
}
static int all_ended(void) {
  int r, k, s, w, kept = 0;
  for (r = 0; r < RUNS; r++) if (caller_has(r) && hold[r]) kept = 1;    /* the lane waits for the caller's run */
#ifdef TREE
  if (caller_blocks(CHILD) || caller_blocks(PARENT)) kept = 1;          /* the parent waits for the caller's run */
#endif
  for (r = 0; r < RUNS; r++) {
    if (lives(r) && !caller_blocks(r) && !kept) return 0;
    if (hold[r] && !kept) return 0;
    if (ended(r) && (run_place[r] || completing_token[r])) return 0;
  }
  for (k = 0; k < RECEIPTS; k++) if (receipt_worker[k]) return 0;
  for (s = 0; s < SLOT_COUNT; s++) if (slot_state[s]) return 0;
  for (s = 0; s < SWEEPS; s++) if (sweep_step[s]) return 0;
  for (w = 0; w < WORKERS; w++) if (claim_step[w] || reconcile_step[w]) return 0;
  for (r = 0; r < RUNS; r++) if (outsider_step[r]) return 0;
  return !lane_lock || is_caller(lane_lock);
}
};
