/* Handlers: how they end, and what they write in transactions of their own (S2, S10): complete, a memoised step, a spawn.
 * Such a transaction locks the run's row under the claim's fence and holds the lock to its end. */
c_code {
static int can_handler_succeed(int s) {
  return executes(s) && !slot_transaction[s] && (!slot_asked[s] || slot_completed[s] == 1
#ifdef COMPLETION_GUESSED      /* "the commit was sent, so it is done" */
    || slot_completed[s] == 2
#endif
    );
}
static void do_handler_succeed(int s) { slot_state[s] = SUCCEEDED; }

/* A handler whose completion did not commit, or nobody knows, has failed its attempt; that costs no budget. */
static int completion_missing(int s) { return slot_asked[s] && slot_completed[s] != 1; }
static int can_handler_fail(int s) {
  return up[s/SLOTS] && slot_state[s] == EXECUTING && !slot_transaction[s] && (failures < FAILURES || completion_missing(s));
}
static void do_handler_fail(int s) { failures += !completion_missing(s); slot_state[s] = ERRORED; }

/* Told to stop by the self-fence or a drain: given back, never settled as a failed attempt. */
static int can_handler_stop(int s) { return up[s/SLOTS] && slot_state[s] == STOPPING && !slot_transaction[s] && slot_completed[s] != 1; }
static void do_handler_stop(int s) { slot_state[s] = STOPPED; }

/* It asks to wait, because what it waits for has not happened when it looks. The settle writes that down later, without
 * looking again. */
static int can_handler_wait(int s) {
  return up[s/SLOTS] && slot_state[s] == EXECUTING && !slot_transaction[s] && !slot_asked[s] && parks < PARKS && !condition_holds(slot_run[s]);
}
static void do_handler_wait(int s) { parks++; slot_state[s] = WAITS; }

/* The worker's beat brings a cancel request; the handler stops, and is settled as cancelled. */
static int can_handler_see_request(int s) {
  return up[s/SLOTS] && slot_state[s] == EXECUTING && !slot_transaction[s] && request[slot_run[s]] &&
    current(slot_run[s], slot_worker[s], slot_token[s]);
}
static void do_handler_see_request(int s) { slot_state[s] = CANCELLED_SLOT; }

/* S4: every handler is told to stop when the lease's deadline passes. */
static int can_self_fence(int w) {
  int s;
  if (up[w] && self_fences < SELF_FENCES) for (s = w*SLOTS; s < w*SLOTS+SLOTS; s++) if (slot_state[s] == EXECUTING) return 1;
  return 0;
}
static void tell_to_stop(int w) { int s; for (s = w*SLOTS; s < w*SLOTS+SLOTS; s++) if (slot_state[s] == EXECUTING) slot_state[s] = STOPPING; }
static void do_self_fence(int w) { self_fences++; tell_to_stop(w); }

/* Transactions: begin (write, not yet fenced), fence, commit or roll back, or lose the reply of the commit. */
enum { COMPLETE = 1, STEP = 3, SPAWN = 5 };      /* +1: the fence's lock is held */
static int may_begin(int s) { return executes(s) && !slot_transaction[s] && !slot_completed[s] && !slot_asked[s]; }
static int can_begin_complete(int s) { return may_begin(s) && transactions < TRANSACTIONS; }
static void do_begin_complete(int s) { transactions++; slot_transaction[s] = COMPLETE; slot_asked[s] = 1; }
static int can_begin_step(int s) { return may_begin(s) && steps < STEPS && !memo[slot_run[s]]; }
static void do_begin_step(int s) { steps++; slot_transaction[s] = STEP; }
static int can_begin_spawn(int s) {
#ifdef TREE
#ifdef ACYCLIC      /* for the liveness check: no spawn is tried again and again */
  if (request[PARENT] || !current(PARENT, slot_worker[s], slot_token[s])) return 0;
#endif
  return may_begin(s) && slot_run[s] == PARENT && run_status[CHILD] == UNBORN;
#endif
  return 0;
}
static void do_begin_spawn(int s) { slot_transaction[s] = SPAWN; }

static int fence_unneeded(int s) {
#ifdef S2_STEP_UNFENCED
  if (slot_transaction[s] == STEP) return 1;
#endif
#ifdef S2_SPAWN_UNFENCED
  if (slot_transaction[s] == SPAWN) return 1;
#endif
  return 0;
}
/* After the lock the transaction looks: at the memo of an earlier attempt, at the child of an earlier spawn, at a request
 * that stands. What is there is not written again. */
static int is_there(int s) {
#ifndef STEP_LOOKS_BEFORE_FENCE
  if (slot_transaction[s] == STEP) return memo[slot_run[s]];
#endif
#ifdef TREE
  if (slot_transaction[s] == SPAWN) return run_status[CHILD] != UNBORN || request[PARENT];
#endif
  return 0;
}
static int at_fence(int s) { return slot_transaction[s] == COMPLETE || slot_transaction[s] == STEP || slot_transaction[s] == SPAWN; }
static int can_fence(int s) {
  int r = slot_run[s];
  return at_fence(s) && (fence_unneeded(s) || !run_lock[r] || !matches(r, slot_worker[s], slot_token[s]));
}
static void do_fence(int s) {
  int r = slot_run[s];
  if (fence_unneeded(s)) { slot_transaction[s] = is_there(s) ? 0 : slot_transaction[s]+1; return; }
  if (!matches(r, slot_worker[s], slot_token[s]) || is_there(s)) { slot_transaction[s] = 0; return; }  /* a lost fence raises */
  run_lock[r] = 10+s;
  slot_transaction[s]++;
}

static void commit_complete(int r, int worker, int token) {
  if (!current(r, worker, token)) fail(STALE_COMPLETE);
  if (handler_rows[r]) fail(WRITTEN_TWICE);
  handler_rows[r] = 1;
  run_attempts[r] = 0;
#ifndef W26_NO_COMPLETING_ROW      /* its handler still executes: no replay until it has stopped */
  completing_worker[r] = worker; completing_token[r] = token;
#endif
#if defined(LANE) && defined(S8_COMPLETE_FREES)
  delete_hold(r);
#endif
  settle_as(r, COMPLETED, token);
}
static void commit_step(int r, int worker, int token) {
  if (!current(r, worker, token)) fail(STALE_STEP);
  if (++step_effects[r] > 1) fail(STEP_TWICE);
  memo[r] = token;
}
static void commit_spawn(int worker, int token) {
#ifdef TREE
  if (run_status[CHILD] != UNBORN) return;      /* one child for a key: the other insert is answered with it */
  run_status[CHILD] = PENDING;
  run_place[CHILD] = READY;
#endif
}
static void commit_work(int work, int r, int worker, int token) {
  in_the_name_of(worker, token);
  if (work == COMPLETE) commit_complete(r, worker, token);
  if (work == STEP) commit_step(r, worker, token);
  if (work == SPAWN) commit_spawn(worker, token);
  check();
}
static int fenced(int s) { return slot_transaction[s] && !at_fence(s); }
static void release_run(int s) { if (run_lock[slot_run[s]] == 10+s) run_lock[slot_run[s]] = 0; }
static int can_commit_work(int s) { return fenced(s); }
static void do_commit_work(int s) {
  int work = slot_transaction[s]-1;
  release_run(s);
  slot_transaction[s] = 0;
  if (work == COMPLETE) slot_completed[s] = 1;
  commit_work(work, slot_run[s], slot_worker[s], slot_token[s]);
}
static int can_roll_back_work(int s) {
#ifdef ACYCLIC
  if (slot_transaction[s] == SPAWN+1) return 0;
#endif
  return fenced(s);
}
static void do_roll_back_work(int s) { release_run(s); slot_transaction[s] = 0; }

/* The commit was sent and the connection broke. The handler knows nothing; the transaction lives on, for a bounded time
 * (S10), and then commits or not. */
static void leave_behind(int s) {
  int r = slot_run[s];
  if (run_lock[r] == 10+s) {
    run_lock[r] = ORPHAN;
    orphan_worker[r] = slot_worker[s]; orphan_token[r] = slot_token[s]; orphan_work[r] = slot_transaction[s]-1;
  }
  slot_transaction[s] = 0;
}
static int can_lose_commit_reply(int s) { return fenced(s) && run_lock[slot_run[s]] == 10+s && lost_replies < LOST_REPLIES; }
static void do_lose_commit_reply(int s) {
  if (slot_transaction[s] == COMPLETE+1) slot_completed[s] = 2; else slot_state[s] = ERRORED;
  lost_replies++;
  leave_behind(s);
}
static int orphaned(int r) {
#ifdef S10_NO_IDLE_TIMEOUT_IN_HANDLERS
  return 0;
#endif
  return run_lock[r] == ORPHAN;
}
static void end_orphan(int r, int commits) {
  int worker = orphan_worker[r], token = orphan_token[r], work = orphan_work[r];
  run_lock[r] = orphan_worker[r] = orphan_token[r] = orphan_work[r] = 0;
  if (commits) commit_work(work, r, worker, token);
}
static int can_orphan_commit(int r) { return orphaned(r); }
static void do_orphan_commit(int r) { end_orphan(r, 1); }
static int can_orphan_abort(int r) { return orphaned(r); }
static void do_orphan_abort(int r) { end_orphan(r, 0); }

/* An outsider completes the run under the token that its handler gave away, at any time and beside the handler. Its
 * transaction too may idle only for a bounded time. */
static int given_away(int r) {
  int s;
  for (s = 0; s < SLOT_COUNT; s++) if (executes(s) && slot_run[s] == r && current(r, slot_worker[s], slot_token[s])) return 1;
  return 0;
}
static int can_outsider_begin(int r) { return outsiders < OUTSIDERS && !outsider_step[r] && given_away(r); }
static void do_outsider_begin(int r) {
  outsiders++; outsider_step[r] = 1; outsider_worker[r] = run_worker[r]; outsider_token[r] = run_token[r];
}
static int can_outsider_fence(int r) { return outsider_step[r] == 1 && (!run_lock[r] || !matches(r, outsider_worker[r], outsider_token[r])); }
static void end_outsider(int r) { outsider_step[r] = outsider_worker[r] = outsider_token[r] = 0; }
static void do_outsider_fence(int r) {
  if (!matches(r, outsider_worker[r], outsider_token[r])) { end_outsider(r); return; }
  run_lock[r] = OUTSIDER; outsider_step[r] = 2;
}
static int can_outsider_commit(int r) { return outsider_step[r] == 2; }
static void do_outsider_commit(int r) {
  int worker = outsider_worker[r], token = outsider_token[r];
  run_lock[r] = 0;
  end_outsider(r);
  commit_work(COMPLETE, r, worker, token);
}
static int can_outsider_abort(int r) { return outsider_step[r] == 2; }
static void do_outsider_abort(int r) { run_lock[r] = 0; end_outsider(r); }

/* Somebody sends the signal for which a run parks; a parked one is woken unless its side row is locked. */
static int can_signal(int r) {
#ifdef TREE      /* the parent waits for its child */
  if (r == PARENT) return 0;
#endif
  return PARKS > 0 && !signalled[r] && lives(r);
}
static void do_signal(int r) {
  signalled[r] = 1;
#ifndef WAKE_ONLY_BY_SWEEP
  wake_waiting(r);
#endif
  check();
}
};
