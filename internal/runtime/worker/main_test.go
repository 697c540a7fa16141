package worker

import (
	"testing"

	"github.com/syncline-dev/syncline/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
