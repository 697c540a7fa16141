package jobs

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

func TestClaimsGoOnWhereTheLastOneEndedAndReturnToTheHead(t *testing.T) {
	t.Parallel()
	start := time.Now()
	after := func(d time.Duration) time.Time { return start.Add(d) }
	further := place{at: pgtype.Timestamptz{Time: start, Valid: true}, run: 7}
	tests := map[string]struct {
		took time.Duration // what the claim from the head took
		next place         // where the claim says it ended
		ask  time.Duration // when the next one is asked, after the end of the first
		want place
	}{
		"soon":                          {took: time.Millisecond, next: further, ask: 99 * time.Millisecond, want: further},
		"after a tenth of a second":     {took: time.Millisecond, next: further, ask: 101 * time.Millisecond},
		"a slow head is asked less":     {took: 50 * time.Millisecond, next: further, ask: 499 * time.Millisecond, want: further},
		"but is asked":                  {took: 50 * time.Millisecond, next: further, ask: 501 * time.Millisecond},
		"a claim that came back short":  {took: time.Millisecond, ask: time.Millisecond},
		"the first one of all, at once": {ask: -time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inc := &Incarnation{}
			if from := inc.place(start); from != (place{}) {
				t.Fatalf("the first claim begins at %v, want the head", from)
			}
			inc.went(place{}, tt.next, start, after(tt.took))
			if got := inc.place(after(tt.took + tt.ask)); got != tt.want {
				t.Errorf("the next claim begins at %v, want %v", got, tt.want)
			}
		})
	}
}
