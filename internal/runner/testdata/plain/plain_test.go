// Package plain has tests of package testing only.
package plain

import (
	"os"
	"testing"
)

func TestRoot(t *testing.T) {
	if os.Getenv("TCPLAB_CLOCK") == "virtual" && os.Getuid() != 0 {
		t.Fatal("not root in a guest")
	}
}
