/* What a step did, when a counterexample or a witness is replayed with SHOW=1: a line that begins with a bar for people,
 * and the changed rows as JSON for the transition relation in ../history, in the form in which the recorder of a real
 * database writes them. It comes before names.pml, because it compares two states. */
c_code {
/* In whose name the step under way writes; the database's own rows do not say. 0, 0: nobody's. */
static int by_set, by_worker, by_token;
static void in_the_name_of(int worker, int token) { by_set = 1; by_worker = worker; by_token = token; }

static int transaction_number;
static const char *status_name[] = {"pending", "running", "completed", "failed", "lost", "cancelled", "not born", "timed_out"};
static const char *place_name[] = {"ready", "scheduled", "blocked", "waiting"};

/* Each table: is the row there, and its columns. Spin cannot keep a quote within a string: it is written as ' here. */
static FILE *to;
static int run_there(State *s, int r) { return s->run_status[r] != UNBORN && s->incarnations > 0; }
static void run_row(State *s, int r) {
  fprintf(to, "{'id':%d,'status':'%s','claimed_by':%d,'claim_token':%d,'lease_losses':%d,'replays':%d", r+1,
    status_name[s->run_status[r]], s->run_worker[r], s->run_token[r], s->run_losses[r], s->run_replays[r]);
#ifdef LANE
  fprintf(to, ",'lane':1,'lane_limit':%d", LANE_LIMIT);
#endif
#ifdef TREE
  if (r == CHILD) fprintf(to, ",'parent':1,'spawn_key':'child','close_policy':'%s'",
#ifdef CLOSE_CANCEL
    "cancel"
#else
    "terminate"
#endif
    );
#endif
  fprintf(to, "}");
}
static int printed_place;
static int place_there(State *s, int r) { return run_there(s, r) && (s->run_place[r] >> printed_place & 1); }
static void place_row(State *s, int r) {
  fprintf(to, "{'id':%d", r+1);
  if (printed_place == 3 && s->run_closing[r]) fprintf(to, ",'end_status':'%s'", status_name[s->run_closing[r]]);
  fprintf(to, "}");
}
static int worker_there(State *s, int i) { return s->worker_row[i] > 0; }
static void worker_row_(State *s, int i) { fprintf(to, "{'id':%d}", i); }
static int receipt_there(State *s, int k) { return s->receipt_worker[k] > 0; }
static void receipt_row(State *s, int k) {
  int r, n = 0;
  fprintf(to, "{'id':%d,'worker':%d,'ids':[", k+1, s->receipt_worker[k]);
  for (r = 0; r < RUNS; r++) if (s->receipt_token[k*RUNS+r]) fprintf(to, "%s%d", n++ ? "," : "", r+1);
  fprintf(to, "],'tokens':[");
  for (n = r = 0; r < RUNS; r++) if (s->receipt_token[k*RUNS+r]) fprintf(to, "%s%d", n++ ? "," : "", s->receipt_token[k*RUNS+r]);
  fprintf(to, "]}");
}
static int hold_there(State *s, int r) { return s->hold[r]; }
static void hold_row(State *s, int r) {
  fprintf(to, "{'run':%d,'lane':1,'worker':%d,'token':%d}", r+1, s->hold_worker[r], s->hold_token[r]);
}
static int request_there(State *s, int r) { return s->request[r]; }
static void request_row(State *s, int r) { fprintf(to, "{'run':%d,'replay':%d}", r+1, s->run_replays[r]); }
static int step_there(State *s, int r) { return s->memo[r]; }
static void step_row(State *s, int r) {
  fprintf(to, "{'run':%d,'replay':%d,'name':'step','status':'completed','token':%d}", r+1, s->run_replays[r], s->memo[r]);
}
static int completing_there(State *s, int r) { return s->completing_token[r]; }
static void completing_row(State *s, int r) {
  fprintf(to, "{'run':%d,'worker':%d,'token':%d}", r+1, s->completing_worker[r], s->completing_token[r]);
}

/* change compares one row of two states: it came, went, or was rewritten. */
static char row_text[2][400];
static void side_of(State *s, int id, int (*there)(State *, int), void (*row)(State *, int), int which) {
  row_text[which][0] = 0;
  if (!there(s, id)) return;
  to = fmemopen(row_text[which], sizeof row_text[which], "w");
  row(s, id);
  fclose(to);
}
static void print_json(const char *text) { for (; *text; text++) putchar(*text == 39 ? 34 : *text); }
static void change(State *before, const char *table, int id, int (*there)(State *, int), void (*row)(State *, int)) {
  static char line[1000];
  side_of(before, id, there, row, 0);
  side_of(&now, id, there, row, 1);
  if (!strcmp(row_text[0], row_text[1])) return;
  sprintf(line, "{'tx':%d,'table':'%s'%s%s%s%s", transaction_number, table, row_text[0][0] ? ",'old':" : "", row_text[0],
    row_text[1][0] ? ",'new':" : "", row_text[1]);
  print_json(line);
  if (by_set) { sprintf(line, ",'by':{'worker':%d,'token':%d}", by_worker, by_token); print_json(line); }
  printf("}\n");
}
static void changes(State *before) {
  int r, i, k;
  transaction_number++;
  for (i = 1; i <= INCARNATIONS; i++) change(before, "worker", i, worker_there, worker_row_);
  for (r = 0; r < RUNS; r++) {
    change(before, "run", r, run_there, run_row);
    for (printed_place = 0; printed_place < 4; printed_place++) change(before, place_name[printed_place], r, place_there, place_row);
    change(before, "lane_hold", r, hold_there, hold_row);
    if (before->run_replays[r] == now.run_replays[r]) change(before, "step", r, step_there, step_row);
    if (!before->request[r]) change(before, "cancel_request", r, request_there, request_row);
    change(before, "completing", r, completing_there, completing_row);
  }
  for (k = 0; k < RECEIPTS; k++) change(before, "receipt", k, receipt_there, receipt_row);
}

static void show_run(int r) {
  int p;
  printf("run %d %s", r, status_name[now.run_status[r]]);
  if (now.run_status[r] == RUNNING) printf(" under %d/%d", now.run_worker[r], now.run_token[r]);
  for (p = 0; p < 4; p++) if (now.run_place[r] >> p & 1) printf(" %s", place_name[p]);
  if (now.run_closing[r]) printf(" closing");
  if (now.side_lock[r]) printf(" side-lock:%d", now.side_lock[r]);
  if (now.run_lock[r]) printf(" lock:%d", now.run_lock[r]);
  if (now.hold[r]) printf(" HOLD(%d/%d)", now.hold_worker[r], now.hold_token[r]);
  if (now.request[r]) printf(" request");
  if (now.memo[r]) printf(" memo:%d", now.memo[r]);
  if (now.completing_token[r]) printf(" completing:%d/%d", now.completing_worker[r], now.completing_token[r]);
  if (now.outsider_step[r]) printf(" outsider of %d/%d%s", now.outsider_worker[r], now.outsider_token[r], now.outsider_step[r] > 1 ? ", locked" : "");
  printf("; ");
}
static const char *slot_name[] = {"free", "executes", "succeeded", "failed", "stopped", "told to stop", "cancelled", "asks to wait"};
static const char *invariant[];

static void show(const char *step, int which) {
  static int shown = -1;
  static State before;
  int r, i, k, s;
  if (shown < 0) shown = getenv("SHOW") != 0;
  if (!shown) return;
  printf("| %-20s %d | ", step, which);
  for (r = 0; r < RUNS; r++) show_run(r);
  for (i = 1; i <= now.incarnations; i++)
    printf("worker %d %s%s; ", i, now.worker_row[i] == 0 ? "gone" : now.worker_row[i] == 1 ? "live" : "EXPIRED",
      now.worker_lock[i] ? " locked" : now.worker_shared[i] ? " shared" : "");
  for (k = 0; k < RECEIPTS; k++) if (now.receipt_worker[k]) {
    printf("receipt of %d:", now.receipt_worker[k]);
    for (r = 0; r < RUNS; r++) if (now.receipt_token[k*RUNS+r]) printf(" run %d/%d", r, now.receipt_token[k*RUNS+r]);
    printf("; ");
  }
  for (s = 0; s < SLOT_COUNT; s++) if (now.slot_state[s])
    printf("slot %d %s run %d as %d/%d%s%s; ", s, slot_name[now.slot_state[s]], now.slot_run[s], now.slot_worker[s],
      now.slot_token[s], now.slot_transaction[s] ? " in a transaction" : "",
      now.slot_completed[s] == 1 ? " completed" : now.slot_completed[s] == 2 ? " unknown" : "");
  if (now.lane_lock) printf("lane locked by %d; ", now.lane_lock);
  for (i = 0; i < CALLERS; i++) if (now.caller_step[i])
    printf("caller %d at %d with run %d%s; ", i, now.caller_step[i], now.caller_run[i], now.caller_stays[i] ? ", stays" : "");
  if (now.violated) printf("*** %s", invariant[now.violated]);
  printf("\n");
  changes(&before);
  before = now;
  by_set = 0;
}
};
