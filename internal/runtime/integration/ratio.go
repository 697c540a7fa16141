package integration

import (
	"fmt"
	"math/big"
)

// minBadToStop keeps a handful of bad records from stopping a small run: one bad record in a run of one is no outage,
// and holding the cursor for it would hold everything behind it for ever.
const minBadToStop = 10

// ratio is an exact share in (0, 1].
type ratio struct{ value *big.Rat }

func parseRatio(s string) (ratio, error) {
	v, ok := new(big.Rat).SetString(s)
	if !ok || v.Sign() <= 0 || v.Cmp(big.NewRat(1, 1)) > 0 {
		return ratio{}, fmt.Errorf("%q is no decimal above 0 and up to 1", s)
	}
	return ratio{value: v}, nil
}

// exceeded says whether more than the share of the records found are bad, and at least minBadToStop.
func (r ratio) exceeded(c counts) bool {
	if c.quarantined < minBadToStop {
		return false
	}
	return big.NewRat(c.quarantined, c.found()).Cmp(r.value) > 0
}
