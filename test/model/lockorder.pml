/* S10: who waits for which lock while it has others. Every kind of transaction that the engine has, over one worker's row,
 * two lanes, two runs, their side rows, a receipt and the note of a handler that executes. A batch has any of the rows. What
 * a transaction passes over when somebody has it, and after which it waits for nothing, is left out: it comes to its end. A
 * fenced update that has waited and then fails its recheck keeps the row's lock until its transaction ends, so a lock counts
 * even where nothing is written. Time-outs are left out too: nothing may rest on them but the wait for a caller who stays,
 * which claims.pml has.
 *
 * RUNS_UNORDERED: a settle locks the later run first. LANES_UNORDERED: a settle locks the later lane first.
 * HANDLER_UNORDERED: a transaction fences two runs, the later one first. CALLER_UNORDERED: a transaction cancels two runs,
 * the later one first. RUN_FIRST: a caller locks a run before its side row. CLAIM_WAITS_FOR_LANE: a claim, which has locked
 * side rows, waits for a lane instead of passing it over. SWEEP_WAITS_FOR_NOTES: a sweep, which has receipts, waits for notes.
 * NOTES_FIRST: a settle deletes notes before receipts, a reconcile after them. NO_SWEEP and the like leave a transaction out,
 * where a counterexample does not need it. */
byte worker, lane[2], side[2], runs[2], receipt, note;      /* who has it, 0 nobody */

#define MINE(row) (row == _pid+1)
#define WAIT(row) true -> atomic { row == 0 || MINE(row) -> row = _pid+1 }
#define MAY(row) if :: WAIT(row) :: true fi      /* when it is in the batch */
#define PASS(row) if :: row == 0 -> row = _pid+1 :: true fi      /* SKIP LOCKED, or not in the batch */
#define FREE(row) if :: MINE(row) -> row = 0 :: else fi
#define COMMIT d_step { \
  FREE(worker); FREE(lane[0]); FREE(lane[1]); FREE(side[0]); FREE(side[1]); FREE(runs[0]); FREE(runs[1]); FREE(receipt); FREE(note) }

#ifdef RUNS_UNORDERED
#define FIRST_RUN 1
#else
#define FIRST_RUN 0
#endif
#ifdef LANES_UNORDERED
#define FIRST_LANE 1
#else
#define FIRST_LANE 0
#endif

/* Lanes; runs that were free when it looked; receipts and notes. */
active proctype Settle() {
  MAY(lane[FIRST_LANE]); MAY(lane[1-FIRST_LANE]);
  MAY(runs[FIRST_RUN]); MAY(runs[1-FIRST_RUN]);
#ifdef NOTES_FIRST
  MAY(note); MAY(receipt);
#else
  MAY(receipt); MAY(note);
#endif
  COMMIT
}

/* The rows of workers, lanes of the dead, their receipts; notes. */
#ifndef NO_SWEEP
active proctype Sweep() {
  atomic { PASS(worker) }
  MAY(lane[0]); MAY(lane[1]);
#ifdef SWEEP_WAITS_FOR_NOTES
  atomic { PASS(receipt) }
  MAY(note);
#endif
  COMMIT
}
#endif

/* The worker's row, lanes, ready rows, and the runs of the rows that it has. */
#ifndef NO_CLAIM
active proctype Claim() {
  WAIT(worker);
#ifdef CLAIM_WAITS_FOR_LANE
  atomic { PASS(side[0]); PASS(side[1]) }
  MAY(lane[0]); MAY(lane[1]);
#else
  atomic { PASS(lane[0]); PASS(lane[1]); PASS(side[0]); PASS(side[1]) }
#endif
  if :: MINE(side[0]) -> WAIT(runs[0]) :: else fi;
  if :: MINE(side[1]) -> WAIT(runs[1]) :: else fi;
  COMMIT
}
#endif

#ifndef NO_RECONCILE
active proctype Reconcile() {
  WAIT(worker);
  MAY(receipt); MAY(note);
  COMMIT
}
#endif

/* Fences, steps, spawns and completions of one or two runs in one transaction. */
#ifndef NO_HANDLER
active proctype Handler() {
#ifdef HANDLER_UNORDERED
  MAY(runs[1]); MAY(runs[0]);
#else
  MAY(runs[0]); MAY(runs[1]);
#endif
  COMMIT
}
#endif

inline cancel(which) {
#ifdef RUN_FIRST
  WAIT(runs[which]); WAIT(side[which])
#else
  WAIT(side[which]); WAIT(runs[which])
#endif
}
#ifndef NO_CALLER
active proctype Caller() {
#ifdef CALLER_UNORDERED
  if :: cancel(1) :: true fi;
  if :: cancel(0) :: true fi;
#else
  if :: cancel(0) :: true fi;
  if :: cancel(1) :: true fi;
#endif
  COMMIT
}
#endif

/* Nobody can go on: then nobody may hold a lock. */
active proctype Watch() {
  timeout;
  if
  :: worker == 0 && lane[0] == 0 && lane[1] == 0 && side[0] == 0 && side[1] == 0 && runs[0] == 0 && runs[1] == 0 &&
     receipt == 0 && note == 0
  :: else -> printf("*** deadlock\n"); assert(false)
  fi
}
