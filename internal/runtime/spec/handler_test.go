package spec_test

import (
	"strings"
	"testing"

	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

// A worker must not half-serve a document that it could not run with.
func TestHandlersAreChecked(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit func(*spec.Handler)
		want string
	}{
		"as it should be": {func(*spec.Handler) {}, ""},
		"no type":         {func(h *spec.Handler) { h.Type = "" }, "a type is empty"},
		"reserved":        {func(h *spec.Handler) { h.Type = "integration.sync" }, "reserved: give it another name"},
		"twice":           {func(h *spec.Handler) { h.Type = "other" }, "declared twice"},
		"no timeout":      {func(h *spec.Handler) { h.TimeoutMillis = 0 }, "timeoutMillis is 0"},
		"no attempts":     {func(h *spec.Handler) { h.Retry.MaxAttempts = 0 }, "retry.maxAttempts is 0"},
		"no delay":        {func(h *spec.Handler) { h.Retry.BaseMillis = 0 }, "retry.baseMillis is 0"},
		"maximum below":   {func(h *spec.Handler) { h.Retry.MaxMillis = 1 }, "retry.maxMillis 1"},
		"other scheme":    {func(h *spec.Handler) { h.URL = "ftp://host/x" }, "not an absolute http or https URL"},
		"no host":         {func(h *spec.Handler) { h.URL = "/runs" }, "not an absolute http or https URL"},
		"user name":       {func(h *spec.Handler) { h.URL = "http://u:hunter2@host" }, "without user name and password"},
	} {
		h := spec.Handler{Type: "invoice", URL: "https://host/runs", TimeoutMillis: 1, Retry: spec.Retry{MaxAttempts: 1, BaseMillis: 2, MaxMillis: 2}}
		other := h
		other.Type = "other"
		tt.edit(&h)
		p := spec.DefaultPool()
		p.Handlers = []spec.Handler{h, other}
		got := ""
		if err := p.Validate(); err != nil {
			got = err.Error()
		}
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || strings.Contains(got, "hunter2") {
			t.Errorf("%s: the error is %q, want one with %q", name, got, tt.want)
		}
	}
}
