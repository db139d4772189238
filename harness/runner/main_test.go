package runner

import (
	"os"
	"testing"

	"github.com/tcplab/tcplab/harness/vm/guest"
)

func TestMain(m *testing.M) {
	guest.Main() // guests run this very program as their /init
	os.Exit(m.Run())
}
