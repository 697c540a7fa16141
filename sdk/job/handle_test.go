package job_test

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
		"no name":         {types: []job.Type{job.Handle("", nothing)}, want: "want 1 to 200 bytes"},
		"a long name":     {types: []job.Type{job.Handle(strings.Repeat("a", 201), nothing)}, want: "want 1 to 200 bytes"},
		"a name of bytes": {types: []job.Type{job.Handle("a\xff", nothing)}, want: "want 1 to 200 bytes"},
		"a NUL in a name": {types: []job.Type{job.Handle("a\x00", nothing)}, want: "want 1 to 200 bytes"},
		"a reserved name": {types: []job.Type{job.Handle("integration.mine", nothing)}, want: `begins with "integration.", which is reserved`},
		"no function":     {types: []job.Type{job.Handle[struct{}, struct{}]("a", nil)}, want: `"a" has no handler`},
		"nothing at all":  {types: []job.Type{{}}, want: "want 1 to 200 bytes"},
		"a bad policy":    {types: []job.Type{job.Handle("a", nothing, job.Retry(job.RetryPolicy{MaxAttempts: -1}))}, want: `job type "a": maxAttempts is -1`},
		"a bad bound":     {types: []job.Type{job.Handle("a", nothing, job.MaxOutput(-1))}, want: `job type "a": maxOutput is -1`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := job.Registrations(job.DefaultSchema, tc.types...); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want one that says %q", err, tc.want)
			}
		})
	}
	served, err := job.Registrations(job.DefaultSchema, job.Handle("a", nothing), job.Handle("b", nothing))
	if err != nil || len(served) != 2 || served["a"].Handler == nil || served["b"].Handler == nil {
		t.Errorf("of two types %d are served: %v", len(served), err)
	}
}
