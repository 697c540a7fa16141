package schema_test

import (
	"testing"

	"github.com/syncline-dev/syncline/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
