package database_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/syncline-dev/syncline/internal/pgtest"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}
