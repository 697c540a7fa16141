/* Every step of every process, sweep, run and caller. STEP says what is made of it. */
OF_WORKER(0)
#if WORKERS > 1
OF_WORKER(1)
#endif
OF_SLOT(0)
#if SLOT_COUNT > 1
OF_SLOT(1)
#endif
#if SLOT_COUNT > 2
OF_SLOT(2)
#endif
#if SLOT_COUNT > 3
OF_SLOT(3)
#endif
OF_SWEEP(0)
#if SWEEPS > 1
OF_SWEEP(1)
#endif
STEP(expire, 1)
#if INCARNATIONS > 1
STEP(expire, 2)
#endif
#if INCARNATIONS > 2
STEP(expire, 3)
#endif
#if INCARNATIONS > 3
STEP(expire, 4)
#endif
#if INCARNATIONS > 4
STEP(expire, 5)
#endif
OF_RUN(0)
#if RUNS > 1
OF_RUN(1)
#endif
#if RUNS > 2
OF_RUN(2)
#endif
OF_CALLER(0)
OF_CALLER_RUN(0)
#if RUNS > 1
OF_CALLER_RUN(1)
#endif
#if RUNS > 2
OF_CALLER_RUN(2)
#endif
#if CALLERS > 1
OF_CALLER(1)
OF_CALLER_RUN(10)
#if RUNS > 1
OF_CALLER_RUN(11)
#endif
#endif
STEP(audit_look, 0) STEP(audit_write, 0)
