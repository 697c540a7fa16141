// Package kill_test kills, freezes, cuts off and confuses real worker processes that work on a real PostgreSQL, and wants
// the exact outcome: nothing lost, nothing done twice, attempts and lease losses as they should be.
//
// The workers are this test binary itself, started again as a process of its own (child_test.go). What a worker does to
// the database goes through a proxy that can lose its replies; what its handlers witness goes around it. Nothing here
// waits for a time to pass, except where a time that passes is the fault.
package kill_test

import (
	"flag"
	"os"
	"testing"

	"github.com/syncline-dev/syncline/internal/pgtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = flag.Set("test.parallel", "6") // these tests wait more than they compute
	}
	pgtest.Main(m)
}
