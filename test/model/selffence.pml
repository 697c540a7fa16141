/* S4 with exact clocks: while the worker believes in its lease, the row in the database is unexpired. Two lease lengths, a
 * margin of one tick, three beats; each may reach the database as late as it likes, over a connection given up long ago,
 * and each reply may be lost.
 * BEATS_UNNUMBERED: the row takes a late beat too. SHORTER_NOT_LOWERED: a shorter length is asked for without lowering the
 * deadline first. DEADLINE_FROM_ARRIVAL: the deadline counts from the reply's arrival, not from the beat's sending. */
#ifndef END
#define END 14
#endif
#define SHORT 2
#define LONG 6
#define MARGIN 1

byte clock, expires = LONG, deadline = LONG - MARGIN, beats, newest;

/* A beat: 0 not sent, 1 on its way, 2 its reply is on its way, 3 confirmed. */
byte sent[4], length[4], state[4];
bool given_up[4];

inline check() {
  if
  :: clock >= deadline || clock < expires
  :: else -> printf("*** expired-lease\n"); assert(false)
  fi
}

inline send(ticks) {
  beats++;
  sent[beats] = clock; length[beats] = ticks; state[beats] = 1;
#ifndef SHORTER_NOT_LOWERED
  if
  :: ticks == SHORT && clock + ticks - MARGIN < deadline -> deadline = clock + ticks - MARGIN
  :: else
  fi;
#endif
  check()
}

inline arrive(beat) {
  state[beat] = 2;
  if
#ifndef BEATS_UNNUMBERED
  :: beat <= newest
#endif
  :: beat > newest -> newest = beat; expires = clock + length[beat]
#ifdef BEATS_UNNUMBERED
  :: beat <= newest -> expires = clock + length[beat]
#endif
  fi;
  check()
}

/* An unconfirmed later beat with a shorter length keeps its lower deadline. */
inline confirm(beat) {
  state[beat] = 3;
#ifdef DEADLINE_FROM_ARRIVAL
  deadline = clock + length[beat] - MARGIN;
#else
  deadline = sent[beat] + length[beat] - MARGIN;
#endif
#ifndef SHORTER_NOT_LOWERED
  for (later : beat+1 .. beats) {
    if
    :: length[later] == SHORT && sent[later] + SHORT - MARGIN < deadline -> deadline = sent[later] + SHORT - MARGIN
    :: else
    fi
  }
#endif
  check()
}

#define OF_BEAT(beat) \
  :: atomic { state[beat] == 1 -> arrive(beat) } \
  :: atomic { state[beat] == 2 && !given_up[beat] -> confirm(beat) }

active proctype Everything() {
  byte later;
  do
  :: atomic { clock < END -> clock++; check() }
  :: atomic { beats < 3 && (beats == 0 || state[beats] == 3 || given_up[beats]) -> send(SHORT) }
  :: atomic { beats < 3 && (beats == 0 || state[beats] == 3 || given_up[beats]) -> send(LONG) }
  :: atomic { beats > 0 && (state[beats] == 1 || state[beats] == 2) && !given_up[beats] -> given_up[beats] = true }
  OF_BEAT(1)
  OF_BEAT(2)
  OF_BEAT(3)
  :: clock == END -> break
  od
}
