package history

import "time"

// held is a dedupe key in its window, as the run that took it was given it.
type held struct {
	key     dedupeKey
	expires time.Duration
}

type dedupeKey struct {
	tenant, jobType, key string
}

// dedupeChanged follows who stands for a key, and for how long.
func (c *checker) dedupeChanged(after *row) {
	if after != nil {
		c.held[after.Run] = held{dedupeKey{after.Tenant, after.JobType, after.Key}, after.ExpiresAt.Sub(c.Origin)}
	}
}

// begins is a run's life, the first or one by a replay: no other run may stand for its dedupe key.
func (c *checker) begins(ch Change, after *row) {
	if after.DedupeKey == "" {
		return
	}
	key := dedupeKey{after.Tenant, after.JobType, after.DedupeKey}
	for id, h := range c.held {
		other := c.runs[id]
		if id == after.ID || h.key != key || h.expires <= ch.At || other == nil || other.row == nil {
			continue
		}
		if !other.row.ended() || other.row.Status == completed {
			c.blame(StartedOnce, after.ID, ch.At, "run %d stands for its dedupe key for another %v", id, h.expires-ch.At)
		}
	}
}

// startedOnce wants the acknowledged starts of an idempotency key to name one run.
func (c *checker) startedOnce() {
	type key struct{ tenant, key string }
	first := map[key]int64{}
	for _, s := range c.Started {
		if s.Key == "" {
			continue
		}
		k := key{s.Tenant, s.Key}
		if run, known := first[k]; known && run != s.Run {
			c.blame(StartedOnce, s.Run, c.End, "its idempotency key %q is that of run %d", s.Key, run)
		}
		first[k] = s.Run
	}
}
