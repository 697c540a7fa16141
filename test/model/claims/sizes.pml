/* How large the world is, and how often each fault may strike. configurations.txt sets what differs from here.
 * Small worlds find protocol errors: every fault that is known needs at most two runs, two processes and two sweeps. */
#ifndef RUNS
#define RUNS 1
#endif
#ifndef WORKERS
#define WORKERS 2        /* worker processes */
#endif
#ifndef SLOTS
#define SLOTS 1          /* runs that a process executes at once */
#endif
#ifndef INCARNATIONS
#define INCARNATIONS 5   /* worker rows over all time, ids 1 to INCARNATIONS */
#endif
#ifndef RECEIPTS
#define RECEIPTS 5       /* receipt rows at one time */
#endif
#ifndef SWEEPS
#define SWEEPS 1         /* sweeps under way at one time, by any worker or the backstop */
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2       /* attempts before a run fails */
#endif
#ifndef LANE_LIMIT
#define LANE_LIMIT 1     /* claims that the lane may have at once */
#endif
#ifndef CALLERS
#define CALLERS 1        /* callers at one time */
#endif
#ifndef LOSSES
#define LOSSES 5         /* lost leases before a run ends as lost */
#endif

/* Budgets of faults and events. Each use spends one, so the graph of states has (nearly) no cycle. */
#ifndef LOST_REPLIES
#define LOST_REPLIES 0   /* replies that never come, statements given up, transactions rolled back */
#endif
#ifndef EXPIRIES
#define EXPIRIES 0       /* leases that run out though their process lives: a pause, a cut connection, a slow beat */
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef FREEZES
#define FREEZES 0        /* processes frozen for ever inside a claim's or a sweep's transaction */
#endif
#ifndef SELF_FENCES
#define SELF_FENCES 0
#endif
#ifndef FAILURES
#define FAILURES 0       /* handlers that return an error */
#endif
#ifndef TRANSACTIONS
#define TRANSACTIONS 0   /* handlers that complete their run in a transaction of their own */
#endif
#ifndef OUTSIDERS
#define OUTSIDERS 0      /* processes that a handler gave its token, and that complete the run in transactions of their own */
#endif
#ifndef STEPS
#define STEPS 0          /* handlers that write a memoised step in a transaction of their own */
#endif
#ifndef PARKS
#define PARKS 0          /* handlers that ask to wait without a slot */
#endif
#ifndef OVERDUES
#define OVERDUES 0       /* deadlines that end a run whose handler does not stop */
#endif
#ifndef CANCELS
#define CANCELS 0        /* callers that cancel, in transactions that may stay open for ever */
#endif
#ifndef REPLAYS
#define REPLAYS 0
#endif
#ifndef DRAINS
#define DRAINS 0
#endif
#ifndef AUDITS
#define AUDITS 0         /* audits in two statements, which S7 forbids */
#endif

/* LANE: all runs share one lane.
 * DIRECT: a settle looks and writes in two steps, as it does with rows that it finds free: what comes in between is waited for.
 * TREE: run 0 is a parent whose handler may spawn run 1; with CLOSE_CANCEL its close policy is cancel, else terminate.
 * S4_KEPT: processes obey S4, and the check "no handler beside a newer claim" is on. Everything in the database is
 * searched without it: it must not depend on S4. */
#define SLOT_COUNT (WORKERS*SLOTS)
