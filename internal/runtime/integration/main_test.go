package integration

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/syncline-dev/syncline/internal/pgtest"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"))
}
