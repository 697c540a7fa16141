/* Dedupe (start_dedupe and replay_admit): of the runs that have one key, at most one lives while the key's window lasts.
 * Run 0 has the key and has ended badly, so the key is free: two callers start, one replays run 0, and one replays run 1 when
 * that has been started and has ended badly too. A transaction may roll back, and ends when it likes.
 *
 * The row of the key says which run has it, and has a version (expires_at). A start reads row and run in one statement, and
 * then takes the row as it was read: it waits for whoever has the row, and looks again when the row is another one by then.
 * A replay that finds the key with its own run moves the version on; one that finds it with a run that has ended badly takes
 * it, as a start does.
 * NO_VERSION: a start takes the row though it has been moved on. REPLAY_KEEPS_VERSION: a replay does not move it on.
 * REPLAY_LEAVES_KEY: a replay leaves the key with the run that has it, when that has ended badly. */
#define NONE 0
#define LIVES 1
#define BAD 2
#define STARTS 2
#define RUNS (STARTS+1)
#define REPLAYS 2

byte status[RUNS];      /* committed */
byte key_run, version;  /* the row of the key, committed */
byte holder;            /* who has the row's lock, 0 nobody */
byte failures;

inline check() {
  byte each, lives = 0;
  for (each : 0 .. RUNS-1) {
    lives = lives + (status[each] == LIVES)
  }
  if :: lives <= 1 :: else -> printf("*** two-live\n"); assert(false) fi
}

inline look() { atomic { seen = key_run; seen_version = version; free = (status[key_run] == BAD) } }

/* INSERT ... ON CONFLICT DO UPDATE ... WHERE run and version are those that were read; a row that was waited for stays
 * locked whether it fits or not. */
inline take() {
  atomic {
    holder == 0 || holder == _pid+1 -> holder = _pid+1;
#ifdef NO_VERSION
    taken = (key_run == seen)
#else
    taken = (key_run == seen && version == seen_version)
#endif
  }
}
inline release() { if :: holder == _pid+1 -> holder = 0 :: else fi }
inline give_key(which) { key_run = which; version++ }

proctype Start(byte own) {
  byte seen, seen_version; bool free, taken;
  do
  :: look();
     if :: !free -> break :: else fi;
     take();
     if :: taken -> break :: else fi
  od;
  atomic {
    if
    :: free && taken -> status[own] = LIVES; give_key(own); check()
    :: true      /* found another, or rolled back */
    fi;
    release()
  }
}

/* Its run must have ended badly when it looks, and again when it writes the run, whose row it has by then. */
proctype Replay(byte own) {
  byte seen, seen_version; bool free, taken;
  end: status[own] == BAD;
  do
  :: look();
     if
     :: seen == own -> take()
     :: seen != own && !free -> break
#ifdef REPLAY_LEAVES_KEY
     :: seen != own && free -> taken = true
#else
     :: seen != own && free -> take()
#endif
     fi;
     if :: taken -> break :: else fi
  od;
  atomic {
    if
    :: taken && status[own] == BAD ->
       status[own] = LIVES;
#ifdef REPLAY_KEEPS_VERSION
       if :: seen != own -> give_key(own) :: else fi;
#elif defined(REPLAY_LEAVES_KEY)
       if :: seen == own -> version++ :: else fi;
#else
       give_key(own);
#endif
       check()
    :: true
    fi;
    release()
  }
}

init {
  atomic {
    status[0] = BAD;
    run Start(1); run Start(2); run Replay(0); run Replay(1)
  }
  do      /* runs end badly */
  :: atomic { failures < 2 && status[0] == LIVES -> status[0] = BAD; failures++ }
  :: atomic { failures < 2 && status[1] == LIVES -> status[1] = BAD; failures++ }
  :: timeout -> break
  od
}
