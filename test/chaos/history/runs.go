package history

import (
	"bytes"
	"slices"
)

// runChanged sorts a change of a run's row into the kinds that there are.
func (c *checker) runChanged(ch Change, before, after *row) {
	if after == nil {
		c.blame(NoRunLost, before.ID, ch.At, "its row was deleted")
		return
	}
	r := c.of(after.ID)
	r.row = after
	if after.ended() && (before == nil || !before.ended()) {
		r.endedIn = ch.Tx
	}
	if after.Lane != 0 {
		c.lanes[after.Lane] = after.LaneLimit
	}
	switch {
	case before == nil:
		if after.Status != pending || after.ClaimToken != 0 {
			c.blame(TokenGrows, after.ID, ch.At, "it was born %s with token %d", after.Status, after.ClaimToken)
		}
		c.begins(ch, after)
	case before.ended():
		c.endedChanged(ch, r, before, after)
	case before.Status == pending && after.Status == running:
		c.claimedBy(ch, before, after)
	case before.ClaimToken != after.ClaimToken:
		c.blame(TokenGrows, after.ID, ch.At, "its token went from %d to %d without a claim", before.ClaimToken, after.ClaimToken)
	case before.Status == running && after.Status == running:
		if before.ClaimedBy != after.ClaimedBy {
			c.blame(SettledOnce, after.ID, ch.At, "its claim went from worker %d to %d", before.ClaimedBy, after.ClaimedBy)
		}
	case before.Status == running:
		c.left(ch, r, before, after)
	}
}

// endedChanged allows a replay, and in the transaction that ended the run that it closes: it waits for children then.
func (c *checker) endedChanged(ch Change, r *run, before, after *row) {
	switch {
	case after.Status == pending && after.Replays == before.Replays && after.ClaimToken == before.ClaimToken && r.endedIn == ch.Tx:
	case after.Status == pending && after.Replays == before.Replays+1:
		r.effects, r.completed = nil, 0
		c.begins(ch, after)
		if before.ClaimToken != after.ClaimToken {
			c.blame(TokenGrows, after.ID, ch.At, "a replay moved its token from %d to %d", before.ClaimToken, after.ClaimToken)
		}
	case !bytes.Equal(ch.Old, ch.New):
		c.blame(EndedStays, after.ID, ch.At, "it was %s under token %d and was written again: %s under token %d, by %q",
			before.Status, before.ClaimToken, after.Status, after.ClaimToken, ch.Writer)
	}
}

func (c *checker) claimedBy(ch Change, before, after *row) {
	if after.ClaimToken != before.ClaimToken+1 {
		c.blame(TokenGrows, after.ID, ch.At, "a claim moved its token from %d to %d", before.ClaimToken, after.ClaimToken)
	}
	w := c.workers[after.ClaimedBy]
	switch {
	case w == nil || w.removed != 0:
		c.blame(IncarnationOnce, after.ID, ch.At, "it was claimed for worker %d, which has no row", after.ClaimedBy)
	case w.writer != ch.Writer:
		c.blame(SettledOnce, after.ID, ch.At, "%q claimed it for worker %d, which is %q", ch.Writer, after.ClaimedBy, w.writer)
	}
	key := claim{after.ID, after.ClaimToken}
	if old := c.claims[key]; old != nil {
		c.blame(TokenGrows, after.ID, ch.At, "token %d was there before", after.ClaimToken)
	}
	c.claims[key] = &claimed{worker: after.ClaimedBy, lane: after.Lane, from: ch.Committed}
}

