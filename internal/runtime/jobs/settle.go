package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// settleSQL returns the exceptions only: a run that it does not name was settled by this call.
const settleSQL = `
SELECT run, token, result
FROM settle($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`

// Settle writes how claims ended, in one statement for the whole batch, and answers for each. A row that a handler's
// transaction still holds is tried again alone, up to the connection's lock timeout, once in a call. An output that the
// database cannot store splits the batch and fails only the offender. After an error the outcome is unknown: settle again.
func (s *Store) Settle(ctx context.Context, inc *Incarnation, batch []Settlement) ([]SettleResult, error) {
	results, err := s.settle(ctx, inc, batch)
	if err != nil {
		return nil, fmt.Errorf("settle %d runs of worker %d: %w", len(batch), inc.ID, typed(err))
	}
	for i, r := range results {
		if r != Busy {
			continue
		}
		if results[i], err = s.settleBusy(ctx, inc, batch[i]); err != nil {
			return nil, fmt.Errorf("settle run %d: %w", batch[i].Claim.RunID, typed(err))
		}
		if results[i] == Busy {
			break // One lock timeout a call: the next settle meets the others.
		}
	}
	s.lookAgain(ctx, batch, results)
	return results, nil
}

const lookAgainSQL = `SELECT look_again($1)`

// lookAgain finds, after the commit, what parents and children that settled at the same time could not see of each other.
// What it misses, because it failed or its process died, the sweep finds.
func (s *Store) lookAgain(ctx context.Context, batch []Settlement, results []SettleResult) {
	var waiting []int64
	for i, one := range batch {
		switch {
		case results[i] == Busy || results[i] == Lost:
		case one.Outcome == Parked:
			waiting = append(waiting, one.Claim.RunID)
		case one.Claim.Parent != 0 && one.ends() && !slices.Contains(waiting, one.Claim.Parent):
			waiting = append(waiting, one.Claim.Parent)
		}
	}
	if waiting != nil {
		_, _ = s.db.Exec(ctx, lookAgainSQL, waiting)
	}
}

// GiveBack returns claims whose handlers have stopped, or never started, without spending an attempt.
func (s *Store) GiveBack(ctx context.Context, inc *Incarnation, claims ...*Claim) ([]SettleResult, error) {
	batch := make([]Settlement, len(claims))
	for i, c := range claims {
		batch[i] = Settlement{Claim: c, Outcome: GivenBack, Code: "stopped", Message: "given back by its worker"}
	}
	return s.Settle(ctx, inc, batch)
}

func (s *Store) settle(ctx context.Context, inc *Incarnation, batch []Settlement) ([]SettleResult, error) {
	results, err := s.write(ctx, inc, batch, false)
	if !isData(err) {
		return results, err
	}
	if len(batch) == 1 {
		return s.write(ctx, inc, []Settlement{unstorable(batch[0], err)}, false)
	}
	half := len(batch) / 2
	first, err := s.settle(ctx, inc, batch[:half])
	if err != nil {
		return nil, err
	}
	second, err := s.settle(ctx, inc, batch[half:])
	return append(first, second...), err
}

// settleBusy waits for the row, at most the lock timeout.
func (s *Store) settleBusy(ctx context.Context, inc *Incarnation, one Settlement) (SettleResult, error) {
	results, err := s.write(ctx, inc, []Settlement{one}, true)
	if errors.Is(typed(err), ErrBusy) {
		return Busy, nil
	}
	if err != nil {
		return Busy, err
	}
	return results[0], nil
}

// isData reports a value that PostgreSQL refuses: class 22, such as a NUL in a JSON string, and the program limits.
func isData(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "54"))
}

// unstorable is the settlement of a run whose output the database refused.
func unstorable(s Settlement, err error) Settlement {
	return Settlement{Claim: s.Claim, Outcome: Failed, Code: codeInvalidOutput, Message: clean("output cannot be stored: " + err.Error())}
}

