package main

import (
	"strings"
	"testing"
)

func TestMachineThatCannotRunTheDemoIsToldWhatToDo(t *testing.T) {
	good := facts{system: "linux", uid: 0, cacheFree: coldSpace, tempFree: warmSpace}
	for name, tc := range map[string]struct {
		change func(*facts)
		want   []string
	}{
		"fit":                   {func(*facts) {}, nil},
		"not Linux":             {func(f *facts) { f.system = "darwin" }, []string{"darwin", "virtual machine"}},
		"not root":              {func(f *facts) { f.uid = 1000 }, []string{"not root", "sudo"}},
		"warm with little disk": {func(f *facts) { f.cacheFree = warmSpace }, nil},
		"cold with little disk": {func(f *facts) { f.cacheFree, f.cold = coldSpace-1, true }, []string{"disk full", "8999 MB", "SYNCLINE_CACHE"}},
		"warm with no disk":     {func(f *facts) { f.cacheFree = warmSpace - 1 }, []string{"disk full", "1499 MB"}},
		"no room for cluster":   {func(f *facts) { f.tempFree = 10 }, []string{"disk full", "10 MB", "TMPDIR"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := good
			tc.change(&f)
			err := f.refuse()
			if len(tc.want) == 0 {
				if err != nil {
					t.Errorf("refused: %v, want it to run", err)
				}
				return
			}
			for _, word := range tc.want {
				if err == nil || !strings.Contains(err.Error(), word) {
					t.Errorf("refusal %v does not say %q", err, word)
				}
			}
		})
	}
}
