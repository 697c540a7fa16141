//go:build chaos

package chaos_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = flag.Set("test.parallel", "6") // these tests wait more than they compute
	}
	end, err := buildHost()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the library of bad hosts:", err)
		os.Exit(1)
	}
	code := m.Run()
	report.print()
	end()
	os.Exit(code)
}