func (s *Store) write(ctx context.Context, inc *Incarnation, batch []Settlement, wait bool) ([]SettleResult, error) {
	args := newSettleArgs(inc, batch)
	rows, err := s.db.Query(ctx, settleSQL, inc.ID, args.runs, args.tokens, args.outcomes, args.outputs, args.codes,
		args.messages, args.delays, args.keep, args.lanes, args.receipts, wait, args.parented)
	if err != nil {
		return nil, err
	}
	results, err := readResults(rows, batch)
	if err != nil {
		return nil, err
	}
	inc.settled(batch, results)
	return results, nil
}

// settleArgs are the columns of a batch. Everything that only uncompleted runs need stays nil in a batch of completed
// ones, which the function settles by its short way.
type settleArgs struct {
	runs, tokens, delays, lanes, receipts []int64
	parented                              []int64
	outcomes, codes, messages             []string
	outputs                               []*string
	keep                                  []bool
}

func newSettleArgs(inc *Incarnation, batch []Settlement) settleArgs {
	a := settleArgs{
		receipts: inc.closing(batch), parented: []int64{}, runs: make([]int64, 0, len(batch)), tokens: make([]int64, 0, len(batch)),
	}
	plain := !slices.ContainsFunc(batch, func(s Settlement) bool { return s.Outcome != Completed })
	for i := range batch {
		s := &batch[i]
		a.runs, a.tokens = append(a.runs, s.Claim.RunID), append(a.tokens, s.Claim.Token)
		if text := output(s); text != nil {
			if a.outputs == nil {
				a.outputs = make([]*string, len(batch))
			}
			a.outputs[i] = text
		}
		if s.Claim.lane != 0 && !slices.Contains(a.lanes, s.Claim.lane) {
			a.lanes = append(a.lanes, s.Claim.lane)
		}
		if s.Claim.Parent != 0 && (s.Outcome == Completed || s.Claim.CompletionAsked()) {
			a.parented = append(a.parented, s.Claim.RunID)
		}
		if !plain {
			a.outcomes, a.codes = append(a.outcomes, string(s.Outcome)), append(a.codes, s.Code)
			a.messages, a.delays = append(a.messages, s.Message), append(a.delays, millis(s.Delay))
			a.keep = append(a.keep, s.KeepLane)
		}
	}
	return a
}

// output is the output of a completed run, or what a parked one waits for.
func output(s *Settlement) *string {
	switch {
	case s.Outcome == Parked:
		return new(s.Wait.document())
	case s.Output == nil || s.Outcome != Completed:
		return nil
	}
	return new(string(s.Output))
}

func readResults(rows pgx.Rows, batch []Settlement) ([]SettleResult, error) {
	var exceptions map[Held]SettleResult // nearly always none
	var h Held
	var name string
	_, err := pgx.ForEachRow(rows, []any{&h.RunID, &h.Token, &name}, func() error {
		if exceptions == nil {
			exceptions = map[Held]SettleResult{}
		}
		exceptions[h] = map[string]SettleResult{"already": Already, "lost": Lost, "busy": Busy}[name]
		return nil
	})
	if err != nil {
		return nil, err
	}
	results := make([]SettleResult, len(batch))
	if exceptions == nil {
		return results, nil
	}
	for i, s := range batch {
		results[i] = exceptions[Held{RunID: s.Claim.RunID, Token: s.Claim.Token}]
	}
	return results, nil
}

// closing are the receipts that have nothing left once the whole batch is confirmed.
func (i *Incarnation) closing(batch []Settlement) []int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	count := map[int64]int{}
	for _, s := range batch {
		if !s.Claim.confirmed {
			count[s.Claim.receipt]++
		}
	}
	var ids []int64
	for id, n := range count {
		if n >= i.receipts[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// settled forgets confirmed claims, each once: a claim may be settled again after its reply was lost.
func (i *Incarnation) settled(batch []Settlement, results []SettleResult) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for k, s := range batch {
		if results[k] != Busy {
			i.confirm(s.Claim)
		}
	}
}

// confirm forgets one claim. The caller holds the mutex.
func (i *Incarnation) confirm(c *Claim) {
	if c.confirmed {
		return
	}
	c.confirmed = true
	if n := i.receipts[c.receipt]; n > 1 {
		i.receipts[c.receipt] = n - 1
	} else {
		delete(i.receipts, c.receipt)
	}
}