// left is a run's way out of a claim: swept from a dead worker, or written by the claim's own process.
func (c *checker) left(ch Change, r *run, before, after *row) {
	k := c.claims[claim{before.ID, before.ClaimToken}]
	w := c.workers[before.ClaimedBy]
	if k == nil || w == nil {
		c.blame(SettledOnce, after.ID, ch.At, "it left a claim that nobody made: worker %d, token %d", before.ClaimedBy, before.ClaimToken)
		return
	}
	k.left, k.written = ch.Committed, ch.At
	if k.swept = after.LeaseLosses > before.LeaseLosses; k.swept {
		if w.removed == 0 {
			c.blame(LiveLease, after.ID, ch.At, "it was taken from worker %d, whose row is there", w.id)
		}
		return
	}
	if k.overdue = after.Status == timedOut && after.DeadlineAt.Sub(c.Origin) <= ch.At; k.overdue {
		return // anybody ends a run past its deadline whose handler does not stop
	}
	byEndpoint := ch.Writer == Endpoint && after.Status == completed && after.Input.Complete
	if ch.Writer != w.writer && !byEndpoint {
		c.blame(SettledOnce, after.ID, ch.At, "%q settled token %d of worker %d, which is %q", ch.Writer, before.ClaimToken, w.id, w.writer)
	}
	if after.Status != completed {
		return
	}
	if token := outputToken(after.Output); token != 0 && token != before.ClaimToken {
		c.blame(SettledOnce, after.ID, ch.At, "it was completed under token %d with the output of token %d", before.ClaimToken, token)
	}
	if after.Input.Complete {
		k.byItself, r.completed = true, before.ClaimToken
	}
}

// effectWritten is a row that a handler wrote with its own completion.
func (c *checker) effectWritten(ch Change, after *row) {
	if after == nil {
		return
	}
	r := c.of(after.Run)
	if len(r.effects) > 0 {
		c.blame(EffectOnce, after.Run, ch.At, "the effect of token %d is there beside that of token %d", after.Token, r.effects[0])
	}
	r.effects = append(r.effects, after.Token)
}

// fencedWritten is a row that a handler wrote under a fence: the claim must hold when it commits.
func (c *checker) fencedWritten(ch Change, after *row) {
	if after == nil {
		return
	}
	r := c.of(after.Run)
	if r.row == nil || r.row.Status != running || r.row.ClaimToken != after.Token {
		c.blame(EffectOnce, after.Run, ch.At, "token %d wrote under a fence though its claim did not hold", after.Token)
	}
}

// stepWritten is a row that a transactional step wrote with its memo: once in a life of the run.
func (c *checker) stepWritten(ch Change, after *row) {
	if after == nil {
		return
	}
	r := c.of(after.Run)
	key := after.Name
	if r.row != nil {
		key += "/" + string(rune('0'+r.row.Replays))
	}
	if before := r.steps[key]; before != 0 {
		c.blame(EffectOnce, after.Run, ch.At, "step %q wrote under token %d and again under token %d", after.Name, before, after.Token)
	}
	r.steps[key] = after.Token
	if r.row == nil || r.row.Status != running || r.row.ClaimToken != after.Token {
		c.blame(EffectOnce, after.Run, ch.At, "step %q wrote under token %d though its claim did not hold", after.Name, after.Token)
	}
}

// commit checks what must hold between transactions, for the runs that the last one touched.
func (c *checker) commit(ch Change) {
	for id := range c.touched {
		if r := c.runs[id]; r != nil {
			c.onePlace(ch, id, r)
			c.effectFits(ch, id, r)
			c.holdFits(ch, r)
			c.admitted(ch, r)
		}
	}
	if len(c.touched) > 0 {
		c.poolFits(ch)
	}
	for _, w := range c.leaving {
		c.departed(ch, w)
	}
	c.leaving = nil
	clear(c.touched)
}

func (c *checker) onePlace(ch Change, id int64, r *run) {
	n := 0
	for _, rows := range r.places {
		n += rows
	}
	switch {
	case r.row == nil:
		c.blame(OnePlace, id, ch.At, "it stands in %v and has no row", r.places)
	case r.row.Status == pending && n != 1:
		c.blame(OnePlace, id, ch.At, "it is pending and stands in %d side tables %v", n, r.places)
	case r.row.Status != pending && n != 0:
		c.blame(OnePlace, id, ch.At, "it is %s and stands in a side table %v", r.row.Status, r.places)
	case r.row.Status == running:
		if n := c.named(r.row); n != 1 {
			c.blame(OnePlace, id, ch.At, "it is running and %d receipts of its worker name it", n)
		}
	}
}

