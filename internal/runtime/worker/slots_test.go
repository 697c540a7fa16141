package worker

import (
	"testing"
	"time"
)

func TestAsk(t *testing.T) {
	tests := map[string]struct {
		load   load
		busy   bool
		waited time.Duration
		want   int
	}{
		"an idle worker asks for everything":                 {load: load{concurrency: 10}, want: 10},
		"a full worker asks for nothing":                     {load: load{concurrency: 10, running: 10}, busy: true, waited: time.Minute, want: 0},
		"more running than allowed after a change asks none": {load: load{concurrency: 5, running: 10}, want: 0},
		"a busy worker lets few free slots gather":           {load: load{concurrency: 10, running: 8}, busy: true, want: 0},
		"a busy worker claims with a quarter of slots free":  {load: load{concurrency: 8, running: 6}, busy: true, want: 2},
		"a worker that is not busy takes a single slot":      {load: load{concurrency: 10, running: 9}, want: 1},
		"few free slots wait no longer than the gather time": {load: load{concurrency: 10, running: 9}, busy: true, waited: gatherTime, want: 1},
		"results under way do not occupy slots":              {load: load{concurrency: 10, unsettled: 10}, want: 10},
		"results that pile up do":                            {load: load{concurrency: 10, unsettled: 17}, want: 3},
		"results that pile up stop claims":                   {load: load{concurrency: 10, running: 5, unsettled: 15}, want: 0},
		"a single slot is used":                              {load: load{concurrency: 1}, busy: true, want: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.load.ask(tt.busy, tt.waited); got != tt.want {
				t.Errorf("ask(busy %v, waited %v) of %+v is %d, want %d", tt.busy, tt.waited, tt.load, got, tt.want)
			}
		})
	}
}
