package runner

import (
	"os"
	"testing"

	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/internal/vm/guest"
)

func TestMain(m *testing.M) {
	guest.Main() // guests run this very program as their /init
	// Tests compile suites of their own, which are to take nobody's place in the cache.
	_ = os.Setenv(vm.SuitesLimitVariable, "0")
	os.Exit(m.Run())
}