// named counts the receipts that name a running run under its claim.
func (c *checker) named(r *row) (n int) {
	for _, receipt := range c.receipts {
		for i, id := range receipt.IDs {
			if id == r.ID && receipt.Worker == r.ClaimedBy && receipt.Tokens[i] == r.ClaimToken {
				n++
			}
		}
	}
	return n
}

// effectFits wants a handler's effect if and only if its completion is there.
func (c *checker) effectFits(ch Change, id int64, r *run) {
	switch {
	case len(r.effects) > 0 && !slices.Contains(r.effects, r.completed):
		c.blame(EffectOnce, id, ch.At, "the effect of token %d is there and its completion is not", r.effects[0])
	case r.completed != 0 && !slices.Contains(r.effects, r.completed):
		c.blame(EffectOnce, id, ch.At, "the completion of token %d is there and its effect is not", r.completed)
	}
}

// holdFits wants a lane's hold for every running run of a lane, and no more holds than the lane allows.
func (c *checker) holdFits(ch Change, r *run) {
	if r.row == nil || r.row.Lane == 0 {
		return
	}
	hold := c.holds[r.row.ID]
	if r.row.Status == running && (hold == nil || hold.Token != r.row.ClaimToken || hold.Worker != r.row.ClaimedBy) {
		c.blame(LaneLimit, r.row.ID, ch.At, "it is running under token %d without a hold of its lane", r.row.ClaimToken)
	}
	var n int64
	for _, h := range c.holds {
		if h.Lane == r.row.Lane {
			n++
		}
	}
	if limit := c.lanes[r.row.Lane]; n > limit {
		c.blame(LaneLimit, r.row.ID, ch.At, "its lane has %d holds, the limit is %d", n, limit)
	}
}

// admitted wants no more live runs in a lane whose starts reject than it allows.
func (c *checker) admitted(ch Change, r *run) {
	if r.row == nil || r.row.Lane == 0 || r.row.Collision != "reject" || r.row.ended() {
		return
	}
	var live int64
	for _, other := range c.runs {
		if other.row != nil && other.row.Lane == r.row.Lane && !other.row.ended() {
			live++
		}
	}
	if live > r.row.LaneLimit {
		c.blame(Admission, r.row.ID, ch.At, "its lane has %d live runs, the limit is %d", live, r.row.LaneLimit)
	}
}

// poolFits wants no more runs in flight than the pools allow.
func (c *checker) poolFits(ch Change) {
	for pool, limit := range c.MaxRunning {
		n := 0
		for _, r := range c.runs {
			if r.row != nil && r.row.Status == running && r.row.Pool == pool {
				n++
			}
		}
		if n > limit {
			c.blame(PoolLimit, 0, ch.At, "%d runs of pool %q are in flight, the limit is %d", n, pool, limit)
		}
	}
}

// departed is a worker that took its lease away: nothing may be left under it.
func (c *checker) departed(ch Change, w *incarnation) {
	for id, r := range c.runs {
		if r.row != nil && r.row.Status == running && r.row.ClaimedBy == w.id {
			c.blame(StillExecutes, id, ch.At, "worker %d removed its lease while the run runs under it", w.id)
		}
	}
	for key, x := range c.marks {
		if k := c.claims[key]; k != nil && k.worker == w.id && x.began <= ch.At && x.end(c.Evidence) > ch.At+x.tolerance() {
			c.blame(StillExecutes, key.run, ch.At, "worker %d removed its lease while its handler of token %d executes", w.id, key.token)
		}
	}
}
