/* The state: the engine's tables, who holds which row lock, and the processes. A transaction's effects are applied when
 * it commits; its locks are held from the statement that takes them. Lock holders: see the numbers below. */

/* run: status 0 pending, 1 running, 2 completed, 3 failed, 4 lost, 5 cancelled, 6 not born yet, 7 timed out. */
byte run_status[RUNS]; byte run_worker[RUNS]; byte run_token[RUNS];
byte run_losses[RUNS]; byte run_attempts[RUNS]; byte run_replays[RUNS];
byte run_settled[RUNS];                        /* the token that ended or settled it */
byte run_place[RUNS];                          /* side rows, a set: 1 ready, 2 scheduled, 4 blocked, 8 waiting */
byte run_closing[RUNS];                        /* the status that a closing run will end with */
byte request[RUNS];                            /* a cancel request stands */
byte handler_rows[RUNS];                       /* rows that a handler wrote with its completion */
byte memo[RUNS]; byte step_effects[RUNS];      /* a step's memo, and how often its effect was committed in this life */
byte signalled[RUNS];                          /* the signal has come for which a parked run waits */
byte completing_worker[RUNS]; byte completing_token[RUNS];
byte hold[RUNS]; byte hold_worker[RUNS]; byte hold_token[RUNS];  /* lane_hold; worker 0: kept for the run's next claim */

/* worker: row 0 gone, 1 live, 2 expired; lives: a process lives as this incarnation. */
byte worker_row[INCARNATIONS+1]; byte worker_lives[INCARNATIONS+1]; byte incarnations;
byte receipt_worker[RECEIPTS]; byte receipt_token[RECEIPTS*RUNS];

/* Row locks: 0 is free. Side rows: 1+w a claim of process w, 40+c caller c. Run rows: 10+s the handler in slot s, 40+c a
 * caller, 50 a transaction whose process died or lost its connection, 51 an outsider's. The lane: 1+w a claim, 10+s a settle, 30+v sweep
 * v, 60+w a reconcile, 40+c a caller. Worker rows: for key share by a claim, or for update by a sweep or reconcile. */
byte side_lock[RUNS]; byte run_lock[RUNS]; byte lane_lock;
byte worker_shared[INCARNATIONS+1]; byte worker_lock[INCARNATIONS+1];
byte orphan_worker[RUNS]; byte orphan_token[RUNS]; byte orphan_work[RUNS];  /* behind a lock of 50 */

/* An outsider: a process to which a handler gave its token. step: 0 none, 1 has begun, 2 has the run's lock. */
byte outsider_step[RUNS]; byte outsider_worker[RUNS]; byte outsider_token[RUNS];

/* Processes. claim_step: 0 none, 1 sent, 2 worker row locked, 3 lane decided, 5 answered. */
byte up[WORKERS]; byte incarnation[WORKERS]; byte frozen[WORKERS];
byte drain_step[WORKERS];                      /* 0 no, 1 claims no more, 2 handlers cancelled, 3 lease removed, 4 exited */
byte claim_step[WORKERS]; byte claim_worker[WORKERS]; byte claim_given_up[WORKERS]; byte claim_room[WORKERS];
byte claim_reply[WORKERS*RUNS];                /* tokens on their way back */
byte reconcile_step[WORKERS]; byte reconcile_token[WORKERS*RUNS];

/* Slots. state: 0 free, 1 executing, 2 succeeded, 3 failed, 4 stopped (to give back), 5 told to stop and still
 * executing, 6 cancelled, 7 asks to wait. transaction: 0 none; 1 and 2 complete begun and locked; 3 and 4 the same of a
 * step, 5 and 6 of a spawn. completed: 1 committed, 2 the commit's reply was lost. */
byte slot_state[SLOT_COUNT]; byte slot_run[SLOT_COUNT]; byte slot_token[SLOT_COUNT]; byte slot_worker[SLOT_COUNT];
byte slot_lane[SLOT_COUNT];                    /* its settle has the lane's lock */
/* DIRECT. seen: 1 its settle has seen the run under its claim and free, and will write it; 2 to 5, with a rule switched off,
 * it has passed the run over, and statements that follow decide what may go. */
byte slot_seen[SLOT_COUNT]; byte slot_decided[SLOT_COUNT];
byte slot_transaction[SLOT_COUNT]; byte slot_completed[SLOT_COUNT]; byte slot_asked[SLOT_COUNT];  /* asked: called complete */

byte sweep_step[SWEEPS]; byte sweep_frozen[SWEEPS]; byte sweep_worker[SWEEPS*RUNS]; byte sweep_token[SWEEPS*RUNS];

/* Callers. step: 0 none, 1 has one lock, 2 has both, 3 asks about a running run, 4 replays, 6 wants the lane. life: the
 * number of replays that the request names. */
byte caller_step[CALLERS]; byte caller_run[CALLERS]; byte caller_stays[CALLERS]; byte caller_life[CALLERS];
byte audit_step; byte audit_seen;

byte lost_replies; byte expiries; byte crashes; byte freezes; byte self_fences; byte failures; byte transactions;
byte outsiders; byte steps; byte parks; byte overdues; byte cancels; byte replays; byte drains; byte audits;
byte violated;                                 /* the number of the invariant that does not hold */
byte finished;

#define PENDING 0
#define RUNNING 1
#define COMPLETED 2
#define FAILED 3
#define LOST 4
#define CANCELLED 5
#define UNBORN 6
#define TIMED_OUT 7

#define READY 1
#define SCHEDULED 2
#define BLOCKED 4
#define WAITING 8

#define FREE 0
#define EXECUTING 1
#define SUCCEEDED 2
#define ERRORED 3
#define STOPPED 4
#define STOPPING 5
#define CANCELLED_SLOT 6
#define WAITS 7

#define CALLER 40
#define ORPHAN 50
#define OUTSIDER 51
#define PARENT 0
#define CHILD 1
