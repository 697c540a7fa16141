package worker

import (
	"context"
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/sdk/job"
)

func nothing(context.Context, *job.Run, struct{}) (struct{}, error) { return struct{}{}, nil }

func TestTypesThatCannotBeServedTogetherAreRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		types []job.Type
		want  string
	}{
		"two of one name": {types: []job.Type{job.Handle("a", nothing), job.Handle("b", nothing), job.Handle("a", nothing)}, want: `"a" is registered twice`},
		"no name":         {types: []job.Type{job.Handle("", nothing)}, want: "has no name"},
		"no handler":      {types: []job.Type{{}}, want: "has no name"},
		"a bad policy":    {types: []job.Type{job.Handle("a", nothing, job.Retry(job.RetryPolicy{MaxAttempts: -1}))}, want: `job type "a": maxAttempts is -1`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := unique(tc.types); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want one that says %q", err, tc.want)
			}
		})
	}
	if err := unique([]job.Type{job.Handle("a", nothing), job.Handle("b", nothing)}); err != nil {
		t.Errorf("two types are refused: %v", err)
	}
}
