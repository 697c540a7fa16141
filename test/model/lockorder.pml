/* S10: worker statements lock run rows in id order. Two runs and three statements: a sweep has put both back; a settle of
 * the old worker, whose snapshot is older, locks both; a claim locks both. A fenced update that has waited and then fails
 * its recheck keeps the row's lock until its transaction ends, so a wrong order is a deadlock although nothing matches.
 * UNORDERED: the settle locks the later run first. */
byte locked[2];                     /* 0 free, 1 the settle, 2 the claim */
byte status[2];                     /* 0 running under the old worker, 1 pending, 2 running under the new one, 3 settled */

active proctype Sweep() {
  atomic { locked[0] == 0 && locked[1] == 0 -> status[0] = 1; status[1] = 1 }
}

active proctype Settle() {
  byte first = 0, second = 1, each;
#ifdef UNORDERED
  first = 1; second = 0;
#endif
  atomic { locked[first] == 0 -> locked[first] = 1 }
  atomic { locked[second] == 0 -> locked[second] = 1 }
  atomic {
    for (each : 0 .. 1) {
      if
      :: status[each] == 0 -> status[each] = 3
      :: else
      fi;
      locked[each] = 0
    }
  }
}

active proctype Claim() {
  status[0] == 1 && status[1] == 1;
  atomic { locked[0] == 0 -> locked[0] = 2 }
  atomic { locked[1] == 0 -> locked[1] = 2 }
  atomic { status[0] = 2; status[1] = 2; locked[0] = 0; locked[1] = 0 }
}

/* Nobody can go on: then nobody may hold a lock. */
active proctype Watch() {
  timeout;
  if
  :: locked[0] == 0 && locked[1] == 0
  :: else -> printf("*** deadlock\n"); assert(false)
  fi
}
