package rules_test

import (
	"os"
	"testing"

	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) {
	peers.Main()
	os.Exit(m.Run())
}
